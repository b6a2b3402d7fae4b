"""What more training images gain, from networks trained on parts of them."""

import numpy as np
import pytest

from lrnet_cli.evaluation.learning_curve import Booleans, gain_of_more


def answers(*errors: int, of: int, seed: int | None = None) -> Booleans:
    """Return hits (points, ``of``) with so many ``errors``: among the first images, or at random ones."""
    hits = np.tile(np.arange(of), (len(errors), 1)) >= np.array(errors)[:, None]
    return hits if seed is None else np.random.default_rng(seed).permuted(hits, axis=1)


def test_a_power_law_is_read_off_and_continued() -> None:
    gain = gain_of_more([100, 200, 400], answers(4000, 2828, 2000, of=10_000))
    assert gain.halving_factor == pytest.approx(4, rel=0.01)  # an error of one over the root of the images
    assert gain.doubled_accuracy == pytest.approx(1 - 0.2 / 2**0.5, abs=0.001)
    low, high = gain.doubled_accuracy_ci95
    assert 0.84 < low < gain.doubled_accuracy < high < 0.88
    assert gain.halving_factor_ci95[0] < 4 < gain.halving_factor_ci95[1]


def test_fewer_validation_images_say_less() -> None:
    widths = []
    for of in (500, 5000):
        low, high = gain_of_more([100, 200, 400], answers(of // 2, of // 3, of // 5, of=of)).doubled_accuracy_ci95
        widths.append(high - low)
    assert widths[0] > 2 * widths[1]


@pytest.mark.parametrize(
    ("images", "hits", "reason"),
    [
        ([200, 400], answers(40, 20, of=100), "too few training images to train on parts of them"),
        ([100, 200, 400], answers(30, 10, 0, of=100), "no mistake on 100 validation images"),
        ([100, 200, 400], answers(30, 10, 20, of=100), "does not rise with every doubling"),
        ([100, 200, 400], answers(30, 20, 20, of=100), "does not rise with every doubling"),
        ([100, 200, 400], answers(9, 8, 7, of=30, seed=0), "no more than chance on 30 validation images"),
    ],
)
def test_what_is_no_law_is_not_continued(images: list[int], hits: Booleans, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        gain_of_more(images, hits)
