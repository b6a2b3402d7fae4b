import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from lrnet_cli.data.catalog import (
    CATALOG,
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    CatalogEntry,
    CatalogFile,
)


@pytest.fixture
def tiny_files() -> dict[str, bytes]:
    """Give the four IDX files of a data set of 60 noisy images."""
    random = np.random.default_rng(0)

    def idx(array: np.ndarray) -> bytes:
        return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()

    return {
        TRAIN_IMAGES: idx(random.integers(0, 256, (40, 28, 28), dtype=np.uint8)),
        TRAIN_LABELS: idx(np.arange(40, dtype=np.uint8) % 2),
        TEST_IMAGES: idx(random.integers(0, 256, (20, 28, 28), dtype=np.uint8)),
        TEST_LABELS: idx(np.arange(20, dtype=np.uint8) % 2),
    }


@pytest.fixture
def tiny(tiny_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> CatalogEntry:
    """Put a data set called ``tiny`` into the catalog; its training images are known by their git blob id only."""
    files = []
    for name, content in tiny_files.items():
        if name == TRAIN_IMAGES:
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            files.append(CatalogFile(name, len(content), git_blob_sha1=blob))
        else:
            files.append(CatalogFile(name, len(content), sha256=hashlib.sha256(content).hexdigest()))
    entry = CatalogEntry("tiny", "Tiny noise", ("even", "odd"), "CC0", "this test", 40, 20, (), tuple(files))
    monkeypatch.setitem(CATALOG, "tiny", entry)
    return entry


@pytest.fixture
def tiny_folder(tiny_files: dict[str, bytes], tmp_path: Path) -> Path:
    """Give a folder that is a mirror of ``tiny``, compressed."""
    folder = tmp_path / "mirror"
    (folder / "tiny").mkdir(parents=True)
    for name, content in tiny_files.items():
        (folder / "tiny" / f"{name}.gz").write_bytes(gzip.compress(content))
    return folder
