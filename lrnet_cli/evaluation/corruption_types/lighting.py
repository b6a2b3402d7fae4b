"""Light and weather."""

import math

import torch
from torch import Tensor
from torch.nn import functional

_DIRECTIONS = 8  # of light


def contrast(x: Tensor, factor: float) -> Tensor:
    """Pull the grey values of each image towards their mean."""
    from torchvision.transforms.v2 import functional as vision  # takes seconds

    adjusted: Tensor = vision.adjust_contrast(x, factor)
    return adjusted


def darkening(x: Tensor, factor: float) -> Tensor:
    """Multiply by ``factor``."""
    return x * factor


def brightening(x: Tensor, added: float) -> Tensor:
    """Add a constant."""
    return x + added


def uneven_light(x: Tensor, added: float) -> Tensor:
    """Add light from one of eight sides of each image."""
    line = torch.linspace(0, 1, x.shape[-1])
    angle = torch.randint(_DIRECTIONS, (len(x), 1, 1)) * (2 * math.pi / _DIRECTIONS)
    across = (line[:, None] - 0.5) * torch.sin(angle) + (line - 0.5) * torch.cos(angle)
    return x + added * (across + 0.5).clamp(0, 1)[:, None]


def fog(x: Tensor, share: float) -> Tensor:
    """Mix with pale clouds."""
    coarse = torch.rand(len(x), 1, 4, 4)
    clouds = functional.interpolate(coarse, x.shape[-1], mode="bilinear", align_corners=True)
    return torch.lerp(x, (0.4 + 0.6 * clouds).expand_as(x), share)
