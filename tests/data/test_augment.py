import torch

from lrnet_cli.data.augment import Augmentation, augment


def stroke(n: int) -> torch.Tensor:
    images = torch.full((n, 1, 28, 28), 0.25)
    images[:, :, 8:20, 13:15] = 1.0
    return images


def test_each_picture_of_a_batch_is_moved_differently_and_little() -> None:
    torch.manual_seed(0)
    images = stroke(64)
    moved = augment(images)
    assert len({picture.numpy().tobytes() for picture in moved}) == 64
    # The ink is at the centre, which only the shift moves: by at most a twentieth of 28 pixels, times the scale.
    ink = moved - 0.25
    rows = (ink.sum((1, 3)) * torch.arange(28)).sum(1) / ink.sum((1, 2, 3))
    assert (rows - 13.5).abs().max() < 1.4 * 1.15
    assert (rows - 13.5).std() > 0.3


def test_the_background_goes_on_beyond_the_border() -> None:
    torch.manual_seed(0)
    moved = augment(stroke(64))
    assert moved.min() >= 0.25 - 1e-6
    assert moved.max() <= 1.0 + 1e-6


def test_no_ranges_change_nothing() -> None:
    images = torch.rand(4, 3, 9, 9)
    assert torch.allclose(augment(images, Augmentation(shear=0, scale=0, shift=0)), images, atol=1e-6)


def test_the_same_random_state_gives_the_same_pictures() -> None:
    first, second = (torch.manual_seed(3) and augment(stroke(8)) for _ in range(2))
    assert torch.equal(first, second)
