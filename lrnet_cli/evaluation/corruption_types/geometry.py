"""Rotation, shear, translation, and thicker or thinner lines."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

_DIRECTIONS = 8  # of a translation


def rotation(x: Tensor, degrees: float) -> Tensor:
    """Rotate each image one way or the other."""
    from torchvision.transforms.v2 import InterpolationMode  # takes seconds
    from torchvision.transforms.v2 import functional as vision

    return _either_way(x, lambda y, way: vision.rotate(y, way * degrees, InterpolationMode.BILINEAR))


def shear(x: Tensor, degrees: float) -> Tensor:
    """Shear each image one way or the other."""
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as vision

    return _either_way(
        x, lambda y, way: vision.affine(y, 0.0, [0, 0], 1.0, [way * degrees, 0.0], InterpolationMode.BILINEAR)
    )


def _either_way(x: Tensor, turn: Callable[[Tensor, float], Tensor]) -> Tensor:
    """Turn a random half of the images one way (1.0) and the others the other way (-1.0).

    Gaps are filled with each image's own background, the median of its border.
    """
    border = torch.cat([x[..., 0, :], x[..., -1, :], x[..., 0], x[..., -1]], -1).median(-1).values[..., None, None]
    y, one_way, result = x - border, torch.rand(len(x)) < 0.5, torch.empty_like(x)
    result[one_way], result[~one_way] = turn(y[one_way], 1.0), turn(y[~one_way], -1.0)
    return result + border


def translation(x: Tensor, share: float) -> Tensor:
    """Shift each image in one of eight directions, with its border repeated."""
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


def dilation(x: Tensor, share: float) -> Tensor:
    """Take the largest value within ``share`` of the side of each pixel; a part of a pixel counts in part."""
    whole, part = divmod(share * x.shape[-1], 1)
    smaller, larger = (
        functional.max_pool2d(functional.pad(x, (reach,) * 4, mode="replicate"), 2 * reach + 1, 1)
        for reach in (int(whole), int(whole) + 1)
    )
    return torch.lerp(smaller, larger, part)


def erosion(x: Tensor, share: float) -> Tensor:
    """Take the smallest value within ``share`` of the side of each pixel."""
    return -dilation(-x, share)
