"""What lenses, sensors and scaling do: blur of several kinds, lost resolution, compression."""

import math

import torch
from torch import Tensor
from torch.nn import functional

_SIZES = (0.72, 0.52, 0.38, 0.27)  # of the side, that images are scaled down to, about
_BLOCK = 8  # pixels of a side, that are compressed together


def blur(x: Tensor, draws: Tensor, _field: Tensor, strength: Tensor) -> Tensor:
    """Blur by a normal law that is round or drawn out in any direction."""
    n, channels, side = x.shape[:3]
    widest = 0.11 * side  # pixels, of the larger standard deviation
    reach = math.ceil(2.2 * widest)
    line = torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype)
    long, is_round = widest * draws[:, 0:1] * strength, draws[:, 1:2] < 0.5
    long, thin = 0.25 + torch.where(is_round, long * 0.7, long), 0.25 + torch.where(is_round, 0.7, 0.2) * long
    angle = math.pi * draws[:, 2:3]
    along = line[None, :, None] * torch.sin(angle)[:, :, None] + line[None, None, :] * torch.cos(angle)[:, :, None]
    across = line[None, :, None] * torch.cos(angle)[:, :, None] - line[None, None, :] * torch.sin(angle)[:, :, None]
    kernel = torch.exp(-0.5 * ((along / long[:, :, None]) ** 2 + (across / thin[:, :, None]) ** 2))
    kernel = (kernel / kernel.sum((1, 2), keepdim=True))[:, None].repeat_interleave(channels, 0)
    padded = functional.pad(x, (reach,) * 4, mode="replicate").reshape(1, n * channels, side + 2 * reach, -1)
    return functional.conv2d(padded, kernel, groups=n * channels).view_as(x)


def resolution(x: Tensor, draws: Tensor, _field: Tensor, strength: Tensor) -> Tensor:
    """Scale down, by averaging areas, and up again, smoothly or in blocks."""
    side = x.shape[-1]
    # The stronger, the smaller: the size is drawn among the first of the list.
    choice = (draws[:, 0] * (0.4 + 0.6 * strength[:, 0]) * len(_SIZES)).long()[:, None, None, None]
    in_blocks = draws[:, 1:2, None, None] < 0.25
    result = x
    for number, share in enumerate(_SIZES):
        small = functional.interpolate(x, max(2, round(share * side)), mode="area")
        blocks, smooth = (functional.interpolate(small, side, mode=mode) for mode in ("nearest", "bilinear"))
        result = torch.where(choice == number, torch.where(in_blocks, blocks, smooth), result)
    return result


def compression(x: Tensor, draws: Tensor, _field: Tensor, strength: Tensor) -> Tensor:
    """Round the cosine transform of each block to steps that grow with the frequency."""
    n, channels, side = x.shape[:3]
    blocks = -(-side // _BLOCK)
    extra = blocks * _BLOCK - side
    padded = functional.pad(x, (0, extra, 0, extra), mode="replicate")
    tiles = padded.unfold(2, _BLOCK, _BLOCK).unfold(3, _BLOCK, _BLOCK)
    number = torch.arange(_BLOCK, device=x.device, dtype=x.dtype)
    waves = torch.cos(math.pi / _BLOCK * (number[None] + 0.5) * number[:, None]) * math.sqrt(2 / _BLOCK)
    waves[0] /= math.sqrt(2)
    step = (0.02 + 0.25 * draws[:, 0:1] * strength)[:, :, None, None, None, None] * (
        1 + 0.35 * (number[:, None] + number)
    )
    coded = torch.round((waves @ tiles @ waves.T) / step) * step
    decoded = (waves.T @ coded @ waves).permute(0, 1, 2, 4, 3, 5).reshape(n, channels, side + extra, side + extra)
    return decoded[..., :side, :side].clamp(0, 1)
