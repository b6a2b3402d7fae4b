from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lrnet_cli.processes import Processes
from lrnet_cli.training.augment import Ranges, augment

STILL = Ranges(shift=0, scale=0, shear=0)


def stroke(n: int) -> Tensor:
    images = torch.full((n, 1, 28, 28), 0.25)
    images[:, :, 8:20, 13:15] = 1.0
    return images


def altered(images: Tensor, ranges: Ranges = Ranges(), seed: int = 0) -> Tensor:  # noqa: B008 # frozen
    torch.manual_seed(seed)
    return augment(images, ranges, torch.zeros(len(images), dtype=torch.bool))


def test_each_image_of_a_batch_is_moved_differently_and_little() -> None:
    moved = altered(stroke(64))
    assert len({image.numpy().tobytes() for image in moved}) == 64
    # The ink is at the centre, which only the shift moves: by at most a twentieth of 28 pixels, times the scale.
    ink = moved - 0.25
    rows = (ink.sum((1, 3)) * torch.arange(28)).sum(1) / ink.sum((1, 2, 3))
    assert (rows - 13.5).abs().max() < 1.4 * 1.15
    assert (rows - 13.5).std() > 0.3


def test_a_shift_alone_is_by_whole_pixels_and_blurs_nothing() -> None:
    images = torch.rand(32, 1, 28, 28)
    moved = altered(images, replace(STILL, shift=0.072))
    shifts = set()
    for shifted, image in zip(moved, images, strict=True):
        padded = torch.nn.functional.pad(image[None], (2, 2, 2, 2), mode="replicate")[0]
        windows = {(y, x): padded[:, y : y + 28, x : x + 28] for y in range(5) for x in range(5)}
        shifts |= {place for place, window in windows.items() if torch.allclose(shifted, window, atol=1e-5)}
    assert len(shifts) > 10
    assert all(any(place[axis] == end for place in shifts) for axis in (0, 1) for end in (0, 4))


def test_the_background_goes_on_beyond_the_border() -> None:
    moved = altered(stroke(64))
    assert moved.min() >= 0.25 - 1e-6
    assert moved.max() <= 1.0 + 1e-6


def test_no_ranges_change_nothing() -> None:
    images = torch.rand(4, 3, 9, 9)
    assert torch.allclose(altered(images, STILL), images, atol=1e-6)


def test_the_same_random_state_gives_the_same_images() -> None:
    everything = Ranges(cutout=0.3)
    assert torch.equal(altered(stroke(8), everything, seed=3), altered(stroke(8), everything, seed=3))


def test_only_the_chosen_images_are_mirrored() -> None:
    images = torch.rand(4, 1, 9, 9)
    mirrored = augment(images, STILL, torch.tensor([True, False, True, False]))
    assert torch.allclose(mirrored[::2], images[::2].flip(3), atol=1e-6)
    assert torch.allclose(mirrored[1::2], images[1::2], atol=1e-6)


def test_cut_out_blanks_a_square_somewhere_in_each_image() -> None:
    holes = altered(torch.ones(200, 2, 28, 28), replace(STILL, cutout=0.25)) == 0
    areas = holes[:, 0].sum((1, 2))
    assert torch.equal(holes[:, 0], holes[:, 1])
    assert areas.max() == 7 * 7
    assert areas.min() >= 3 * 3  # at a corner, a quarter of it is left
    assert holes.any(0)[0].float().mean() == 1  # every pixel has its turn


def test_images_that_are_not_moved_keep_all_other_alterations() -> None:
    images, mirrored = torch.rand(8, 1, 9, 9), torch.rand(8) < 0.5
    torch.manual_seed(2)
    shown = augment(images, Ranges(cutout=0.3), mirrored, moved=0)
    torch.manual_seed(2)
    assert torch.allclose(shown, augment(images, replace(STILL, cutout=0.3), mirrored), atol=1e-5)


@pytest.mark.parametrize("count", [2, 3])
def test_processes_alter_their_parts_as_one_would_the_whole(count: int) -> None:
    images, everything = torch.rand(12, 1, 9, 9), Ranges(cutout=0.3)
    mirrored = torch.rand(12) < 0.5
    part_of: Callable[[int], slice] = lambda rank: Processes(rank, count).share(12)  # noqa: E731
    parts = []
    for rank in range(count):
        torch.manual_seed(5)
        parts.append(augment(images[part_of(rank)], everything, mirrored[part_of(rank)], Processes(rank, count)))
    torch.manual_seed(5)
    assert torch.allclose(torch.cat(parts), augment(images, everything, mirrored), atol=1e-6)


def test_bent_images_keep_their_ink_near_and_each_is_another() -> None:
    images = stroke(64)
    bent = altered(images, replace(STILL, deform=0.1))
    assert len({image.numpy().tobytes() for image in bent}) == 64
    assert bent.min() >= 0.25 - 1e-6
    assert bent.max() <= 1.0 + 1e-6
    far = torch.nn.functional.max_pool2d(images, 13, 1, 6)  # a tenth of 28 pixels, a pixel of thickness, and smoothing
    assert (bent <= far + 1e-6).all()
    ink = (bent - 0.25).sum((1, 2, 3)) / (images - 0.25).sum((1, 2, 3))
    assert ink.min() < 0.8
    assert ink.max() > 1.2  # thinner and thicker strokes


def test_bends_fade_with_what_is_moved() -> None:
    images = stroke(8)
    mirrored = torch.zeros(8, dtype=torch.bool)
    assert torch.allclose(augment(images, replace(STILL, deform=0.1), mirrored, moved=0), images, atol=1e-6)


@pytest.mark.parametrize("count", [2, 3])
def test_processes_bend_their_parts_as_one_would_the_whole(count: int) -> None:
    images, mirrored, parts = stroke(6), torch.zeros(6, dtype=torch.bool), []
    for rank in range(count):
        torch.manual_seed(5)
        part = slice(rank * 6 // count, (rank + 1) * 6 // count)
        parts.append(augment(images[part], Ranges(deform=0.1), mirrored[part], Processes(rank, count)))
    torch.manual_seed(5)
    assert torch.allclose(torch.cat(parts), augment(images, Ranges(deform=0.1), mirrored), atol=1e-6)
