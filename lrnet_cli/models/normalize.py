"""Normalisation of each image by its own ground and contrast, the first thing that a network does with it.

A network that only ever saw ink on a perfectly black ground takes any other ground for ink. After ``stretch`` and
``ground`` the ground is zero, which is also what convolutions pad with, lighter is positive, darker negative, and the
strongest of what stands on the ground is about one. White ink on black is left nearly as it is.
"""

import torch
from torch import Tensor, nn

from lrnet_cli.data.crop import DEPENDS, explained
from lrnet_cli.settings.words import Normalize

_STRONGEST = 0.02  # share of the pixels that may stand out further than what becomes one
_LEAST_CONTRAST = 0.1  # below which noise alone would be stretched to ink
_PARTS = 4  # of each side, whose medians show the ground
_ROUNDS, _SMALL_DEVIATION = 3, 0.02  # of weighting; a deviation that counts as none
_STIFFNESS = 0.01  # against slopes
_SAMPLE = 256  # images, whose grounds are compared
_VARYING, _SLOPING = 0.08, 0.12  # deviation of the grounds' levels, and their median range, of the grey scale


def normalize(images: Tensor, how: Normalize) -> Tensor:
    """Return images (N, C, S, S) in [0, 1] normalised, in [-1, 1]; with ``none`` as they are.

    ``stretch`` takes the ground for even: the median of the border. ``ground`` takes it for a plane, fitted to the
    border, as under uneven light.
    """
    if how == "none":
        return images
    planes = images.flatten(0, 1)  # each colour has its own ground
    level = _even_ground(planes) if how == "stretch" else sloping_ground(planes)
    apart = images - level.expand_as(planes).view_as(images)
    ranked = apart.abs().mean(1).flatten(1).sort(1).values
    scale = ranked[:, -max(1, round(_STRONGEST * ranked.shape[1]))].clamp(min=_LEAST_CONTRAST)
    return (apart / scale[:, None, None, None]).clamp(-1, 1)


def suited_to(images: Tensor, labels: Tensor) -> Normalize:
    """Return ``ground`` if the grounds of images, uint8 (N, C, S, S), vary from one to another or within them.

    Otherwise it is ``none``: where all grounds are even and alike, there is nothing to remove, and where they differ
    with the ``labels`` (N,), they may be what tells the classes.
    """
    chosen = slice(None, None, max(1, len(images) // _SAMPLE))
    sample = images[chosen].cpu().float().div(255)
    planes = sample.flatten(0, 1)
    grounds = sloping_ground(planes).expand_as(planes).flatten(1)
    levels = grounds.mean(1).view(sample.shape[:2])
    if explained(levels.double().numpy(), labels[chosen].cpu().numpy()) > DEPENDS:
        return "none"
    varies = float(levels.std(0).max()) > _VARYING
    slopes = float((grounds.amax(1) - grounds.amin(1)).median()) > _SLOPING
    return "ground" if varies or slopes else "none"


class Normalized(nn.Module):
    """``network`` that sees images normalised; it has no parameters of its own."""

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


def sloping_ground(grey: Tensor) -> Tensor:
    """Return the plane, (N, S, S), that fits the medians of sixteen parts of the border.

    Things that reach the border are outliers: least absolute deviations, by least squares with weights that follow the
    deviations, pass most of them by.
    """
    side = grey.shape[-1]
    depth, parts = max(1, side // 14), max(1, min(_PARTS, side // 2))
    strips = (grey[:, :depth], grey[:, -depth:], grey[:, :, :depth].mT, grey[:, :, -depth:].mT)
    medians = torch.stack([_median(p.flatten(1)) for strip in strips for p in strip.tensor_split(parts, 2)], 1)
    positions = _positions(grey, depth, parts)
    plane = _weighted_fit(positions, medians, torch.ones_like(medians))
    for _ in range(_ROUNDS):
        weights = 1 / ((medians - (plane[:, None, :] * positions).sum(2)).abs() + _SMALL_DEVIATION)
        plane = _weighted_fit(positions, medians, weights)
    line = (torch.arange(side, device=grey.device, dtype=grey.dtype) + 0.5) / side - 0.5
    level, down, right = plane[:, :, None, None].unbind(1)
    return (level + down * line[:, None] + right * line).clamp(0, 1)


def _positions(grey: Tensor, depth: int, parts: int) -> Tensor:
    """Return where the middles of the border's parts are, (4 · parts, 3): one, down and right of the middle, in sides.

    Computed where the images are: to copy a list there, a GPU would have to be waited for.
    """
    side = grey.shape[-1]
    # As tensor_split cuts: the first parts are longer by one where the side is no multiple.
    number = torch.arange(parts + 1, device=grey.device, dtype=grey.dtype)
    cuts = number * (side // parts) + number.clamp(max=side % parts)
    along = (cuts[1:] + cuts[:-1] - side) / (2 * side)
    near = torch.full_like(along, (depth - side) / (2 * side))
    edge, along = torch.cat([near, -near]), along.repeat(2)
    return torch.stack([torch.ones_like(along).repeat(2), torch.cat([edge, along]), torch.cat([along, edge])], 1)


def _weighted_fit(positions: Tensor, values: Tensor, weights: Tensor) -> Tensor:
    """Return the coefficients (N, 3) by which ``positions`` (K, 3) come nearest to ``values`` (N, K), by least squares.

    Slopes are drawn a little to zero. Three equations are solved by cross products: exported networks know no solver.
    """
    shares = weights / weights.sum(1, keepdim=True)
    # Sums of products: a matrix product on a CPU rounds a row by its position in the batch.
    products = (shares[:, :, None] * (positions[:, :, None] * positions[:, None, :]).flatten(1)).sum(1)  # (N, 9)
    first, second, third = products.view(-1, 3, 3).unbind(1)
    stiffness = _STIFFNESS * torch.eye(3, device=values.device, dtype=values.dtype)
    second, third = second + stiffness[1], third + stiffness[2]
    target = ((shares * values)[:, :, None] * positions).sum(1)
    columns = [_cross(second, third), _cross(third, first), _cross(first, second)]
    determinant = (first * columns[0]).sum(1, keepdim=True)
    return sum(column * target[:, index : index + 1] for index, column in enumerate(columns)) / determinant


def _cross(a: Tensor, b: Tensor) -> Tensor:
    a1, a2, a3 = a.unbind(1)
    b1, b2, b3 = b.unbind(1)
    return torch.stack([a2 * b3 - a3 * b2, a3 * b1 - a1 * b3, a1 * b2 - a2 * b1], 1)


def _median(values: Tensor) -> Tensor:
    """Return the median of each row: exported networks know sorting, but no median."""
    ranked, n = values.sort(1).values, values.shape[1]
    return (ranked[:, (n - 1) // 2] + ranked[:, n // 2]) / 2
