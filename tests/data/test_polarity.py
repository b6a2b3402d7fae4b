from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from lrnet_cli.data.datasets import load_dataset
from lrnet_cli.data.polarity import PolarityRule, common_polarity, polarity_of
from lrnet_cli.data.readers.idx import read_idx

Pixels = NDArray[np.uint8]
STRIPES = ["none", "frame of 1", "frame of 2", "two sides of 3", "top and bottom of 4"]


def mark(ground: int, ink: int, side: int = 28) -> Pixels:
    """Return an image of one stroke in the middle."""
    pixels = np.full((side, side, 1), ground, np.uint8)
    pixels[side // 4 : -side // 4, side // 2 - side // 14 : side // 2 + side // 14] = ink
    return pixels


def striped(image: Pixels, stripes: str, ink: int) -> Pixels:
    result = image.copy()
    unit = max(1, len(image) // 28)
    if stripes.startswith("frame"):
        width = int(stripes[-1]) * unit
        inner = result[width:-width, width:-width].copy()
        result[:] = ink
        result[width:-width, width:-width] = inner
    elif stripes.startswith("two"):
        result[: 3 * unit] = result[:, : 3 * unit] = ink
    elif stripes.startswith("top"):
        result[: 4 * unit] = result[-4 * unit :] = ink
    return result


@pytest.mark.parametrize("side", [28, 280])
@pytest.mark.parametrize("stripes", STRIPES)
@pytest.mark.parametrize("rule", ["ground", "plane"])
def test_the_ground_is_judged_and_not_stripes_along_the_border(stripes: str, side: int, rule: PolarityRule) -> None:
    light, dark = striped(mark(20, 220, side), stripes, 220), striped(mark(230, 30, side), stripes, 30)
    assert polarity_of(light, rule) == "light-on-dark"
    assert polarity_of(dark, rule) == "dark-on-light"


@pytest.mark.parametrize("side", [28, 280])
@pytest.mark.parametrize("turns", range(4))
def test_a_shadow_over_half_the_image_is_part_of_the_ground(side: int, turns: int) -> None:
    shadow = np.rot90(np.linspace(0, 170, side)[:, None].repeat(side, 1), turns)[..., None]
    light, dark = mark(10, 80, side) + shadow, mark(80, 10, side) + shadow
    assert polarity_of(light.astype(np.uint8), "plane") == "light-on-dark"
    assert polarity_of(dark.astype(np.uint8), "plane") == "dark-on-light"


def test_the_rule_of_earlier_versions_judges_the_border() -> None:
    assert polarity_of(mark(20, 220), "border") == "light-on-dark"
    assert polarity_of(striped(mark(20, 220), "frame of 1", 220), "border") == "dark-on-light"


@pytest.mark.parametrize("rule", ["border", "ground", "plane"])
def test_a_blank_image_has_no_polarity(rule: PolarityRule) -> None:
    assert polarity_of(np.full((9, 9, 1), 77, np.uint8), rule) == "mixed"


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 40, 3), (3, 2, 1), (300, 9, 3)])
def test_images_of_any_shape_are_judged(shape: tuple[int, int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for rule in get_args(PolarityRule):
        assert polarity_of(pixels, rule) in ("light-on-dark", "dark-on-light", "mixed")


def test_the_polarity_of_a_set_is_that_of_nine_tenths() -> None:
    light, dark = mark(0, 255), mark(255, 0)
    assert common_polarity([light] * 9 + [dark], "ground") == "light-on-dark"
    assert common_polarity([dark] * 9 + [light], "ground") == "dark-on-light"
    assert common_polarity([light, dark], "ground") == "mixed"


def test_new_runs_judge_by_the_newest_rule() -> None:
    assert load_dataset("optdigits").preprocessing.polarity_rule == "plane"


@pytest.mark.parametrize("name", ["digits", "fashion"])
@pytest.mark.parametrize("rule", ["ground", "plane"])
def test_real_images_are_judged_right_as_they_are_and_inverted(
    shared_data: Path, name: str, rule: PolarityRule
) -> None:
    images = read_idx(shared_data / name / "t10k-images-idx3-ubyte.gz", 3)[:1000, :, :, None]
    assert sum(polarity_of(image, rule) != "light-on-dark" for image in images) <= 1
    assert sum(polarity_of(255 - image, rule) != "dark-on-light" for image in images) <= 1
    framed = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=255)
    assert sum(polarity_of(image, rule) != "light-on-dark" for image in framed) <= 100
