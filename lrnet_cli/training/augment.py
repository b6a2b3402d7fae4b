"""Augmentation on the device: a complete batch at once, with separate random numbers for each image."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lrnet_cli.processes import ALONE, Processes
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.training.alterations.families import alter

_DRAWN = 10  # numbers per image, with two to spare: fewer would give a seed other images than it had
_KNOTS = 5  # along a side, which are moved to bend an image
_THICKNESS = 5.0  # times the bending: how far a stroke's border moves, in pixels


@dataclass(frozen=True)
class Ranges:
    """How far images are altered, all from 0 up: see the settings of the same names."""

    shift: float = 0.05
    scale: float = 0.08
    shear: float = 0.12
    deform: float = 0.0
    cutout: float = 0.0
    robust: float = 0.0

    @classmethod
    def of(cls, config: TrainConfig) -> "Ranges":
        """Return the ranges of ``config``, in which nothing is left to be chosen."""
        shift, scale, shear, deform = config.shift, config.scale, config.shear, config.deform
        assert shift is not None
        assert scale is not None
        assert shear is not None
        assert deform is not None
        return cls(shift, scale, shear, deform, config.cutout, config.robust_strength)


DEFORMED = Ranges(shift=0.08, scale=0.15, shear=0.2, deform=0.1)
"""How far images are altered where they are bent as well."""
LEAST_BENT_SIDE = 16
"""The side in pixels from which on there is something to bend."""


def augment(
    images: Tensor,
    ranges: Ranges,
    mirrored: Tensor,
    processes: Processes = ALONE,
    *,
    moved: float | Tensor = 1.0,
    robust_share: float | Tensor = 1.0,
) -> Tensor:
    """Return each of the float images (N, C, S, S) altered, those where ``mirrored``, bool (N,), also left to right.

    One bilinear sampling mirrors and, if ``moved`` is 1 and not 0, shifts, rotates, stretches, shears and bends; pixels
    from beyond the border are those of the border. A shift with neither scale nor shear is by whole pixels, which blurs
    nothing. Then come thicker or thinner strokes, what ``robust`` draws, up to ``robust_share`` of its strength, and
    cut-out (to 0). Random numbers come from the device's generator; every process draws those of the global batch and
    uses its part, so that the number of processes changes nothing.
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
    if ranges.deform:
        knots = processes.own_rows(torch.rand(n * processes.count, 2 * _KNOTS**2 + 2, device=images.device))
        grid = grid + _bends(knots[:, 2:], knots[:, 0] * ranges.deform * moved, side)
    altered = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    if ranges.deform:
        altered = _thickened(altered, (2 * knots[:, 1] - 1) * min(1.0, _THICKNESS * ranges.deform) * moved)
    if ranges.robust:
        altered = alter(altered, ranges.robust * robust_share, processes)
    if ranges.cutout:
        places = torch.arange(side, device=images.device) + 0.5
        down, right = (
            (places - (1 + middle[:, None]) * (side / 2)).abs() < ranges.cutout * side / 2 for middle in drawn[7:9]
        )
        altered = altered.masked_fill((down[:, :, None] & right[:, None, :])[:, None], 0.0)
    return altered.contiguous(memory_format=torch.channels_last)


def _bends(drawn: Tensor, strengths: Tensor, side: int) -> Tensor:
    """Return what bends add to a sampling grid, (N, S, S, 2), of numbers (N, 50) in [0, 1] and a strength (N,) each.

    Knots are moved by up to the strength, as a share of the side, and what lies between them follows smoothly.
    """
    knots = (drawn.view(-1, 2, _KNOTS, _KNOTS) * 2 - 1) * strengths[:, None, None, None] * 2  # the grid runs over 2
    smooth = functional.interpolate(knots, size=(side, side), mode="bicubic", align_corners=True)
    return smooth.permute(0, 2, 3, 1)


def _thickened(images: Tensor, amounts: Tensor) -> Tensor:
    """Return images (N, C, S, S) whose light parts grow by ``amounts`` (N,) of a pixel, from -1 to 1."""
    amounts = amounts[:, None, None, None]
    lightest = functional.max_pool2d(images, 3, 1, 1)
    darkest = -functional.max_pool2d(-images, 3, 1, 1)
    return torch.lerp(images, torch.where(amounts > 0, lightest, darkest), amounts.abs())
