"""CSV files in Kaggle's form: a header with ``label`` and one column per pixel, then one image per line."""

import csv
from itertools import chain
from pathlib import Path

import numpy as np

from lrnet_cli.data.files import IMAGE_SUFFIXES
from lrnet_cli.data.readers.raw import RawDataset, check_range, checked, numbered, refuse_excess
from lrnet_cli.documents import lines_of
from lrnet_cli.errors import DataError

_BYTES_A_CHARACTER = 2  # of a table of numbers in memory, at least


def reads(path: Path) -> bool:
    """Return whether ``path`` is named like a CSV file."""
    return path.suffix.lower() == ".csv"


def read(path: Path) -> RawDataset:
    """Read a table of pixels, row by row; raises ``DataError`` naming the file and what is wrong with it."""
    try:
        lines = lines_of(path)
        header = next(csv.reader(lines), [])
        if "label" not in header:
            separator = "; write commas instead of semicolons" if ";" in "".join(header) else ""
            raise DataError(f"{path}: the first line has no column named label{separator}.")
        line = next(lines, "")
        if not line.strip():
            raise DataError(f"{path}: holds no images.")
        if any(Path(cell).suffix.lower() in IMAGE_SUFFIXES for cell in next(csv.reader([line]))):
            raise DataError(f"{path}: a list of files needs the column file_name, and has: {', '.join(header[:6])}.")
        pixels = len(header) - 1
        side = round(pixels**0.5)
        if pixels < 1 or side * side != pixels:
            raise DataError(f"{path}: {pixels} pixel columns do not make a square image.")
        refuse_excess(_BYTES_A_CHARACTER * path.stat().st_size, str(path))
        table = np.loadtxt(chain([line], lines), delimiter=",", dtype=np.int64, ndmin=2)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text ({error.reason}).") from error
    except csv.Error as error:
        raise DataError(f"{path}: the first line cannot be read: {error}.") from error
    except ValueError as error:
        raise DataError(f"{path}: {error} (rows counted from the first image).") from error
    if table.shape[1] != len(header):
        raise DataError(f"{path}: the lines have {table.shape[1]} columns, but the header {len(header)}.")
    column = header.index("label")
    values = np.delete(table, column, axis=1)
    if values.min() < 0 or values.max() > 255:
        row = int(np.flatnonzero((values < 0).any(1) | (values > 255).any(1))[0])
        raise DataError(f"{path}: image {row + 1} has pixel values outside 0 to 255.")
    train = checked(values.astype(np.uint8).reshape(-1, side, side, 1), table[:, column], str(path))
    classes = numbered(train.labels, f"{path}: label")
    check_range(train.labels, len(classes), f"{path}: label")
    return RawDataset(classes, train, None, None)
