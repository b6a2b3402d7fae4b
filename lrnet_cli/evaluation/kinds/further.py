"""Further kinds: what light, hands, dirt and copying do; the like of two of them is in no training here."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from lrnet_cli.evaluation.kinds.kind import Corruption

_DIRECTIONS = 8  # of light, and of a shift
_STRIPES = 5  # across an image
_LINES = ((0.2, 0.1, 0.9, 0.8), (0.8, 0.2, 0.3, 0.9), (0.5, 0.0, 0.5, 1.0), (0.0, 0.6, 1.0, 0.4), (0.1, 0.9, 0.4, 0.1))


def _brightening(x: Tensor, added: float) -> Tensor:
    return x + added


def _uneven_light(x: Tensor, added: float) -> Tensor:
    line = torch.linspace(0, 1, x.shape[-1])
    angle = torch.randint(_DIRECTIONS, (len(x), 1, 1)) * (2 * math.pi / _DIRECTIONS)
    across = (line[:, None] - 0.5) * torch.sin(angle) + (line - 0.5) * torch.cos(angle)
    return x + added * (across + 0.5).clamp(0, 1)[:, None]


def _fog(x: Tensor, share: float) -> Tensor:
    coarse = torch.rand(len(x), 1, 4, 4)
    clouds = functional.interpolate(coarse, x.shape[-1], mode="bilinear", align_corners=True)
    return torch.lerp(x, (0.4 + 0.6 * clouds).expand_as(x), share)


def _stripes(x: Tensor, share: float) -> Tensor:
    """Lay light stripes over each image, from a place of its own on."""
    side = x.shape[-1]
    places = (torch.arange(side) / side * _STRIPES + torch.rand(len(x), 1)) % 1
    return torch.where((places < 0.3)[:, None, :, None], torch.lerp(x, torch.ones_like(x), share), x)


def _strokes(x: Tensor, count: float) -> Tensor:
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


def _edges(x: Tensor, share: float) -> Tensor:
    """Mix with the size of the gradient, as large as the image's own range."""
    padded = functional.pad(x, (1, 1, 1, 1), mode="replicate")
    down = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    right = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    return torch.lerp(x, torch.hypot(down, right).clamp(max=1), share)


def _translation(x: Tensor, share: float) -> Tensor:
    side, result = x.shape[-1], torch.empty_like(x)
    direction = torch.randint(_DIRECTIONS, (len(x),))
    reach = side // 2
    padded = functional.pad(x, (reach,) * 4, mode="replicate")
    for number in range(_DIRECTIONS):
        angle = 2 * math.pi * number / _DIRECTIONS
        down, right = (reach + round(share * side * part) for part in (math.sin(angle), math.cos(angle)))
        chosen = direction == number
        result[chosen] = padded[chosen, :, down : down + side, right : right + side]
    return result


def _thick(x: Tensor, pixels: float) -> Tensor:
    return _grown(x, pixels * x.shape[-1])


def _thin(x: Tensor, pixels: float) -> Tensor:
    return -_grown(-x, pixels * x.shape[-1])


def _grown(x: Tensor, pixels: float) -> Tensor:
    """Return the largest value within ``pixels`` of each place; a part of a pixel counts in part."""
    whole, part = int(pixels), pixels % 1
    smaller, larger = (
        functional.max_pool2d(functional.pad(x, (reach,) * 4, mode="replicate"), 2 * reach + 1, 1)
        for reach in (whole, whole + 1)
    )
    return torch.lerp(smaller, larger, part)


def _quantisation(x: Tensor, levels: float) -> Tensor:
    return torch.round(x * (levels - 1)) / (levels - 1)


def _frosted(x: Tensor, share: float) -> Tensor:
    """Take each pixel from a random place within ``share`` of the side."""
    side = x.shape[-1]
    line = torch.arange(side)
    moves = ((torch.rand(2, len(x), side, side) * 2 - 1) * share * side).round().long()
    down, right = (line[:, None] + moves[0]).clamp(0, side - 1), (line + moves[1]).clamp(0, side - 1)
    places = (down * side + right).flatten(1)[:, None].expand(-1, x.shape[1], -1)
    return x.flatten(2).gather(2, places).view_as(x)


def _show_through(x: Tensor, share: float) -> Tensor:
    """Let another image shine through from the back of the page, mirrored, at ``share`` of its strength."""
    return torch.maximum(x, share * x[torch.randperm(len(x))].flip(-1))


FURTHER_KINDS = (
    Corruption("brightening", "adds a constant", "grey value", (0.1, 0.2, 0.35, 0.5, 0.6), _brightening),
    Corruption(
        "uneven_light", "adds light from one side", "grey value there", (0.2, 0.3, 0.45, 0.6, 0.75), _uneven_light
    ),
    Corruption("fog", "mixes with pale clouds", "share of the clouds", (0.2, 0.35, 0.5, 0.6, 0.7), _fog),
    Corruption(
        "stripes", "lays five light stripes over it", "share of the stripe", (0.2, 0.35, 0.5, 0.7, 0.9), _stripes
    ),
    Corruption("strokes", "draws light strokes", "strokes", (1, 2, 3, 4, 5), _strokes),
    Corruption("edges", "mixes with the size of the gradient", "its share", (0.3, 0.5, 0.7, 0.85, 1.0), _edges),
    Corruption(
        "translation",
        "shifts in one of eight directions",
        "share of the side",
        (0.06, 0.1, 0.15, 0.2, 0.25),
        _translation,
        ("robust", "shift"),
    ),
    Corruption("thick", "thickens what is light", "share of the side", (0.01, 0.02, 0.03, 0.045, 0.06), _thick),
    Corruption("thin", "thins what is light", "share of the side", (0.01, 0.015, 0.02, 0.027, 0.034), _thin),
    Corruption("quantisation", "rounds grey values", "levels", (12, 7, 5, 3, 2), _quantisation, ()),
    Corruption("frosted", "scatters pixels", "share of the side", (0.03, 0.05, 0.075, 0.1, 0.13), _frosted),
    Corruption(
        "show_through", "lets the back of the page show", "its share", (0.2, 0.3, 0.4, 0.55, 0.7), _show_through, ()
    ),
)
