import hashlib
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lrnet_cli.data.datasets import load_dataset
from lrnet_cli.data.images import ImageOptions
from lrnet_cli.evaluation.corruptions import (
    CORRUPTIONS,
    SEVERITIES,
    CorruptedAccuracy,
    Corruption,
    Robustness,
    corrupt,
    measure_robustness,
)
from lrnet_cli.evaluation.setup import load_setup
from lrnet_cli.models.engine import Engine
from lrnet_cli.reporter import Reporter
from lrnet_cli.settings.requests import EvalRequest

CORRUPTION_TYPE = pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda corruption: corruption.name)


DRAWN = {"gaussian_noise", "shot_noise", "impulse_noise", "motion_blur", "occlusion", "rotation", "shear"}
DRAWN |= {"uneven_light", "fog", "stripes", "strokes", "translation", "frosted", "show_through"}


@pytest.fixture(scope="module")
def scans() -> Tensor:
    return load_dataset("optdigits", ImageOptions(28)).test.images


@CORRUPTION_TYPE
def test_images_are_spoilt_more_at_every_severity(corruption: Corruption, scans: Tensor) -> None:
    distances = [0.0]
    for severity in SEVERITIES:
        spoilt = corrupt(scans, corruption, severity, 0)
        assert (spoilt.dtype, spoilt.shape) == (torch.uint8, scans.shape)
        distances.append(float((spoilt.float() - scans.float()).square().mean()))
    assert distances == sorted(set(distances))


@CORRUPTION_TYPE
def test_a_seed_means_the_same_images_and_another_one_others(corruption: Corruption, scans: Tensor) -> None:
    before = torch.random.get_rng_state()
    one, again, other = (corrupt(scans, corruption, 3, seed) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(one, other) == (corruption.name not in DRAWN)


@pytest.mark.parametrize("name", sorted(DRAWN - {"shot_noise", "show_through"}))
def test_every_image_has_random_numbers_of_its_own(name: str, scans: Tensor) -> None:
    [corruption] = [corruption for corruption in CORRUPTIONS if corruption.name == name]
    same = corrupt(scans[:1].expand(40, -1, -1, -1), corruption, 4, 0)
    assert len({image.numpy().tobytes() for image in same}) >= (2 if name in ("rotation", "shear") else 5)


@CORRUPTION_TYPE
@pytest.mark.parametrize(("channels", "side"), [(3, 32), (1, 8), (3, 11)])
def test_colour_and_other_sizes_are_taken(corruption: Corruption, channels: int, side: int) -> None:
    images = torch.randint(256, (7, channels, side, side), dtype=torch.uint8)
    for severity in (1, 5):
        assert corrupt(images, corruption, severity, 0).shape == images.shape


def test_dark_on_light_images_are_turned_on_their_own_ground(scans: Tensor) -> None:
    for corruption in CORRUPTIONS:
        if corruption.name in ("rotation", "shear"):
            one, other = corrupt(scans, corruption, 4, 0), 255 - corrupt(255 - scans, corruption, 4, 0)
            assert (one.int() - other.int()).abs().max() <= 2  # of 255: rounding


@pytest.mark.slow
def test_robustness_has_every_case_and_their_means(trained_run: Path) -> None:
    setup = load_setup(trained_run / "model.safetensors", EvalRequest(limit=60), Engine(torch.device("cpu")))
    progress: list[tuple[int, int]] = []
    reporter = Reporter()
    reporter.work = lambda _, done, total: progress.append((done, total))
    robustness = measure_robustness(setup.opened.network, setup.split, setup.card, reporter=reporter)
    total = len(CORRUPTIONS) * len(SEVERITIES)
    assert progress == [(done, total) for done in range(total + 1)]
    assert len({(case.name, case.severity) for case in robustness.cases}) == len(robustness.cases) == total
    assert robustness.mean_accuracy == pytest.approx(sum(case.accuracy for case in robustness.cases[:60]) / 60)
    assert robustness.mean_accuracy_further == pytest.approx(
        sum(case.accuracy for case in robustness.cases[60:]) / (total - 60)
    )
    assert robustness.mean_ece_further == pytest.approx(sum(case.ece for case in robustness.cases[60:]) / (total - 60))
    assert list(robustness.by_type()) == [corruption.name for corruption in CORRUPTIONS]
    assert all(case.accuracy_ci95[0] <= case.accuracy <= case.accuracy_ci95[1] for case in robustness.cases)
    worst = {name: cases[-1].accuracy for name, cases in robustness.by_type().items()}
    assert worst["rotation"] < setup.evaluate().metrics.accuracy


def test_types_are_listed_by_whether_training_had_something_similar() -> None:
    cases = [CorruptedAccuracy(corruption.name, 1, 0.0, 0.5, (0.4, 0.6), 0.1) for corruption in CORRUPTIONS]

    def titles(**recipe: float) -> dict[str, set[str]]:
        return {title: set(types) for title, types in Robustness.of(0, cases, recipe).lists().items()}

    everything = {corruption.name for corruption in CORRUPTIONS}
    assert titles() == {"unlike any in training": everything}
    assert titles(noise=0.1, shear=0.1)["like some in training"] == {"gaussian_noise", "rotation", "shear"}
    assert titles(robust=1.0)["unlike any in training"] == {"quantisation", "show_through"}


def test_the_first_twelve_types_are_drawn_as_by_earlier_versions(scans: Tensor) -> None:
    digest = hashlib.sha256()
    for corruption in CORRUPTIONS[:12]:
        digest.update(corrupt(scans[:20], corruption, 3, 0).numpy().tobytes())
    assert [corruption.name for corruption in CORRUPTIONS[:12]][-1] == "shear"
    assert digest.hexdigest()[:16] == "a8ba3828a582e332"
