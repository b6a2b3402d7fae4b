"""What sensors and losses do pixel by pixel: noise of several kinds, missing pixels, rows and columns."""

import torch
from torch import Tensor
from torch.nn import functional


def noise(x: Tensor, draws: Tensor, field: Tensor, strength: Tensor) -> Tensor:
    """Add normal noise: even, stronger where it is light, or in clots; its strength varies from image to image."""
    kind, amount = draws[:, 0:1, None, None], (0.02 + 0.33 * draws[:, 1:2] * strength)[:, :, None, None]
    clotted = functional.avg_pool2d(functional.pad(field, (1,) * 4, mode="replicate"), 3, 1) * 2
    shaped = torch.where(kind < 0.45, field, torch.where(kind < 0.75, field * x.clamp(min=0).sqrt() * 1.6, clotted))
    return (x + shaped * amount).clamp(0, 1)


def missing(x: Tensor, draws: Tensor, field: Tensor, strength: Tensor) -> Tensor:
    """Lose pixels, rows or columns to black, white or a grey."""
    kind, tone = draws[:, 0:1, None, None], draws[:, 1:2, None, None]
    share = (0.02 + 0.33 * draws[:, 2:3] * strength)[:, :, None, None]
    # The share of a normal law beyond a threshold.
    threshold = torch.erfinv((1 - 2 * share).clamp(-0.999, 0.999)) * 2**0.5
    lines = torch.where(kind < 0.8, field[..., :1].expand_as(field), field[..., :1, :].expand_as(field))
    lost = torch.where(kind < 0.6, field > threshold, lines > threshold + 0.5)
    both = torch.where(field > threshold + 0.25 * (3 - threshold), 1.0, 0.0)  # black and white at once
    grey = torch.where(tone < 0.3, 0.0, torch.where(tone < 0.6, 1.0, torch.where(tone < 0.8, both, (tone - 0.8) * 5)))
    return torch.where(lost, grey.expand_as(x), x)
