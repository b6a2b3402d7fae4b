"""The only path from an image to a network's input, for ``predict``, class folders and evaluation alike."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, Union, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lrnet_cli.data.crop import cropped_to
from lrnet_cli.data.files import MAX_PIXELS, image_errors, open_image, too_large
from lrnet_cli.data.polarity import Polarity, PolarityRule, polarity_of, ring_of
from lrnet_cli.errors import ImageError
from lrnet_cli.settings.words import Crop, Invert, Normalize, OnError

if TYPE_CHECKING:
    from torch import Tensor  # which takes a second to import, in every process that reads images

ImageSource: TypeAlias = Union[str, os.PathLike[str], Image.Image, NDArray[Any], "Tensor"]  # for the text
ReadingOf = Literal["full", "reduced"]
CropTo = Literal["none", "content"]
_MAX_SIDE = 4096  # of an input; far beyond low resolution, and far below sizes that overflow
_REDUCED = 2  # times the size that is needed, at least: an image brought to it hardly differs from all of it
_REDUCED_TO_CROP = 6  # times, where only a part of it is needed
_STRIP = 1_000_000  # pixels that are converted at a time
_OF_32_BITS = {  # by Pillow's mode: the largest grey level, and what is said of others
    "F": (255, "float values outside 0 to 1 and 0 to 255"),
    "I": (65535, "32-bit values outside 0 to 255 and 0 to 65,535"),
}
_ENOUGH_TO_JUDGE = 512  # pixels, to judge whether a transparent image's ink is dark


@dataclass(frozen=True)
class Preprocessing:
    """What a network expects of an image; stored in the weight file.

    ``image_size`` is the side in pixels, ``channels`` 1 (grey) or 3 (RGB), ``polarity`` how the training images
    stand on their background, ``normalize`` what the network does with an image's own ground and contrast,
    ``polarity_rule`` how an image's polarity is judged, ``reading`` whether a large image is read in full or first
    reduced, to several times the size that is needed, ``crop`` whether it is cropped to its content first. Files of
    earlier versions have none of them: the defaults are what those did.
    """

    image_size: int
    channels: int
    polarity: Polarity
    normalize: Normalize = "none"
    polarity_rule: PolarityRule = "border"
    reading: ReadingOf = "full"
    crop: CropTo = "none"

    def __post_init__(self) -> None:
        if type(self.image_size) is not int or not 1 <= self.image_size <= _MAX_SIDE:
            raise ValueError(f"image_size must be a whole number from 1 to {_MAX_SIDE}, got {self.image_size!r}")
        if self.channels not in (1, 3):
            raise ValueError(f"channels must be 1 or 3, got {self.channels!r}")
        words = {"polarity": Polarity, "normalize": Normalize, "polarity_rule": PolarityRule}
        for name, kind in (words | {"reading": ReadingOf, "crop": CropTo}).items():
            if (word := getattr(self, name)) not in get_args(kind):
                raise ValueError(f"{name} must be one of {get_args(kind)}, got {word!r}")


@dataclass(frozen=True)
class ImageOptions:
    """How the images of a data set are read.

    They keep their own size and channels (image files: 28 pixels, or, with ``crop="auto"``, what they show; grey)
    unless ``image_size`` or ``channels`` are given, or the whole ``preprocessing`` of a trained network. Files that
    cannot be read are skipped, unless they are several and more than a twentieth of a class; with ``on_error="stop"``
    the first one is an error.
    """

    image_size: int | None = None
    channels: int | None = None
    preprocessing: Preprocessing | None = None
    invert: Invert = "no"
    on_error: OnError = "skip"
    crop: Crop = "off"


def prepare(
    source: ImageSource, preprocessing: Preprocessing, invert: Invert = "auto", remarks: list[str] | None = None
) -> tuple[NDArray[np.uint8], bool]:
    """Return the network's input for an image, uint8 (channels, side, side), and whether it was inverted.

    The image is rotated according to its EXIF data, laid on a background where it is transparent, made grey or RGB,
    cropped to its content if ``preprocessing`` says so, padded to a square with its own background and resized with
    antialiasing. ``invert="auto"`` inverts it if its polarity is the opposite of ``preprocessing.polarity``.
    ``Classifier.predict`` lists the arrays and tensors it may be. ``remarks`` receives what deserves one about a file,
    such as that it has several frames.

    Raises ``ImageError`` (without the path) for an unreadable image, or one of over 64 million pixels (32 million in
    AVIF and WebP, 24 million in JPEG 2000).
    """
    side = None
    if preprocessing.reading == "reduced":
        side = preprocessing.image_size * (_REDUCED if preprocessing.crop == "none" else _REDUCED_TO_CROP)
    with image_errors():
        return _prepared(_flat(source, side, remarks), preprocessing, invert)


@dataclass(frozen=True)
class Read:
    """A network's input ``pixels``, uint8 (channels, side, side), whether they were ``inverted``, and ``remarks``."""

    pixels: NDArray[np.uint8]
    inverted: bool
    remarks: tuple[str, ...]


def read_image(source: ImageSource, preprocessing: Preprocessing, invert: Invert) -> Read:
    """Return what ``prepare`` returns, and remarks; raises what it raises."""
    remarks: list[str] = []
    pixels, inverted = prepare(source, preprocessing, invert, remarks)
    return Read(pixels, inverted, tuple(remarks))


def _prepared(image: Image.Image, preprocessing: Preprocessing, invert: Invert) -> tuple[NDArray[np.uint8], bool]:
    mode = "L" if preprocessing.channels == 1 else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    original = image
    if invert == "auto":
        inverted = preprocessing.polarity != "mixed" and polarity_of(
            _pixels_of(original), preprocessing.polarity_rule
        ) not in (preprocessing.polarity, "mixed")
    else:
        inverted = invert == "yes"
    if preprocessing.crop == "content":
        image = image.crop(cropped_to(_pixels_of(image)))
    side = preprocessing.image_size
    scale = side / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    if image.size != size:
        gap = _REDUCED if preprocessing.reading == "reduced" else None
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=gap)
    if size != (side, side):
        background = tuple(int(value) for value in np.median(ring_of(_pixels_of(original)), axis=0))
        canvas = Image.new(image.mode, (side, side), background)
        canvas.paste(image, ((side - size[0]) // 2, (side - size[1]) // 2))
        image = canvas
    result = _pixels_of(image).transpose(2, 0, 1)
    return (255 - result if inverted else result).copy(), inverted


def _pixels_of(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image).reshape(image.height, image.width, -1)


def flat_image(source: ImageSource, side: int | None = None, remarks: list[str] | None = None) -> Image.Image:
    """Return an image as 8-bit ``L`` or ``RGB``, the right way up; raises what ``prepare`` raises.

    It has its own size, or, where that is faster, at least twice ``side`` pixels along the longer side. ``remarks``
    receives what deserves one.
    """
    with image_errors():
        return _flat(source, side and _REDUCED * side, remarks)


def _flat(source: ImageSource, side: int | None, remarks: list[str] | None) -> Image.Image:
    """Return ``source``, if it is a file, at no less than ``side`` pixels, as its decoder gives it fastest."""
    if isinstance(source, str | os.PathLike):
        source = open_image(source, side, [] if remarks is None else remarks)
    elif not isinstance(source, Image.Image):
        source = _from_array(source)
    return _flatten(source)


def as_image(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return uint8 (height, width, 1 or 3) as an image."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def _from_array(values: "NDArray[Any] | Tensor") -> Image.Image:
    shown = f"{tuple(values.shape)} of {values.dtype}"
    if not isinstance(values, np.ndarray):
        values = values.detach().cpu().numpy()
        values = np.moveaxis(values, 0, -1) if values.ndim == 3 else values
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[-1] not in (1, 3, 4)) or not values.size:
        raise ImageError(
            f"is {shown}, not an image: arrays are (height, width[, channels]), tensors ([channels,] height, width), "
            "with 1, 3 or 4 channels"
        )
    if math.prod(values.shape[:2]) > MAX_PIXELS:
        raise too_large(f"{values.shape[1]}×{values.shape[0]}")
    if np.issubdtype(values.dtype, np.floating):
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise ImageError("has float values outside 0 to 1")
        values = np.rint(values * 255).astype(np.uint8)
    elif values.dtype == np.bool_:
        values = values.astype(np.uint8) * 255
    elif values.dtype != np.uint8:
        raise ImageError(f"is {shown}; give uint8 from 0 to 255 or floats from 0 to 1")
    return Image.fromarray(
        np.ascontiguousarray(values[..., 0] if values.ndim == 3 and values.shape[-1] == 1 else values)
    )


def _flatten(image: Image.Image) -> Image.Image:
    """Return the image as 8-bit ``L`` or ``RGB``, transparency laid on black or white, whichever shows it."""
    if image.mode.startswith("I") or image.mode == "F":
        return _from_deep(image)
    if image.mode == "La":  # which Pillow converts to nothing else
        image = image.convert("LA")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa"):
        return _on_background(image if image.mode == "RGBA" else image.convert("RGBA"))
    return image if image.mode in ("L", "RGB") else image.convert("L" if image.mode == "1" else "RGB")


def _on_background(image: Image.Image) -> Image.Image:
    """Return an ``RGBA`` image as ``RGB``, on black or white."""
    # A reduced copy is enough, and saves memory on large images.
    small = image.reduce(max(1, min(image.size) // _ENOUGH_TO_JUDGE))
    alpha = np.asarray(small.getchannel("A"), dtype=np.float64)
    grey = np.asarray(small.convert("RGB").convert("L"), dtype=np.float64)
    visible = alpha.sum()
    is_dark = visible == 0 or (grey * alpha).sum() / visible < 128
    result = Image.new("RGB", image.size)
    for box in _strips(image.size):
        strip = image.crop(box)
        canvas = Image.new("RGBA", strip.size, "white" if is_dark else "black")
        result.paste(Image.alpha_composite(canvas, strip).convert("RGB"), box)
    return result


def _from_deep(image: Image.Image) -> Image.Image:
    """Return an image of 16-bit, 32-bit or float grey values as 8-bit grey."""
    largest = 0.0
    most, values_outside = _OF_32_BITS.get(image.mode, (0, ""))
    for box in _strips(image.size) if most else ():
        values = np.asarray(image.crop(box))
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= most):
            raise ImageError(f"has {values_outside}")
        largest = max(largest, float(values.max()))
    result = Image.new("L", image.size)
    for box in _strips(image.size):
        deep = np.asarray(image.crop(box), dtype=np.float64)
        if image.mode == "F":
            grey = deep * (255 if largest <= 1 else 1)
        else:  # Pillow opens 16-bit grey as I;16 or, from some formats, as 32-bit I, which may hold 8-bit values, too
            grey = deep if image.mode == "I" and largest <= 255 else deep / 257
        result.paste(Image.fromarray(np.rint(grey).astype(np.uint8)), box)
    return result


def _strips(size: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
    """Return the boxes, for ``crop`` and ``paste``, of strips that together are an image of ``size``."""
    width, height = size
    rows = max(1, _STRIP // width)
    return ((0, top, width, min(top + rows, height)) for top in range(0, height, rows))
