"""IDX, the format of MNIST's files: magic number, sizes as big-endian 32-bit integers, then the bytes."""

import gzip
import math
import re
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lrnet_cli.data.readers.raw import RawDataset, RawSplit, check_range, checked, numbered
from lrnet_cli.errors import DataError

_UNSIGNED_BYTE = 8


def reads(path: Path) -> bool:
    """Return whether ``path`` is a folder that holds IDX files."""
    return path.is_dir() and any(re.search(r"[-.]idx[13]-ubyte(\.gz)?$", entry.name) for entry in path.iterdir())


def read(folder: Path, classes: tuple[str, ...] | None = None) -> RawDataset:
    """Read MNIST's four IDX files, gzip or not, from ``folder``; ``classes`` are ``0``, ``1``, … if not given."""

    def split(prefixes: tuple[str, ...]) -> RawSplit:
        images_path = _find_idx(folder, prefixes, "images", 3)
        labels_path = _find_idx(folder, prefixes, "labels", 1)
        images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
        if len(images) != len(labels):
            raise DataError(f"{images_path}: holds {len(images)} pictures, but {labels_path} {len(labels)} labels.")
        return checked(images[..., None], labels.astype(np.int64), str(images_path))

    train, test = split(("train",)), split(("t10k", "test"))
    named = classes or numbered(train.labels, f"{folder}: train labels")
    check_range(train.labels, len(named), f"{folder}: train labels")
    check_range(test.labels, len(named), f"{folder}: test labels")
    return RawDataset(named, train, None, test)


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Return the bytes of an IDX file, gzip or not, as an array of ``dimensions`` axes.

    Raises ``DataError`` naming the file and what is wrong with it.
    """
    try:
        with path.open("rb") as source:
            compressed = source.read(2) == b"\x1f\x8b"
        with gzip.open(path) if compressed else path.open("rb") as source:
            content = source.read()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: the gzip file is truncated or damaged ({error}).") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}.") from error
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise DataError(f"{path}: {len(content)} bytes are too few for the {header}-byte header of this IDX file.")
    zero, kind, axes = struct.unpack_from(">HBB", content)
    if (zero, kind, axes) != (0, _UNSIGNED_BYTE, dimensions):
        raise DataError(
            f"{path}: the IDX magic number is 0x{content[:4].hex()}, expected "
            f"0x0000{_UNSIGNED_BYTE:02x}{dimensions:02x} (unsigned bytes, {dimensions} axes)."
        )
    shape = struct.unpack_from(f">{dimensions}I", content, 4)
    if math.prod(shape) != len(content) - header:
        raise DataError(
            f"{path}: the header announces {' × '.join(map(str, shape))} bytes, but {len(content) - header} follow."
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _find_idx(folder: Path, prefixes: tuple[str, ...], kind: str, dimensions: int) -> Path:
    for prefix in prefixes:
        for separator in "-.":
            for suffix in ("", ".gz"):
                path = folder / f"{prefix}-{kind}{separator}idx{dimensions}-ubyte{suffix}"
                if path.exists():
                    return path
    raise DataError(f"{folder}: {prefixes[0]}-{kind}-idx{dimensions}-ubyte (or the same with .gz) is missing.")
