"""A folder for each class, with its pictures at any depth; perhaps under ``train``, ``val`` and ``test``."""

from pathlib import Path

import numpy as np

from lrnet_cli.data.images import IMAGE_SUFFIXES
from lrnet_cli.data.readers.raw import RawDataset, RawSplit
from lrnet_cli.errors import DataError


def reads(path: Path) -> bool:
    """Return whether ``path`` is a folder."""
    return path.is_dir()


def read(root: Path) -> RawDataset:
    """Read ``root/<class>/**.png`` or ``root/{train,val,test}/<class>/**.png``; the classes are the folders' names.

    Raises ``DataError`` for fewer than two classes, or a split without pictures.
    """
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
