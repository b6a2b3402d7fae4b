"""What lies on a page besides its writing: strokes, ruled lines, spots, specks and stains."""

import math

import torch
from torch import Tensor

from lrnet_cli.training.alterations.maps import places, smooth

_STROKES, _SPOTS = 4, 4


def strokes(x: Tensor, draws: Tensor, _field: Tensor, strength: Tensor) -> Tensor:
    """Draw up to four straight strokes, light or dark, whole or broken, apart or each from the end of the last."""
    down, right = places(x)
    apart, broken, tone, broad = (draws[:, column, None, None] for column in range(4))
    gap = (0.06 + 0.1 * broad).clamp(min=3 / x.shape[-1])
    y, x0 = draws[:, 4, None, None], draws[:, 5, None, None]
    for number in range(_STROKES):
        own_y, own_x, turn, far, chance = (draws[:, 6 + 5 * number + column, None, None] for column in range(5))
        y, x0 = torch.where(apart < 0.5, own_y, y), torch.where(apart < 0.5, own_x, x0)
        length, angle = 0.2 + 0.8 * far * strength[:, :, None], 2 * math.pi * turn
        toward_down, toward_right = torch.sin(angle), torch.cos(angle)
        along = (down - y) * toward_down + (right - x0) * toward_right
        across = ((down - y) * toward_right - (right - x0) * toward_down).abs()
        distance = torch.hypot(across, torch.maximum(along - length, -along).clamp(min=0))
        ink = ((0.6 / x.shape[-1] + 0.04 * broad - distance) * x.shape[-1] + 0.5).clamp(0, 1)
        ink = torch.where((broken < 0.25) & ((along / gap) % 1 < 0.45), 0.0, ink) * (chance < 1 - 0.2 * number)
        x = _laid_on(x, ink * (0.3 + 0.7 * strength[:, :, None]), tone)
        y, x0 = y + length * toward_down, x0 + length * toward_right
    return x


def ruled_lines(x: Tensor, draws: Tensor, _field: Tensor, strength: Tensor) -> Tensor:
    """Draw parallel lines across the whole image, nearly level or nearly upright."""
    down, right = places(x)
    spacing, offset, tilt, upright, tone, width = (draws[:, column, None, None] for column in range(6))
    angle = (tilt - 0.5) * 0.3 + (upright < 0.4) * (math.pi / 2)
    across = down * torch.cos(angle) + right * torch.sin(angle)
    period = 0.15 + 0.5 * spacing
    phase = ((across + offset) / period) % 1.0
    distance = torch.minimum(phase, 1 - phase) * period * x.shape[-1]
    ink = (0.5 + 0.6 * width - distance + 0.5).clamp(0, 1) * (0.2 + 0.6 * strength[:, :, None])
    return _laid_on(x, ink, tone)


def spots(x: Tensor, draws: Tensor, _field: Tensor, strength: Tensor) -> Tensor:
    """Put up to four round spots with soft edges anywhere."""
    down, right = places(x)
    for number in range(_SPOTS):
        y, x0, size, tone, chance = (draws[:, 5 * number + column, None, None] for column in range(5))
        radius = 0.02 + 0.09 * size * strength[:, :, None]
        distance = torch.hypot(down - y, right - x0)
        ink = ((radius - distance) * x.shape[-1] + 0.5).clamp(0, 1) * (chance < 1 - 0.2 * number)
        x = _laid_on(x, ink * (0.4 + 0.6 * strength[:, :, None]), tone)
    return x


def specks(x: Tensor, draws: Tensor, field: Tensor, strength: Tensor) -> Tensor:
    """Scatter specks of a pixel or two, light and dark."""
    rare = 2.6 - 0.9 * strength[:, :, None, None] * draws[:, 0:1, None, None]  # standard deviations
    grown = draws[:, 1:2, None, None]
    light, dark = (torch.nn.functional.max_pool2d(sign * field, 3, 1, 1) * 0.985 for sign in (1, -1))
    light = torch.where(grown < 0.3, light, field)
    dark = torch.where(grown < 0.3, dark, -field)
    return torch.where(light > rare, 1.0, torch.where(dark > rare, 0.0, x))


def stains(x: Tensor, draws: Tensor, field: Tensor, strength: Tensor) -> Tensor:
    """Darken or lighten patches of irregular outline."""
    level = smooth(field, 6)
    share = ((level - 0.4 - draws[:, 0:1, None, None]) * 4).clamp(0, 1)
    return _laid_on(x, share[:, 0] * 0.8 * strength[:, :, None], draws[:, 1, None, None])


def _laid_on(x: Tensor, ink: Tensor, tone: Tensor) -> Tensor:
    """Return ``x`` with ``ink`` (N, S, S), its share in [0, 1], of the grey ``tone`` (N, 1, 1) over it.

    Half of the tones are near black or white, as ink and dust are.
    """
    grey = torch.where(tone < 0.35, 1.0, torch.where(tone > 0.8, 0.0, (tone - 0.35) / 0.45))
    return torch.lerp(x, grey[:, None].expand_as(x), ink[:, None].clamp(0, 1).expand_as(x))
