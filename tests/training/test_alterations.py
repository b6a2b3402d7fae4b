import pytest
import torch
from torch import Tensor

from lrnet_cli.data.datasets import load_dataset
from lrnet_cli.data.images import ImageOptions
from lrnet_cli.processes import Processes
from lrnet_cli.training.alterations.families import FAMILIES, Family, alter
from lrnet_cli.training.augment import Ranges, augment

FAMILY = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.alter.__name__)


@pytest.fixture(scope="module")
def scans() -> Tensor:
    return load_dataset("optdigits", ImageOptions(28)).test.images[:64].float() / 255


def altered(family: Family, images: Tensor, strength: float, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    n = len(images)
    draws, field = torch.rand(n, family.draws), torch.randn(n, 1, *images.shape[2:])
    return family.alter(images, draws, field, torch.full((n, 1), strength))


@FAMILY
def test_each_image_is_altered_by_its_own_numbers(family: Family, scans: Tensor) -> None:
    same = scans[:1].expand(64, -1, -1, -1)
    result = altered(family, same, 1.0)
    assert len({image.numpy().tobytes() for image in result}) > 6


@FAMILY
def test_a_stronger_alteration_changes_more(family: Family, scans: Tensor) -> None:
    mild, strong = ((altered(family, scans, strength) - scans).abs().mean() for strength in (0.1, 1.0))
    assert mild < 1.01 * strong
    assert strong > 0.005


@FAMILY
@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 13), (3, 32)])
def test_images_of_any_size_and_colour(family: Family, channels: int, side: int) -> None:
    images = torch.rand(5, channels, side, side)
    result = altered(family, images, 1.0)
    assert result.shape == images.shape
    assert result.isfinite().all()
    assert altered(family, images, 0.5).isfinite().all()


def test_a_share_of_every_batch_stays_as_it_is(scans: Tensor) -> None:
    torch.manual_seed(0)
    changed = torch.stack([(alter(scans, 1.0) != scans).flatten(1).any(1) for _ in range(20)]).float().mean()
    assert 0.5 < changed < 0.8


def test_the_result_is_an_image_and_the_given_one_is_untouched(scans: Tensor) -> None:
    before = scans.clone()
    result = alter(scans, 1.0)
    assert (result.min() >= 0) & (result.max() <= 1)
    assert torch.equal(scans, before)


@pytest.mark.parametrize("count", [2, 4])
def test_processes_alter_their_parts_as_one_would_the_whole(scans: Tensor, count: int) -> None:
    parts = []
    for rank in range(count):
        processes = Processes(rank, count)
        torch.manual_seed(5)
        parts.append(alter(processes.own_rows(scans), 1.0, processes))
    torch.manual_seed(5)
    assert torch.allclose(torch.cat(parts), alter(scans, 1.0), atol=1e-5)


def test_little_strength_alters_little(scans: Tensor) -> None:
    torch.manual_seed(0)
    little, much = ((alter(scans, robust) - scans).abs().mean() for robust in (0.02, 1.0))
    assert little < 0.1 * much


def test_without_strength_nothing_is_drawn(scans: Tensor) -> None:
    mirrored = torch.zeros(64, dtype=torch.bool)
    states = []
    for robust in (0.0, 0.5):
        torch.manual_seed(0)
        augment(scans, Ranges(robust=robust), mirrored)
        states.append(torch.get_rng_state())
    torch.manual_seed(0)
    torch.rand(64, 10)
    assert torch.equal(states[0], torch.get_rng_state())
    assert not torch.equal(states[1], states[0])
