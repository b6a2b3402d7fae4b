"""Thumbnails, several hundred to one image, as a page shows them."""

import base64
import io
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image, features

from lrnet_cli.data.ahead import read_ahead
from lrnet_cli.data.images import Preprocessing, as_image, flat_image, prepare
from lrnet_cli.errors import ImageError
from lrnet_cli.settings.words import Invert

PER_SPRITE = 200  # images
_SIDES = ((2_000, 128), (8_000, 96), (20_000, 64))  # of thumbnails in pixels, up to this many on a page
_BUDGET = 27_000_000  # bytes of the thumbnails of a page, before they become text, which takes a third more
_SMALL = 40  # pixels, up to which thumbnails are kept exactly if there is space
_SMALLEST = 16  # pixels, below which thumbnails are not made smaller
_WAYS: tuple[dict[str, int | bool], ...] = (
    {"lossless": True, "method": 2},  # for small thumbnails
    *({"quality": quality} for quality in (82, 70, 55, 40, 25, 10)),
)
_ROOM = 0.6  # of the bytes for a sprite, below which the next one is tried in a better quality


@dataclass(frozen=True)
class Shot:
    """An image as it is shown, at most as large as a thumbnail, and as the network saw it if that is known."""

    image: Image.Image
    seen: Image.Image | None


@dataclass(frozen=True)
class Source:
    """A file to be shown, and whether the network saw it with light and dark swapped."""

    path: Path
    invert: Invert

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class Sheet:
    """How the thumbnails of a page are made: their longest side, the bytes for one, what the network does."""

    side: int
    bytes_each: int
    preprocessing: Preprocessing | None

    @classmethod
    def of(cls, count: int, preprocessing: Preprocessing | None) -> "Sheet":
        """Return the sheet for a page of ``count`` images."""
        side = next((side for most, side in _SIDES if count <= most), _SIDES[-1][1])
        return cls(side, _BUDGET // max(1, count) // (1 if preprocessing is None else 2), preprocessing)


def shots(sources: Iterable[Source], sheet: Sheet) -> Iterator[Shot | ImageError]:
    """Yield each source as it is shown, or why it cannot be read, in order."""
    read = partial(_shot, sheet=sheet)
    return (outcome for _, outcome in read_ahead(sources, read, is_file=lambda _: True))


def _shot(source: Source, sheet: Sheet) -> Shot:
    image = flat_image(source.path, sheet.side)
    seen = None
    if sheet.preprocessing is not None:
        seen = as_image(prepare(source.path, sheet.preprocessing, source.invert)[0].transpose(1, 2, 0))
    image.thumbnail((sheet.side, sheet.side), Image.Resampling.LANCZOS)
    return Shot(image, seen)


class Sprites:
    """Images, added one by one, in sprites of ``PER_SPRITE``, of which the last may have fewer.

    A sprite of n images has ⌈√n⌉ columns of squares, in each of which an image is centred.
    """

    def __init__(self, sheet: Sheet) -> None:
        self._sheet, self._waiting, self._made = sheet, list[Image.Image](), list[str]()
        self._way = 0  # of _WAYS, with which the sprite before had the right size

    def add(self, image: Image.Image) -> None:
        """Put ``image`` behind the others."""
        self._waiting.append(image)
        if len(self._waiting) == PER_SPRITE:
            self._make()

    def finished(self) -> list[str]:
        """Return all sprites as data URIs."""
        if self._waiting:
            self._make()
        return self._made

    def _make(self) -> None:
        images, self._waiting = self._waiting, []
        columns = math.ceil(math.sqrt(len(images)))
        side = max(max(image.size) for image in images)
        mode = "L" if all(image.mode == "L" for image in images) else "RGB"
        if any(image.size != (side, side) for image in images):
            mode = "RGBA"  # nothing beside them
        canvas = Image.new(mode, (columns * side, math.ceil(len(images) / columns) * side))
        for number, image in enumerate(images):
            left, top = number % columns * side, number // columns * side
            canvas.paste(image, (left + (side - image.width) // 2, top + (side - image.height) // 2))
        self._made.append(self._encoded(canvas, side, len(images) * self._sheet.bytes_each))

    def _encoded(self, canvas: Image.Image, side: int, most: int) -> str:
        """Return ``canvas``, of squares of ``side`` pixels, as a data URI, of at most ``most`` bytes where possible."""
        if not features.check("webp"):
            stored = io.BytesIO()
            canvas.save(stored, "PNG", optimize=True)
            return data_uri("png", stored)
        self._way = max(self._way, 0 if side <= _SMALL else 1)
        while True:
            stored = io.BytesIO()
            canvas.save(stored, "WEBP", **_WAYS[self._way])
            if stored.tell() <= most or self._way == len(_WAYS) - 1:
                break
            self._way += 1
        if stored.tell() > most and side > _SMALLEST:
            half = side // 2
            return self._encoded(canvas.resize((canvas.width // side * half, canvas.height // side * half)), half, most)
        if stored.tell() < _ROOM * most and self._way > 0:
            self._way -= 1
        return data_uri("webp", stored)


def data_uri(kind: str, stored: io.BytesIO) -> str:
    """Return an image of a ``kind`` such as png as the address of what a page shows."""
    return f"data:image/{kind};base64," + base64.b64encode(stored.getvalue()).decode("ascii")
