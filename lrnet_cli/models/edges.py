"""The edges in an image, by their direction: what it shows to someone who has learned nothing."""

import math

import torch
from torch import Tensor
from torch.nn import functional

_DIRECTIONS, _CELLS = 8, 6  # of edges, over half a turn; of the image, along a side
_SHARPNESS = 4  # how narrow a direction is: the power of a cosine
_BATCH = 1000  # images


def edges_of(images: Tensor) -> Tensor:
    """Return how strong the edges of each direction are in each part of ``images``, uint8 (N, C, S, S).

    These are float32 (N, 288), from 0 up: histograms of oriented gradients (Dalal and Triggs 2005, "Histograms of
    oriented gradients for human detection", sections 4 and 6), eight directions in 6×6 parts. Light on dark gives the
    same as dark on light.
    """
    return torch.cat([_edges_of(batch.float().mean(1, keepdim=True) / 255) for batch in images.split(_BATCH)])


def _edges_of(grey: Tensor) -> Tensor:
    padded = functional.pad(grey, (1, 1, 1, 1), mode="replicate")
    right = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    down = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    strength, angle = torch.hypot(right, down), torch.atan2(down, right)
    parts = []
    for number in range(_DIRECTIONS):
        along = torch.cos(2 * angle - 2 * math.pi * number / _DIRECTIONS).clamp(min=0) ** _SHARPNESS
        parts.append(functional.adaptive_avg_pool2d(along * strength, _CELLS))
    # The root lets a few strong edges count less.
    return torch.cat(parts, 1).flatten(1).sqrt()
