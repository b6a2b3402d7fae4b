"""Maps over a picture that several families draw from."""

import torch
from torch import Tensor
from torch.nn import functional


def places(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far down and right each pixel of pictures (N, C, S, S) lies, in (0, 1): (1, S, 1) and (1, 1, S)."""
    side = x.shape[-1]
    line = (torch.arange(side, device=x.device, dtype=x.dtype) + 0.5) / side
    return line[None, :, None], line[None, None, :]


def smooth(field: Tensor, cells: int) -> Tensor:
    """Return normal numbers (N, 1, S, S) as a smooth map of about half the variance, ``cells`` hills along a side."""
    side = field.shape[-1]
    coarse = functional.adaptive_avg_pool2d(field, cells) * (side / cells)
    return functional.interpolate(coarse, side, mode="bicubic", align_corners=False)
