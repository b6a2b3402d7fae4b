"""Choosing the reader for a path."""

from collections.abc import Callable
from pathlib import Path

from lrnet_cli.data.readers import class_folders, idx, manifest, npz, pixel_table
from lrnet_cli.data.readers.raw import RawDataset
from lrnet_cli.errors import DataError

# Pairs of (whether it reads a path, reader); the first match is used.
_READERS: tuple[tuple[Callable[[Path], bool], Callable[[Path], RawDataset]], ...] = (
    (idx.reads, idx.read),
    (manifest.reads, manifest.read),
    (class_folders.reads, class_folders.read),
    (npz.reads, npz.read),
    (pixel_table.reads, pixel_table.read),
)


def read_raw(path: Path) -> RawDataset:
    """Read the data set at ``path``: a folder of IDX files or of class folders, a list of files, or a file of images.

    Raises ``DataError`` naming the file and what is wrong with it.
    """
    try:
        if not path.exists():
            raise DataError(f"{path}: there is no such file or folder.")
        if not path.is_dir() and not path.is_file():
            raise DataError(f"{path}: is a pipe or device, not a file or folder.")
        for reads, read in _READERS:
            if reads(path):
                return read(path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}.") from error
    raise DataError(
        f"{path}: is not a data set; give a folder of class folders or IDX files, a list of files (.csv, .jsonl, "
        ".parquet), an .npz, or a .csv of pixels."
    )
