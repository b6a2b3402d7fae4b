"""Scaling, compression, and few grey values."""

import io

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from lrnet_cli.data.images import as_image


def pixelation(x: Tensor, share: float) -> Tensor:
    """Scale down to ``share`` of the side, antialiased, and back up."""
    side = x.shape[-1]
    small = functional.interpolate(x, max(1, round(share * side)), mode="bilinear", antialias=True)
    return functional.interpolate(small, side, mode="bilinear", antialias=True)


def jpeg(x: Tensor, quality: float) -> Tensor:
    """Compress as JPEG, with Pillow: torchvision's codecs are deprecated since 0.29."""

    def compressed(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        stored = io.BytesIO()
        as_image(pixels).save(stored, format="JPEG", quality=int(quality))
        return np.asarray(Image.open(stored)).reshape(pixels.shape)

    images = (x * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    result = torch.from_numpy(np.stack([compressed(pixels) for pixels in images]))
    return result.permute(0, 3, 1, 2).to(torch.float32) / 255


def quantization(x: Tensor, levels: float) -> Tensor:
    """Round to so many grey values."""
    return torch.round(x * (levels - 1)) / (levels - 1)


def edges(x: Tensor, share: float) -> Tensor:
    """Mix with the size of the gradient, as large as the image's own range."""
    padded = functional.pad(x, (1, 1, 1, 1), mode="replicate")
    down = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    right = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    return torch.lerp(x, torch.hypot(down, right).clamp(max=1), share)
