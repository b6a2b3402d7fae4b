"""Maps over an image that several families draw from."""

import torch
from torch import Tensor
from torch.nn import functional


def places(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far down and right each pixel of images (N, C, S, S) lies, in (0, 1): (1, S, 1) and (1, 1, S)."""
    side = x.shape[-1]
    line = (torch.arange(side, device=x.device, dtype=x.dtype) + 0.5) / side
    return line[None, :, None], line[None, None, :]


def slope(x: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Return a plane over images, (N, S, S), that is zero in the middle.

    Its slopes follow the uniform draws ``down`` and ``right``, (N, 1, 1) in [0, 1); at 0.5 it is level.
    """
    below, beyond = places(x)
    return (below - 0.5) * (2 * down - 1) + (beyond - 0.5) * (2 * right - 1)


def smooth(field: Tensor, cells: int) -> Tensor:
    """Return normal numbers (N, 1, S, S) as a smooth map of about half the variance, ``cells`` hills along a side."""
    side = field.shape[-1]
    coarse = functional.adaptive_avg_pool2d(field, cells) * (side / cells)
    return functional.interpolate(coarse, side, mode="bicubic", align_corners=False)
