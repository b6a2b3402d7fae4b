"""What lies over an image or shines through it."""

import math

import torch
from torch import Tensor

_STRIPES = 5  # across an image
_LINES = ((0.2, 0.1, 0.9, 0.8), (0.8, 0.2, 0.3, 0.9), (0.5, 0.0, 0.5, 1.0), (0.0, 0.6, 1.0, 0.4), (0.1, 0.9, 0.4, 0.1))


def square(x: Tensor, share: float) -> Tensor:
    """Hide a grey square of ``share`` of the side, somewhere in each image."""
    side = x.shape[-1]
    size = max(1, round(share * side))
    top, left = torch.randint(side - size + 1, (2, len(x), 1))
    line = torch.arange(side)
    rows, columns = ((line >= first) & (line < first + size) for first in (top, left))
    return x.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0.5)


def stripes(x: Tensor, share: float) -> Tensor:
    """Lay light stripes over each image, with a random phase."""
    side = x.shape[-1]
    phases = (torch.arange(side) / side * _STRIPES + torch.rand(len(x), 1)) % 1
    return torch.where((phases < 0.3)[:, None, :, None], torch.lerp(x, torch.ones_like(x), share), x)


def strokes(x: Tensor, count: float) -> Tensor:
    """Draw light strokes from side to side, each shifted from image to image."""
    side = x.shape[-1]
    line = (torch.arange(side) + 0.5) / side
    for y0, x0, y1, x1 in _LINES[: int(count)]:
        shift = (torch.rand(2, len(x), 1, 1) - 0.5) * 0.3
        down, right = line[:, None] - y0 - shift[0], line - x0 - shift[1]
        length = math.hypot(y1 - y0, x1 - x0)
        across = (down * (x1 - x0) - right * (y1 - y0)) / length
        along = (down * (y1 - y0) + right * (x1 - x0)) / length
        ink = (0.75 - across.abs() * side + 0.5).clamp(0, 1) * ((along > 0) & (along < length))
        x = torch.maximum(x, 0.9 * ink[:, None])
    return x


def show_through(x: Tensor, share: float) -> Tensor:
    """Let another image shine through from the back of the page, mirrored, at ``share`` of its strength."""
    return torch.maximum(x, share * x[torch.randperm(len(x))].flip(-1))
