"""Blur by lenses, motion and frosted glass."""

import math

import torch
from torch import Tensor
from torch.nn import functional

_DIRECTIONS = 8  # of motion


def gaussian_blur(x: Tensor, sigma: float) -> Tensor:
    """Blur with a Gaussian kernel."""
    from torchvision.transforms.v2 import functional as vision  # takes seconds

    pixels = sigma * x.shape[-1]
    size = min(2 * math.ceil(3 * pixels) + 1, 2 * ((x.shape[-1] - 1) // 2) + 1)
    blurred: Tensor = vision.gaussian_blur(x, kernel_size=[size, size], sigma=[pixels, pixels])
    return blurred


def motion_blur(x: Tensor, length: float) -> Tensor:
    """Smear each image along one of eight directions."""
    pixels = length * x.shape[-1]
    reach = math.ceil(pixels / 2)
    line = torch.arange(-reach, reach + 1, dtype=torch.float32)
    padded = functional.pad(x, (reach,) * 4, mode="replicate")
    direction, blurred = torch.randint(_DIRECTIONS, (len(x),)), torch.empty_like(x)
    for number in range(_DIRECTIONS):
        angle = math.pi * number / _DIRECTIONS
        along = line[None] * math.cos(angle) + line[:, None] * math.sin(angle)
        across = line[None] * -math.sin(angle) + line[:, None] * math.cos(angle)
        # A line of the given length and one pixel's width, its ends and edges antialiased.
        weights = (pixels / 2 + 0.5 - along.abs()).clamp(0, 1) * (1 - across.abs()).clamp(0, 1)
        kernel = (weights / weights.sum()).expand(x.shape[1], 1, -1, -1)
        chosen = direction == number
        blurred[chosen] = functional.conv2d(padded[chosen], kernel, groups=x.shape[1])
    return blurred


def glass_blur(x: Tensor, share: float) -> Tensor:
    """Take each pixel from a random position within ``share`` of the side."""
    side = x.shape[-1]
    line = torch.arange(side)
    moves = ((torch.rand(2, len(x), side, side) * 2 - 1) * share * side).round().long()
    down, right = (line[:, None] + moves[0]).clamp(0, side - 1), (line + moves[1]).clamp(0, side - 1)
    positions = (down * side + right).flatten(1)[:, None].expand(-1, x.shape[1], -1)
    return x.flatten(2).gather(2, positions).view_as(x)
