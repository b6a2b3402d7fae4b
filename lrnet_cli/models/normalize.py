"""Normalisation of each picture by its own ground and contrast, the first thing that a network does with it.

A network that only ever saw ink on a perfectly black ground takes any other ground for ink. After ``stretch`` and
``ground`` the ground is zero, which is also what convolutions pad with, lighter is positive, darker negative, and the
strongest of what stands on the ground is about one. White ink on black is left nearly as it is.
"""

import torch
from torch import Tensor, nn

from lrnet_cli.settings.words import Normalize

_STRONGEST = 0.02  # share of the pixels that may stand out further than what becomes one
_LEAST_CONTRAST = 0.1  # below which noise alone would be stretched to ink
_PARTS = 4  # of each side, whose medians show the ground
_ROUNDS, _SMALL_DEVIATION = 3, 0.02  # of weighting; a deviation that counts as none
_STIFFNESS = 0.01  # against slopes


def normalize(images: Tensor, how: Normalize) -> Tensor:
    """Return pictures (N, C, S, S) in [0, 1] normalised, in [-1, 1]; with ``none`` as they are.

    ``stretch`` takes the ground for even: the median of the border. ``ground`` takes it for a plane, fitted to the
    border, as under uneven light.
    """
    if how == "none":
        return images
    planes = images.flatten(0, 1)  # each colour has its own ground
    level = _even_ground(planes) if how == "stretch" else _sloping_ground(planes)
    apart = images - level.expand_as(planes).view_as(images)
    ranked = apart.abs().mean(1).flatten(1).sort(1).values
    scale = ranked[:, -max(1, round(_STRONGEST * ranked.shape[1]))].clamp(min=_LEAST_CONTRAST)
    return (apart / scale[:, None, None, None]).clamp(-1, 1)


class Normalized(nn.Module):
    """``network`` that sees pictures normalised; it has no parameters of its own."""

    def __init__(self, network: nn.Module, how: Normalize) -> None:
        super().__init__()
        self.network = network
        self.how: Normalize = how

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, classes) of floats (N, C, S, S) in [0, 1]."""
        logits: Tensor = self.network(normalize(images, self.how))
        return logits


def _even_ground(grey: Tensor) -> Tensor:
    border = torch.cat([grey[:, 0], grey[:, -1], grey[:, 1:-1, 0], grey[:, 1:-1, -1]], 1)
    return _median(border)[:, None, None]


def _sloping_ground(grey: Tensor) -> Tensor:
    """Return the plane, (N, S, S), that fits the medians of sixteen parts of the border.

    Things that reach the border are outliers: least absolute deviations, by least squares with weights that follow the
    deviations, pass most of them by.
    """
    side = grey.shape[-1]
    depth, parts = max(1, side // 14), max(1, min(_PARTS, side // 2))
    strips = (grey[:, :depth], grey[:, -depth:], grey[:, :, :depth].mT, grey[:, :, -depth:].mT)
    medians = torch.stack([_median(p.flatten(1)) for strip in strips for p in strip.tensor_split(parts, 2)], 1)
    places = grey.new_tensor(_places(side, depth, parts))  # (parts, 3): one, down and right of the middle
    plane = _weighted_fit(places, medians, torch.ones_like(medians))
    for _ in range(_ROUNDS):
        weights = 1 / ((medians - plane @ places.T).abs() + _SMALL_DEVIATION)
        plane = _weighted_fit(places, medians, weights)
    line = (torch.arange(side, device=grey.device, dtype=grey.dtype) + 0.5) / side - 0.5
    level, down, right = plane[:, :, None, None].unbind(1)
    return (level + down * line[:, None] + right * line).clamp(0, 1)


def _places(side: int, depth: int, parts: int) -> list[list[float]]:
    """Return where the middles of the border's parts are, from the picture's middle, in sides, with a one before."""
    near = depth / 2 / side - 0.5
    # As tensor_split cuts: the first parts are longer by one where the side is no multiple.
    cuts = [number * (side // parts) + min(number, side % parts) for number in range(parts + 1)]
    along = [(cuts[number] + cuts[number + 1]) / 2 / side - 0.5 for number in range(parts)]
    level = [[1.0, edge, place] for edge in (near, -near) for place in along]
    return level + [[1.0, place, edge] for edge in (near, -near) for place in along]


def _weighted_fit(places: Tensor, values: Tensor, weights: Tensor) -> Tensor:
    """Return the coefficients (N, 3) by which ``places`` (K, 3) come nearest to ``values`` (N, K), by least squares.

    Slopes are drawn a little to zero. Three equations are solved by cross products: exported networks know no solver.
    """
    shares = weights / weights.sum(1, keepdim=True)
    products = shares @ (places[:, :, None] * places[:, None, :]).flatten(1)  # (N, 9)
    first, second, third = products.view(-1, 3, 3).unbind(1)
    second = second + values.new_tensor([0, _STIFFNESS, 0])
    third = third + values.new_tensor([0, 0, _STIFFNESS])
    target = (shares * values) @ places
    columns = [_cross(second, third), _cross(third, first), _cross(first, second)]
    determinant = (first * columns[0]).sum(1, keepdim=True)
    return sum(column * target[:, place : place + 1] for place, column in enumerate(columns)) / determinant


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a.roll(-1, 1) * b.roll(1, 1) - a.roll(1, 1) * b.roll(-1, 1)


def _median(values: Tensor) -> Tensor:
    """Return the median of each row: exported networks know sorting, but no median."""
    ranked, n = values.sort(1).values, values.shape[1]
    return (ranked[:, (n - 1) // 2] + ranked[:, n // 2]) / 2
