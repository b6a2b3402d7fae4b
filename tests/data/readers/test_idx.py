import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from lrnet_cli.data.readers.idx import read_idx
from lrnet_cli.errors import DataError


def idx(array: np.ndarray, kind: int = 8) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape) + array.tobytes()


IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_images_come_back_plain_and_compressed(tmp_path: Path, pack: object) -> None:
    path = tmp_path / "file"
    path.write_bytes(pack(idx(IMAGES)))
    assert (read_idx(path, 3) == IMAGES).all()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "too few for the 16-byte header"),
        (b"\0\0\x08\x03\0\0", "too few"),
        (b"<html>" + bytes(30), "magic number is 0x3c68746d"),
        (idx(IMAGES.astype(">f4"), kind=13), "magic number"),
        (idx(IMAGES[0]) + bytes(30), "3 axes"),
        (idx(IMAGES)[:-1], r"announces 2 × 3 × 4 bytes, but 23 follow"),
        (idx(IMAGES) + b"x", "but more follow"),
        (gzip.compress(idx(IMAGES), mtime=0)[:-9], "gzip file is truncated or damaged"),
        (gzip.compress(idx(IMAGES), mtime=0)[:-8] + bytes(8), "gzip file is truncated or damaged"),
        (b"\x1f\x8b" + bytes(30), "gzip file is truncated or damaged"),
    ],
)
def test_damaged_file_is_named_with_the_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "damaged-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"damaged-idx3-ubyte.*{reason}"):
        read_idx(path, 3)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere.*No such file"):
        read_idx(tmp_path / "nowhere", 3)
