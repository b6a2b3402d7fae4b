"""Augmentation on the device: a complete batch at once, with separate random numbers for each image."""

import torch
from torch import Tensor
from torch.nn import functional

from lrnet_cli.processes import ALONE, Processes
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.training.alterations.families import alter

_DRAWN = 10  # numbers per image, with two to spare: fewer would give a seed other images than it had


def augment(
    images: Tensor,
    ranges: TrainConfig,
    mirrored: Tensor,
    processes: Processes = ALONE,
    *,
    moved: float | Tensor = 1.0,
    robust_share: float | Tensor = 1.0,
) -> Tensor:
    """Return each of the float images (N, C, S, S) altered, those where ``mirrored``, bool (N,), also left to right.

    One bilinear sampling mirrors and, if ``moved`` is 1 and not 0, shifts, rotates, stretches and shears; pixels from
    beyond the border are those of the border. A shift with neither scale nor shear is by whole pixels, which blurs
    nothing. Then come what ``robust`` draws, up to ``robust_share`` of its strength, and cut-out (to 0). Random numbers
    come from the device's generator; every process draws those of the global batch and uses its part, so that the
    number of processes changes nothing.
    """
    n, side = len(images), images.shape[-1]
    drawn = processes.own_rows(torch.rand(n * processes.count, _DRAWN, device=images.device)).T * 2 - 1
    moves = drawn[:6] * moved
    upper, lower = moves[:2] * ranges.shear
    width, height = 1 + moves[2:4] * ranges.scale
    shifts = moves[4:6] * ranges.shift
    if not ranges.scale and not ranges.shear:
        shifts = (shifts * side).round() / side
    right, down = shifts * 2  # the grid runs from -1 to 1
    direction = 1 - 2 * mirrored.to(images.dtype)
    maps = torch.stack([direction * width, upper, right, direction * lower, height, down], 1)
    grid = functional.affine_grid(maps.view(n, 2, 3), list(images.shape), align_corners=False)
    altered = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    if ranges.robust:
        altered = alter(altered, ranges.robust * robust_share, processes)
    if ranges.cutout:
        places = torch.arange(side, device=images.device) + 0.5
        down, right = (
            (places - (1 + middle[:, None]) * (side / 2)).abs() < ranges.cutout * side / 2 for middle in drawn[7:9]
        )
        altered = altered.masked_fill((down[:, :, None] & right[:, None, :])[:, None], 0.0)
    return altered.contiguous(memory_format=torch.channels_last)
