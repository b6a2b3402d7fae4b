"""NPZ files in MedMNIST's form: ``train_images``, ``train_labels``, the same for ``test`` and perhaps for ``val``.

An array ``class_names`` of texts may name the classes.
"""

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrnet_cli.data.readers.raw import RawDataset, RawSplit, check_range, checked, numbered, refuse_excess
from lrnet_cli.errors import DataError

_NEEDED = ("train_images", "train_labels", "test_images", "test_labels")
_USED = (*_NEEDED, "val_images", "val_labels", "class_names")
_NAMED = 12  # arrays in one message


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
    """Return the arrays that are used; no memory is taken before it is known to be enough."""
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path}: is not an NPZ file, or a damaged one.")
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            if lacking := [name for name in _NEEDED if name not in members]:
                there = ", ".join(list(members)[:_NAMED]) or "none"
                raise DataError(f"{path}: the array {lacking[0]} is missing; there are: {there}.")
            used = {name: members[name] for name in _USED if name in members}
            refuse_excess(sum(_size_of(path, archive, name, info) for name, info in used.items()), str(path))
            arrays = {}
            for name, info in used.items():
                with archive.open(info) as member:
                    arrays[name] = np.lib.format.read_array(member, allow_pickle=False)
            return arrays
    except DataError:
        raise
    except Exception as error:  # whatever packers and NumPy raise for damaged files
        raise DataError(f"{path}: is damaged: {str(error) or type(error).__name__}.") from error


def _size_of(path: Path, archive: zipfile.ZipFile, name: str, info: zipfile.ZipInfo) -> int:
    """Return the bytes of an array as its header has it, having checked that the file can hold so many."""
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        if version not in ((1, 0), (2, 0)):
            raise DataError(f"{path}: {name} is of an unknown version of NumPy's format.")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(member)
    if dtype.hasobject:
        raise DataError(f"{path}: holds pickled objects, which can run code; save plain uint8 arrays with numpy.savez.")
    size = math.prod(shape) * dtype.itemsize
    if size > info.file_size:
        raise DataError(f"{path}: is damaged: {name} announces {size} bytes and has {info.file_size}.")
    return size


def _split(path: Path, arrays: dict[str, NDArray[Any]], name: str) -> RawSplit | None:
    images, labels = arrays.get(f"{name}_images"), arrays.get(f"{name}_labels")
    if images is None and labels is None and name == "val":
        return None
    if images is None or labels is None:
        raise DataError(f"{path}: the array {name}_{'images' if images is None else 'labels'} is missing.")
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
            f"{where}_labels: expected one whole number per image, shape (N,) or (N, 1), "
            f"got {labels.dtype} {labels.shape}."
        )
    if len(images) != len(labels):
        raise DataError(f"{where}: {len(images)} images, but {len(labels)} labels.")
    return checked(images, labels.astype(np.int64), where)
