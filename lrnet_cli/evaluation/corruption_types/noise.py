"""Noise of sensors and transmission."""

import torch
from torch import Tensor


def gaussian_noise(x: Tensor, sigma: float) -> Tensor:
    """Add normal noise."""
    return x + torch.randn_like(x) * sigma


def shot_noise(x: Tensor, photons: float) -> Tensor:
    """Draw each pixel from a Poisson distribution, with ``photons`` on average for white."""
    return torch.poisson(x * photons) / photons


def impulse_noise(x: Tensor, share: float) -> Tensor:
    """Make a share of the pixels black or white."""
    drawn = torch.rand(len(x), 1, *x.shape[2:])
    return torch.where(drawn < share / 2, 0.0, torch.where(drawn > 1 - share / 2, 1.0, x))
