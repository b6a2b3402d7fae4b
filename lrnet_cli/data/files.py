"""Opening image files: which there are, and how they are decoded within bounds."""

import math
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError, features

from lrnet_cli.data import reader
from lrnet_cli.errors import ImageError

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
    # Pillow may have been built without these.
    | ({".j2k", ".jp2"} if features.check("jpg_2000") else set())
    | ({".avif"} if features.check("avif") else set())
)
# Those of the suffixes: others, whatever a file is called, would start decoders that nobody asked for.
_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "PPM", "JPEG2000", "AVIF")
_SMALL_FILE = 1_000_000  # bytes, which are read in one piece: decoders ask for a few at a time
_MOST_TILES = 100_000  # parts of a TIFF file, each of which is decoded by itself
_SCAN, _MOST_SCANS = b"\xff\xda", 200  # of a progressive JPEG, each of which is decoded over all pixels
MAX_PIXELS = 64_000_000
# Whose decoders hold several copies, or take ten times as long.
_MAX_PIXELS_OF = {"AVIF": 32_000_000, "JPEG2000": 24_000_000, "WEBP": 32_000_000}
_LARGE = 4_000_000  # pixels; of larger ones only one is in memory at a time

# Pillow only warns of images between one and two times its own limit; as an error, the handler below covers both.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


def longer_side(path: Path) -> int:
    """Return the longer side of an image file in pixels; 0 if it cannot be told."""
    try:
        with Image.open(path, formats=_FORMATS) as image:
            return max(image.size)
    except Exception:  # whatever a decoder raises; the image itself has been read
        return 0


@contextmanager
def image_errors() -> Iterator[None]:
    """Raise as ``ImageError`` whatever Pillow and its decoders raise inside for an image that cannot be read."""
    try:
        yield
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError("is not an image in a format that Pillow reads") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise too_large("more") from error
    except OSError as error:
        raise ImageError(error.strerror or str(error)) from error
    except Exception as error:  # Pillow raises anything for damaged files
        raise ImageError(f"is damaged: {str(error) or type(error).__name__}") from error


def open_image(path: str | os.PathLike[str], side: int | None, remarks: list[str]) -> Image.Image:
    """Open and decode an image file.

    Where the format can, it is decoded reduced, its longer side to no less than ``side`` pixels. ``remarks`` receives
    what deserves one. To be called inside ``image_errors``.
    """
    # Not with Path, which would take a third of the time that a small image does.
    status = os.stat(path)  # noqa: PTH116
    if not stat.S_ISREG(status.st_mode):  # a pipe or device could hang
        raise ImageError("is a folder, pipe or device, not an image file")
    if status.st_size == 0:
        raise ImageError("is empty")
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123
        source = BytesIO(file.read()) if status.st_size <= _SMALL_FILE else path
    with Image.open(source, formats=_FORMATS) as image:
        limit = _MAX_PIXELS_OF.get(image.format or "", MAX_PIXELS)
        if math.prod(image.size) > limit:
            raise too_large(f"{image.width}×{image.height}", limit)
        if len(image.tile) > _MOST_TILES:
            raise ImageError(f"is a TIFF file of more than {_MOST_TILES} parts, which would take too long")
        if side is not None:
            least = side / max(image.size)  # of either side, as a share
            image.draft(None, (max(1, int(image.width * least)), max(1, int(image.height * least))))
        if math.prod(image.size) > _LARGE and not reader.reads_large:
            raise reader.LargeImageError("waits for its turn")
        if "progressive" in image.info and _count_in(source, _SCAN) > _MOST_SCANS:
            raise ImageError(f"is a JPEG file of more than {_MOST_SCANS} scans, which would take too long")
        # In-place rotation needs a loaded image; loading also detects a truncated file.
        image.load()
        # Cameras put a preview or a depth map behind a photo; that is no second page.
        if getattr(image, "is_animated", False) and image.format != "MPO":  # counting them would take long
            remarks.append("has several frames or pages, of which only the first is read")
        ImageOps.exif_transpose(image, in_place=True)
        return image


def _count_in(source: BytesIO | str | os.PathLike[str], piece: bytes) -> int:
    return (source.getvalue() if isinstance(source, BytesIO) else Path(source).read_bytes()).count(piece)


def too_large(size: str, limit: int = MAX_PIXELS) -> ImageError:
    """Return the error for an image of ``size``."""
    return ImageError(f"is too large ({size} pixels; the limit is {limit // 1_000_000} million pixels)")
