"""What light does: the level and slope of the ground, uneven illumination, contrast, gamma, saturation."""

import torch
from torch import Tensor

from lrnet_cli.training.alterations.maps import slope, smooth


def ground(x: Tensor, draws: Tensor, field: Tensor, strength: Tensor) -> Tensor:
    """Add a level, a slope and slow hills to the ground, in any mixture."""
    level, down, right, hills, kind, sign = (draws[:, column, None, None] for column in range(6))
    plane = slope(x, down, right)
    amount = strength[:, :, None]
    added = torch.where(kind < 0.75, level * 0.7, 0.0) + torch.where(kind > 0.3, plane * 0.9, 0.0)
    added = added + torch.where((kind > 0.5) | (kind < 0.1), smooth(field, 3)[:, 0] * 0.2 * hills, 0.0)
    # Shadows are few: where all is black already they change nothing.
    added = torch.where(sign < 0.15, -added, added) * amount
    return (x + added[:, None]).clamp(0, 1)


def illumination(x: Tensor, draws: Tensor, field: Tensor, strength: Tensor) -> Tensor:
    """Multiply by light that falls off towards a side, and by slow hills."""
    down, right, hills = (draws[:, column, None, None] for column in range(3))
    light = 1 + (slope(x, down, right) * 1.4 + smooth(field, 3)[:, 0] * 0.3 * hills) * strength[:, :, None]
    return (x * light[:, None].clamp(0.1, 2)).clamp(0, 1)


def contrast(x: Tensor, draws: Tensor, _field: Tensor, strength: Tensor) -> Tensor:
    """Squeeze the range to as little as an eighth, about any grey."""
    left = 1 - 0.88 * draws[:, 0:1] * strength
    middle = draws[:, 1:2]
    return middle[:, :, None, None] * (1 - left)[:, :, None, None] + x * left[:, :, None, None]


def gamma(x: Tensor, draws: Tensor, _field: Tensor, strength: Tensor) -> Tensor:
    """Bend the grey scale, up or down."""
    power = torch.exp2((2 * draws[:, 0:1] - 1) * 1.6 * strength)
    return x.clamp(1e-4, 1).pow(power[:, :, None, None])


def saturation(x: Tensor, draws: Tensor, _field: Tensor, strength: Tensor) -> Tensor:
    """Cut off what is lightest and darkest and stretch the rest."""
    low = (0.35 * draws[:, 0:1] * strength)[:, :, None, None]
    high = (1 - 0.6 * draws[:, 1:2] * strength)[:, :, None, None]
    return ((x - low) / (high - low)).clamp(0, 1)
