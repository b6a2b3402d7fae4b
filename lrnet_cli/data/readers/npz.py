"""NPZ files in MedMNIST's form: ``train_images``, ``train_labels``, the same for ``test`` and perhaps for ``val``.

An array ``class_names`` of texts may name the classes.
"""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrnet_cli.data.readers.raw import RawDataset, RawSplit, check_range, checked, numbered
from lrnet_cli.errors import DataError


def reads(path: Path) -> bool:
    """Return whether ``path`` is named like an NPZ file."""
    return path.suffix.lower() == ".npz"


def read(path: Path) -> RawDataset:
    """Read an NPZ file; raises ``DataError`` naming the file and what is wrong with it."""
    arrays = _arrays_of(path)
    train, val, test = (_split(path, arrays, name) for name in ("train", "val", "test"))
    assert train is not None
    classes = _named(path, arrays) or numbered(train.labels, f"{path}: train_labels")
    for name, part in (("train", train), ("val", val), ("test", test)):
        if part is not None:
            check_range(part.labels, len(classes), f"{path}: {name}_labels")
    return RawDataset(classes, train, val, test)


def _named(path: Path, arrays: dict[str, NDArray[Any]]) -> tuple[str, ...] | None:
    """Return the class names of an array ``class_names``, if there is one."""
    names = arrays.get("class_names")
    if names is None:
        return None
    if names.ndim != 1 or names.dtype.kind != "U" or len(set(names.tolist())) != len(names):
        raise DataError(f"{path}: class_names must hold distinct texts, one for each class.")
    return tuple(names.tolist())


def _arrays_of(path: Path) -> dict[str, NDArray[Any]]:
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path}: is not an NPZ file, or a damaged one.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except ValueError as error:
        if "pickle" in str(error):
            raise DataError(
                f"{path}: holds pickled objects, which can run code; save plain uint8 arrays with numpy.savez."
            ) from error
        raise DataError(f"{path}: is damaged: {error}.") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError) as error:
        raise DataError(f"{path}: is damaged: {error}.") from error


def _split(path: Path, arrays: dict[str, NDArray[Any]], name: str) -> RawSplit | None:
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
            f"{where}_labels: expected one whole number per picture, shape (N,) or (N, 1), "
            f"got {labels.dtype} {labels.shape}."
        )
    if len(images) != len(labels):
        raise DataError(f"{where}: {len(images)} pictures, but {len(labels)} labels.")
    return checked(images, labels.astype(np.int64), where)
