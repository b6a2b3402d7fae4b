"""Looking at one image of a data set; apart from ``check``, so that a process that only looks starts quickly."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lrnet_cli.data.images import flat_image
from lrnet_cli.data.polarity import polarity_of
from lrnet_cli.data.readers.raw import SplitName

_HASH_SIDE = 12  # bits of a perceptual hash, along a side


@dataclass
class Seen:
    """One image, as far as it matters here."""

    name: str
    label: str
    split: SplitName
    digest: bytes
    bits: NDArray[np.bool_]
    sides: tuple[int, int]
    is_colour: bool
    polarity: str
    contrast: float
    has_pages: bool


@dataclass
class Source:
    """An image to look at."""

    image: Path | NDArray[np.uint8]
    name: str
    label: str
    split: SplitName

    def __str__(self) -> str:
        return self.name


def look(source: Source) -> Seen:
    """Return what matters of an image; raises ``ImageError`` if it cannot be read."""
    remarks = list[str]()
    image = flat_image(source.image, remarks=remarks)
    pixels = np.asarray(image).reshape(image.height, image.width, -1)
    grey = np.asarray(image.convert("L"))
    is_colour = pixels.shape[2] == 3 and bool((np.ptp(pixels, 2) > 8).any())
    return Seen(
        name=source.name,
        label=source.label,
        split=source.split,
        digest=hashlib.blake2b(pixels.tobytes() + str(pixels.shape).encode(), digest_size=16).digest(),
        bits=_perceptual_hash(image),
        sides=image.size,
        is_colour=is_colour,
        polarity=polarity_of(pixels, "plane"),
        contrast=float(np.percentile(grey, 99) - np.percentile(grey, 1)) / 255,
        has_pages=bool(remarks),
    )


def _perceptual_hash(image: Image.Image) -> NDArray[np.bool_]:
    """Return bits (144,) that near copies share: which of the lowest frequencies of the image are above their median.

    pHash, by the discrete cosine transform (DCT-II); Zauner 2010, section 3.2.1.
    """
    side = 4 * _HASH_SIDE
    grey = np.asarray(image.convert("L").resize((side, side), Image.Resampling.LANCZOS), np.float64)
    waves = np.cos(np.pi / side * np.outer(np.arange(_HASH_SIDE), np.arange(side) + 0.5))
    low = (waves @ grey @ waves.T).round(6)  # an image of one value has no other frequencies
    return (low > np.median(low)).flatten()
