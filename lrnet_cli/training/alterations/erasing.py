"""Parts that are covered: areas of random shape and filling."""

import math

import torch
from torch import Tensor

from lrnet_cli.training.alterations.maps import places


def erasing(x: Tensor, draws: Tensor, field: Tensor, strength: Tensor) -> Tensor:
    """Cover an ellipse, a tilted rectangle or a band with a grey or noise, or swap light and dark there."""
    down, right = places(x)
    y, x0, height, width, turn, kind, tone = (draws[:, column, None, None] for column in range(7))
    angle = math.pi * turn
    along = (down - y) * torch.sin(angle) + (right - x0) * torch.cos(angle)
    across = (down - y) * torch.cos(angle) - (right - x0) * torch.sin(angle)
    reach = 0.06 + 0.22 * strength[:, :, None]
    u, v = along / (0.04 + reach * height), across / (0.04 + reach * width)
    shape = torch.where(kind < 0.7, torch.maximum(u.abs(), v.abs()), v.abs())
    covered = torch.where(kind < 0.4, u.square() + v.square(), shape)[:, None] < 1
    noisy = (0.5 + 0.3 * field[:, 0]).clamp(0, 1)
    plain = torch.where(tone < 0.45, 0.0, torch.where(tone < 0.6, 1.0, (tone - 0.6) / 0.4))
    filling = torch.where(tone < 0.15, noisy, plain)[:, None].expand_as(x)
    filling = torch.where((tone > 0.15)[:, None] & (tone < 0.3)[:, None], 1 - x, filling)
    return torch.where(covered, filling, x)
