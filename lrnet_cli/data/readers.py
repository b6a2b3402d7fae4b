"""Data sets as users have them (class folders, IDX folders, NPZ and CSV files), read to pictures and labels."""

import csv
import re
import zipfile
import zlib
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lrnet_cli.data.idx import read_idx
from lrnet_cli.data.images import IMAGE_SUFFIXES
from lrnet_cli.errors import DataError

Labels = NDArray[np.int64]
_MOST_CLASSES = 65_536  # a larger label is damage, and would ask for a class layer beyond any memory


@dataclass(frozen=True)
class RawSplit:
    """Pictures with their labels: uint8 (N, height, width, channels), or for class folders N paths; labels (N,)."""

    pictures: NDArray[np.uint8] | list[Path]
    labels: Labels


@dataclass(frozen=True)
class RawDataset:
    """The splits of a data set before preprocessing; ``val`` and ``test`` only if the source has them."""

    classes: tuple[str, ...]
    train: RawSplit
    val: RawSplit | None
    test: RawSplit | None


def read_raw(path: Path) -> RawDataset:
    """Read the data set at ``path``: an ``.npz`` or ``.csv`` file, a folder of IDX files, or one of class folders.

    Raises ``DataError`` naming the file and what is wrong with it.
    """
    try:
        if path.is_dir():
            is_idx = any(re.search(r"[-.]idx[13]-ubyte(\.gz)?$", entry.name) for entry in path.iterdir())
            return read_idx_folder(path) if is_idx else _read_class_folders(path)
        if not path.exists():
            raise DataError(f"{path}: there is no such file or folder.")
        if not path.is_file():
            raise DataError(f"{path}: is a pipe or device, not a file or folder.")
        if path.suffix.lower() == ".npz":
            return _read_npz(path)
        if path.suffix.lower() == ".csv":
            return _read_csv(path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}.") from error
    raise DataError(f"{path}: is no data set; give a folder of class folders or IDX files, an .npz or a .csv file.")


def read_idx_folder(folder: Path, classes: tuple[str, ...] | None = None) -> RawDataset:
    """Read MNIST's four IDX files, gzip or not, from ``folder``; ``classes`` are ``0``, ``1``, … if not given."""

    def split(prefixes: tuple[str, ...]) -> RawSplit:
        images_path = _find_idx(folder, prefixes, "images", 3)
        labels_path = _find_idx(folder, prefixes, "labels", 1)
        images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
        if len(images) != len(labels):
            raise DataError(f"{images_path}: holds {len(images)} pictures, but {labels_path} {len(labels)} labels.")
        return _checked(images[..., None], labels.astype(np.int64), str(images_path))

    train, test = split(("train",)), split(("t10k", "test"))
    named = classes or _numbered(train.labels, f"{folder}: train labels")
    _check_range(train.labels, len(named), f"{folder}: train labels")
    _check_range(test.labels, len(named), f"{folder}: test labels")
    return RawDataset(named, train, None, test)


def _find_idx(folder: Path, prefixes: tuple[str, ...], kind: str, dimensions: int) -> Path:
    for prefix in prefixes:
        for separator in "-.":
            for suffix in ("", ".gz"):
                path = folder / f"{prefix}-{kind}{separator}idx{dimensions}-ubyte{suffix}"
                if path.exists():
                    return path
    raise DataError(f"{folder}: {prefixes[0]}-{kind}-idx{dimensions}-ubyte (or the same with .gz) is missing.")


def _read_npz(path: Path) -> RawDataset:
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path}: is no NPZ file, or a damaged one.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except ValueError as error:
        if "pickle" in str(error):
            raise DataError(
                f"{path}: holds pickled objects, which can run code; save plain uint8 arrays with numpy.savez."
            ) from error
        raise DataError(f"{path}: is damaged: {error}.") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError) as error:
        raise DataError(f"{path}: is damaged: {error}.") from error

    def split(name: str) -> RawSplit | None:
        images, labels = arrays.get(f"{name}_images"), arrays.get(f"{name}_labels")
        if images is None and labels is None and name == "val":
            return None
        if images is None or labels is None:
            missing = f"{name}_{'images' if images is None else 'labels'}"
            raise DataError(f"{path}: the array {missing} is missing; there are: {', '.join(arrays) or 'none'}.")
        where = f"{path}: {name}"
        if images.dtype != np.uint8:
            raise DataError(f"{where}_images: the dtype is {images.dtype}, expected uint8 (values 0 to 255).")
        if images.ndim == 3:
            images = images[..., None]
        if images.ndim != 4 or images.shape[3] not in (1, 3):
            raise DataError(
                f"{where}_images: the shape is {images.shape}, expected (N, H, W), (N, H, W, 1) or (N, H, W, 3)."
            )
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
            raise DataError(
                f"{where}_labels: expected one whole number a picture, shape (N,) or (N, 1), "
                f"got {labels.dtype} {labels.shape}."
            )
        if len(images) != len(labels):
            raise DataError(f"{where}: {len(images)} pictures, but {len(labels)} labels.")
        return _checked(images, labels.astype(np.int64), where)

    train, val, test = split("train"), split("val"), split("test")
    assert train is not None
    classes = _numbered(train.labels, f"{path}: train_labels")
    for name, part in (("train", train), ("val", val), ("test", test)):
        if part is not None:
            _check_range(part.labels, len(classes), f"{path}: {name}_labels")
    return RawDataset(classes, train, val, test)


def _read_csv(path: Path) -> RawDataset:
    """Read Kaggle's form: a header with ``label`` and one column a pixel, row by row; then a picture a line."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as source:
            header = next(csv.reader(source), [])
            if "label" not in header:
                raise DataError(f"{path}: the first line has no column named label.")
            pixels = len(header) - 1
            side = round(pixels**0.5)
            if pixels < 1 or side * side != pixels:
                raise DataError(f"{path}: {pixels} pixel columns beside label make no square picture.")
            line = source.readline()
            if not line.strip():
                raise DataError(f"{path}: holds no pictures.")
            table = np.loadtxt(chain([line], source), delimiter=",", dtype=np.int64, ndmin=2)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is no UTF-8 text ({error.reason}).") from error
    except ValueError as error:
        raise DataError(f"{path}: {error} (rows counted from the first picture).") from error
    if table.shape[1] != len(header):
        raise DataError(f"{path}: the lines have {table.shape[1]} columns, but the header {len(header)}.")
    column = header.index("label")
    values = np.delete(table, column, axis=1)
    if values.min() < 0 or values.max() > 255:
        row = int(np.flatnonzero((values < 0).any(1) | (values > 255).any(1))[0])
        raise DataError(f"{path}: picture {row + 1} has pixel values outside 0 to 255.")
    train = _checked(values.astype(np.uint8).reshape(-1, side, side, 1), table[:, column], str(path))
    classes = _numbered(train.labels, f"{path}: label")
    _check_range(train.labels, len(classes), f"{path}: label")
    return RawDataset(classes, train, None, None)


def _read_class_folders(root: Path) -> RawDataset:
    """Read ``root/<class>/**.png`` or ``root/{train,val,test}/<class>/**.png``; the classes are the folders' names."""
    parts = {name: root / name for name in ("train", "val", "test") if (root / name).is_dir()}
    if "train" not in parts:
        parts = {"train": root}
    classes = tuple(sorted({folder.name for part in parts.values() for folder in _folders(part)}))
    if len(classes) < 2:
        raise DataError(f"{root}: expected two or more class folders with pictures, found {len(classes)}.")

    def split(name: str) -> RawSplit | None:
        if name not in parts:
            return None
        found = [
            (path, index)
            for index, label in enumerate(classes)
            for path in sorted((parts[name] / label).rglob("*"))
            if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
        ]
        if not found:
            raise DataError(f"{parts[name]}: holds no pictures ({', '.join(sorted(IMAGE_SUFFIXES))}).")
        return RawSplit([path for path, _ in found], np.array([index for _, index in found], dtype=np.int64))

    train = split("train")
    assert train is not None
    return RawDataset(classes, train, split("val"), split("test"))


def _folders(part: Path) -> list[Path]:
    return [entry for entry in part.iterdir() if entry.is_dir() and not entry.name.startswith(".")]


def _numbered(labels: Labels, where: str) -> tuple[str, ...]:
    highest = int(labels.max())
    if highest >= _MOST_CLASSES:
        raise DataError(f"{where}: the label {highest} is out of range; at most {_MOST_CLASSES} classes are read.")
    return tuple(map(str, range(highest + 1)))


def _checked(images: NDArray[np.uint8], labels: Labels, where: str) -> RawSplit:
    if images.size == 0:
        raise DataError(f"{where}: holds no pictures (shape {images.shape}).")
    return RawSplit(images, labels)


def _check_range(labels: Labels, classes: int, where: str) -> None:
    outside = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(outside):
        raise DataError(
            f"{where}: {len(outside)} labels are out of range; the first is {labels[outside[0]]} of picture "
            f"{outside[0] + 1}, but there are {classes} classes, counted from 0."
        )
    if classes < 2:
        raise DataError(f"{where}: only one class; a classifier needs two.")


def as_image(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return uint8 (height, width, 1 or 3) as a picture."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
