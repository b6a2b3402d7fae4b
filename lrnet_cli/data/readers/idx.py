"""IDX, the format of MNIST's files: magic number, sizes as big-endian 32-bit integers, then the bytes."""

import gzip
import math
import re
import struct
import zlib
from io import BufferedIOBase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lrnet_cli.data.readers.raw import (
    RawDataset,
    RawSplit,
    check_range,
    checked,
    numbered,
    refuse_excess,
)
from lrnet_cli.documents import open_regular
from lrnet_cli.errors import DataError

_UNSIGNED_BYTE = 8
_MOST_UNPACKED = 1100  # bytes from one: gzip makes at most 1,032


def reads(path: Path) -> bool:
    """Return whether ``path`` is a folder that holds IDX files."""
    return path.is_dir() and any(re.search(r"[-.]idx[13]-ubyte(\.gz)?$", entry.name) for entry in path.iterdir())


def read(folder: Path, classes: tuple[str, ...] | None = None) -> RawDataset:
    """Read MNIST's four IDX files, gzip or not, from ``folder``; ``classes`` are ``0``, ``1``, … if not given."""

    def split(prefixes: tuple[str, ...]) -> RawSplit:
        images_path = _find_idx(folder, prefixes, "images", 3)
        labels_path = _find_idx(folder, prefixes, "labels", 1)
        labels = read_idx(labels_path, 1)
        images = read_idx(images_path, 3, len(labels), f"but {labels_path} {len(labels)} labels")
        return checked(images[..., None], labels.astype(np.int64), str(images_path))

    train, test = split(("train",)), split(("t10k", "test"))
    named = classes or numbered(train.labels, f"{folder}: train labels")
    check_range(train.labels, len(named), f"{folder}: train labels")
    check_range(test.labels, len(named), f"{folder}: test labels")
    return RawDataset(named, train, None, test)


def read_idx(path: Path, dimensions: int, count: int | None = None, contrast: str = "") -> NDArray[np.uint8]:
    """Return the bytes of an IDX file, gzip or not, as an array of ``dimensions`` axes, the first of ``count``.

    No memory is taken before it is known to be enough. Raises ``DataError`` naming the file and what is wrong with it;
    ``contrast`` says what ``count`` comes from.
    """
    try:
        with open_regular(path) as source:
            compressed = source.read(2) == b"\x1f\x8b"
        with open_regular(path) as file, gzip.open(file) if compressed else file as source:
            shape = _read_shape(path, source, dimensions)
            if count not in (None, shape[0]):
                raise DataError(f"{path}: holds {shape[0]} images, {contrast}.")
            announced = f"{path}: the header announces {' × '.join(map(str, shape))} bytes, but"
            if math.prod(shape) > path.stat().st_size * (_MOST_UNPACKED if compressed else 1):
                raise DataError(f"{announced} the file is too short for that.")
            refuse_excess(math.prod(shape), str(path))
            content = np.empty(math.prod(shape), np.uint8)
            follow = _fill(content, source)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: the gzip file is truncated or damaged ({error}).") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}.") from error
    if follow != len(content):
        raise DataError(f"{announced} {follow if follow < len(content) else 'more'} follow.")
    return content.reshape(shape)


def _read_shape(path: Path, source: BufferedIOBase, dimensions: int) -> tuple[int, ...]:
    size = 4 + 4 * dimensions
    header = source.read(size)
    if len(header) < size:
        raise DataError(f"{path}: {len(header)} bytes are too few for the {size}-byte header of this IDX file.")
    if header[:4] != bytes([0, 0, _UNSIGNED_BYTE, dimensions]):
        raise DataError(
            f"{path}: the IDX magic number is 0x{header[:4].hex()}, expected "
            f"0x0000{_UNSIGNED_BYTE:02x}{dimensions:02x} (unsigned bytes, {dimensions} axes)."
        )
    return struct.unpack_from(f">{dimensions}I", header, 4)


def _fill(content: NDArray[np.uint8], source: BufferedIOBase) -> int:
    """Read the rest of ``source`` into ``content``; return its length, or one more than fits."""
    view, filled = content.data, 0
    while filled < len(content) and (count := source.readinto(view[filled:])):
        filled += count
    return filled + len(source.read(1))


def _find_idx(folder: Path, prefixes: tuple[str, ...], kind: str, dimensions: int) -> Path:
    for prefix in prefixes:
        for separator in "-.":
            for suffix in ("", ".gz"):
                path = folder / f"{prefix}-{kind}{separator}idx{dimensions}-ubyte{suffix}"
                if path.exists():
                    return path
    raise DataError(f"{folder}: {prefixes[0]}-{kind}-idx{dimensions}-ubyte (or the same with .gz) is missing.")
