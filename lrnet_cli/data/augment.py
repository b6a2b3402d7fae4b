"""Augmentation on the device: a whole batch at once, with random numbers of its own for each picture."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Augmentation:
    """Ranges of a random affine map, each drawn uniformly for each picture.

    ``shear`` bounds the two off-diagonal entries of the map (together they turn a picture by up to about that many
    radians), ``scale`` the relative change of width and of height, ``shift`` the shift as a share of the side.
    """

    shear: float = 0.12
    scale: float = 0.08
    shift: float = 0.05


_DEFAULT = Augmentation()


def augment(images: Tensor, ranges: Augmentation = _DEFAULT) -> Tensor:
    """Return each of the float pictures (N, C, S, S) under an affine map of its own.

    Pixels from beyond the border are those of the border. One bilinear sampling moves, turns, stretches and shears; the
    random numbers come from PyTorch's generator of the device.
    """
    n = len(images)
    drawn = torch.rand(6, n, device=images.device) * 2 - 1
    upper, lower = drawn[:2] * ranges.shear
    width, height = 1 + drawn[2:4] * ranges.scale
    right, down = drawn[4:] * (2 * ranges.shift)  # the grid runs from -1 to 1
    maps = torch.stack([width, upper, right, lower, height, down], 1).view(n, 2, 3).to(images.dtype)
    grid = functional.affine_grid(maps, list(images.shape), align_corners=False)
    sampled = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return sampled.contiguous(memory_format=torch.channels_last)
