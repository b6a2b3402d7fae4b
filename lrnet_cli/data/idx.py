"""IDX, the format of MNIST's files: magic number, sizes as big-endian 32-bit integers, then the bytes."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lrnet_cli.errors import DataError

_UNSIGNED_BYTE = 8


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
            f"{path}: the header promises {' × '.join(map(str, shape))} bytes, but {len(content) - header} follow."
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
