"""What differs between hands and things: pose, a soft bend, frayed edges, the thickness of strokes, an outline only."""

import math

import torch
from torch import Tensor
from torch.nn import functional

_CELLS = 4  # along a side, of the grid whose knots an elastic map moves


def pose(x: Tensor, draws: Tensor, _field: Tensor, strength: Tensor) -> Tensor:
    """Turn by up to 40 degrees, shear, scale each side to between 0.4 and 1.6, and shift, all in one sampling."""
    turn, shear, size, aspect, down, right = ((2 * draws[:, column] - 1) * strength[:, 0] for column in range(6))
    angle = turn * (40 * math.pi / 180)
    # The map leads from the new image to the old one, so a larger scale makes a smaller image.
    scale = torch.exp2(torch.where(size > 0, size, size * 0.42))
    wide, high = scale * torch.exp2(aspect * 0.25), scale * torch.exp2(-aspect * 0.25)
    cosine, sine = torch.cos(angle), torch.sin(angle)
    first = torch.stack([cosine * wide, (shear * 0.7 * cosine - sine) * high, right * 0.4], 1)
    second = torch.stack([sine * wide, (shear * 0.7 * sine + cosine) * high, down * 0.4], 1)
    grid = functional.affine_grid(torch.stack([first, second], 1), list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, padding_mode="border", align_corners=False)


def outline(x: Tensor, draws: Tensor, _field: Tensor, strength: Tensor) -> Tensor:
    """Leave the outline of what is there: the difference of the thickened and the thinned image."""
    padded = functional.pad(x, (1,) * 4, mode="replicate")
    edge = functional.max_pool2d(padded, 3, 1) + functional.max_pool2d(-padded, 3, 1)
    return torch.lerp(x, edge, ((0.5 + 0.5 * draws[:, 0:1]) * strength)[:, :, None, None])


def thickness(x: Tensor, draws: Tensor, _field: Tensor, strength: Tensor) -> Tensor:
    """Thicken or thin what is light, by up to a pixel, and in proportion on images of over 28 pixels."""
    reach = 1 + 2 * max(1, round(x.shape[-1] / 28))
    edge = reach // 2
    padded = functional.pad(x, (edge,) * 4, mode="replicate")
    thicker = functional.max_pool2d(padded, reach, 1)
    thinner = -functional.max_pool2d(-padded, reach, 1)
    share = ((2 * draws[:, 0:1] - 1) * strength)[:, :, None, None]
    # Thin strokes of one pixel would vanish, so thinning goes half the way.
    return torch.where(share > 0, torch.lerp(x, thicker, share.abs()), torch.lerp(x, thinner, share.abs() / 2))


def ragged(x: Tensor, draws: Tensor, field: Tensor, strength: Tensor) -> Tensor:
    """Fray edges, as rough paper and worn type do: take each pixel from a place nearby, neighbours alike or not."""
    side = x.shape[-1]
    # Far apart, the values of one field say nothing about each other.
    moves = torch.cat([field, field.roll((side // 2, side // 3), (2, 3))], 1)
    alike = functional.avg_pool2d(functional.pad(moves, (1,) * 4, mode="replicate"), 3, 1) * 3
    share = draws[:, 0:1, None, None]
    moved = torch.lerp(moves, alike, share) * (0.01 + 0.06 * draws[:, 1:2] * strength)[:, :, None, None]
    return _sampled(x, moved)


def elastic(x: Tensor, draws: Tensor, _field: Tensor, strength: Tensor) -> Tensor:
    """Move the knots of a coarse grid, each on its own, and what lies between them smoothly along."""
    n, side = len(x), x.shape[-1]
    knots = (2 * draws[:, : 2 * _CELLS * _CELLS] - 1).view(n, 2, _CELLS, _CELLS)
    moved = functional.interpolate(knots, side, mode="bicubic", align_corners=True) * 0.16
    return _sampled(x, moved * strength[:, :, None, None])


def _sampled(x: Tensor, moved: Tensor) -> Tensor:
    """Return ``x`` with each pixel taken from ``moved`` (N, 2, S, S) away, right and down, in half sides."""
    identity = torch.eye(2, 3, device=x.device).expand(len(x), 2, 3)
    grid = functional.affine_grid(identity, list(x.shape), align_corners=False) + moved.permute(0, 2, 3, 1)
    return functional.grid_sample(x, grid, padding_mode="border", align_corners=False)
