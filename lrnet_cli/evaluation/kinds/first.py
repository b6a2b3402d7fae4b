"""The first twelve kinds, in the manner of ImageNet-C (Hendrycks and Dietterich 2019, arXiv:1903.12261).

Lengths are shares of the side, for images of few pixels. torchvision does what it has an operation for; it draws one
set of random numbers per batch, so what differs from image to image is drawn here.
"""

import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from lrnet_cli.data.images import as_image
from lrnet_cli.evaluation.kinds.kind import Corruption

_DIRECTIONS = 8  # of motion


def _vision(operation: str, x: Tensor, *arguments: Any, **settings: Any) -> Tensor:
    """Return the result of torchvision's functional ``operation`` on ``x``."""
    from torchvision.transforms.v2 import functional as vision  # takes seconds

    result: Tensor = getattr(vision, operation)(x, *arguments, **settings)
    return result


def _bilinear() -> Any:
    from torchvision.transforms.v2 import InterpolationMode

    return InterpolationMode.BILINEAR


def _gaussian_noise(x: Tensor, sigma: float) -> Tensor:
    return _vision("gaussian_noise", x, sigma=sigma)


def _shot_noise(x: Tensor, photons: float) -> Tensor:
    return torch.poisson(x * photons) / photons


def _impulse_noise(x: Tensor, share: float) -> Tensor:
    drawn = torch.rand(len(x), 1, *x.shape[2:])
    return torch.where(drawn < share / 2, 0.0, torch.where(drawn > 1 - share / 2, 1.0, x))


def _gaussian_blur(x: Tensor, sigma: float) -> Tensor:
    pixels = sigma * x.shape[-1]
    reach = min(2 * math.ceil(3 * pixels) + 1, 2 * ((x.shape[-1] - 1) // 2) + 1)
    return _vision("gaussian_blur", x, kernel_size=[reach, reach], sigma=[pixels, pixels])


def _motion_blur(x: Tensor, length: float) -> Tensor:
    pixels = length * x.shape[-1]
    reach = math.ceil(pixels / 2)
    places = torch.arange(-reach, reach + 1, dtype=torch.float32)
    padded = functional.pad(x, (reach,) * 4, mode="replicate")
    direction, blurred = torch.randint(_DIRECTIONS, (len(x),)), torch.empty_like(x)
    for number in range(_DIRECTIONS):
        angle = math.pi * number / _DIRECTIONS
        along = places[None] * math.cos(angle) + places[:, None] * math.sin(angle)
        across = places[None] * -math.sin(angle) + places[:, None] * math.cos(angle)
        # A line of the given length and one pixel's width, its ends and edges antialiased.
        line = (pixels / 2 + 0.5 - along.abs()).clamp(0, 1) * (1 - across.abs()).clamp(0, 1)
        kernel = (line / line.sum()).expand(x.shape[1], 1, -1, -1)
        chosen = direction == number
        blurred[chosen] = functional.conv2d(padded[chosen], kernel, groups=x.shape[1])
    return blurred


def _downscale(x: Tensor, share: float) -> Tensor:
    side = x.shape[-1]
    small = max(1, round(share * side))
    return _vision("resize", _vision("resize", x, [small, small], antialias=True), [side, side], antialias=True)


def _jpeg(x: Tensor, quality: float) -> Tensor:
    # Pillow's: torchvision's codecs are deprecated since 0.29.
    def compressed(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        stored = io.BytesIO()
        as_image(pixels).save(stored, format="JPEG", quality=int(quality))
        return np.asarray(Image.open(stored)).reshape(pixels.shape)

    images = (x * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    result = torch.from_numpy(np.stack([compressed(pixels) for pixels in images]))
    return result.permute(0, 3, 1, 2).to(torch.float32) / 255


def _contrast(x: Tensor, factor: float) -> Tensor:
    return _vision("adjust_contrast", x, factor)


def _brightness(x: Tensor, factor: float) -> Tensor:
    return _vision("adjust_brightness", x, factor)


def _occlusion(x: Tensor, share: float) -> Tensor:
    side = x.shape[-1]
    size = max(1, round(share * side))
    top, left = torch.randint(side - size + 1, (2, len(x), 1))
    places = torch.arange(side)
    rows, columns = ((places >= first) & (places < first + size) for first in (top, left))
    return x.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0.5)


def _either_way(x: Tensor, turned: Callable[[Tensor, float], Tensor]) -> Tensor:
    """Return the images, a random half of them turned one way (1.0) and the rest the other way (-1.0)."""
    one_way, result = torch.rand(len(x)) < 0.5, torch.empty_like(x)
    result[one_way], result[~one_way] = turned(x[one_way], 1.0), turned(x[~one_way], -1.0)
    return result


def _rotation(x: Tensor, degrees: float) -> Tensor:
    return _on_background(
        x, lambda y: _either_way(y, lambda z, way: _vision("rotate", z, way * degrees, interpolation=_bilinear()))
    )


def _shear(x: Tensor, degrees: float) -> Tensor:
    def sheared(z: Tensor, way: float) -> Tensor:
        shear = [way * degrees, 0.0]
        return _vision("affine", z, 0.0, [0, 0], 1.0, shear, interpolation=_bilinear())

    return _on_background(x, lambda y: _either_way(y, sheared))


def _on_background(x: Tensor, moved: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the images moved, gaps filled with each image's own background, the median of its border."""
    border = torch.cat([x[..., 0, :], x[..., -1, :], x[..., 0], x[..., -1]], -1).median(-1).values[..., None, None]
    return moved(x - border) + border


FIRST_KINDS = (
    Corruption(
        "gaussian_noise",
        "adds normal noise",
        "standard deviation",
        (0.08, 0.12, 0.18, 0.26, 0.38),
        _gaussian_noise,
        ("robust", "noise"),
    ),
    Corruption(
        "shot_noise",
        "draws each pixel from a Poisson distribution",
        "photons for white",
        (60, 25, 12, 5, 3),
        _shot_noise,
    ),
    Corruption(
        "impulse_noise",
        "makes pixels black or white",
        "share of pixels",
        (0.03, 0.06, 0.09, 0.17, 0.27),
        _impulse_noise,
    ),
    Corruption(
        "gaussian_blur",
        "blurs",
        "standard deviation, share of the side",
        (0.02, 0.03, 0.045, 0.06, 0.08),
        _gaussian_blur,
        ("robust", "blur"),
    ),
    Corruption(
        "motion_blur",
        "smears along one of eight directions",
        "length, share of the side",
        (0.1, 0.15, 0.2, 0.3, 0.4),
        _motion_blur,
    ),
    Corruption(
        "downscale",
        "scales down, antialiased, and back up (28 pixels: to 20, 14, 10, 7 and 5)",
        "share of the side",
        (20 / 28, 14 / 28, 10 / 28, 7 / 28, 5 / 28),
        _downscale,
    ),
    Corruption("jpeg", "compresses as JPEG", "quality", (25, 15, 10, 5, 2), _jpeg),
    Corruption(
        "contrast", "pulls grey values towards their mean", "share that remains", (0.6, 0.4, 0.3, 0.2, 0.1), _contrast
    ),
    Corruption("brightness", "darkens", "factor", (0.7, 0.5, 0.35, 0.25, 0.15), _brightness),
    Corruption(
        "occlusion",
        "hides a grey square somewhere",
        "share of the side",
        (0.2, 0.275, 0.35, 0.425, 0.5),
        _occlusion,
        ("robust", "cutout"),
    ),
    Corruption(
        "rotation", "rotates one way or the other", "degrees", (10, 20, 30, 40, 50), _rotation, ("robust", "shear")
    ),
    Corruption("shear", "shears one way or the other", "degrees", (10, 20, 30, 40, 50), _shear, ("robust", "shear")),
)
