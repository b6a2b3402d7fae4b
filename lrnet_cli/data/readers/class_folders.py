"""A folder for each class, with its images at any depth; perhaps under ``train``, ``val`` and ``test``."""

from collections import Counter
from collections.abc import Collection
from pathlib import Path

import numpy as np

from lrnet_cli.data.files import IMAGE_SUFFIXES
from lrnet_cli.data.readers.raw import SPLIT_NAMES, RawDataset, RawSplit
from lrnet_cli.data.walk import images_below, is_ignored, natural
from lrnet_cli.errors import DataError
from lrnet_cli.reporter import counted


def reads(path: Path) -> bool:
    """Return whether ``path`` is a folder."""
    return path.is_dir()


def read(root: Path) -> RawDataset:
    """Read ``root/<class>/**.png`` or ``root/{train,val,test}/<class>/**.png``; the classes are the folders' names.

    The splits may also be called ``training``, ``valid``, ``validation`` and ``testing``, in letters of any case.
    Without ``train``, the folders beside the other splits are the training classes. Raises ``DataError`` for fewer than
    two classes, two folders for one split, or a split without images.
    """
    parts, left_out = _splits_of(root)
    folders = {name: _folders(part, tuple(parts.values()), left_out) for name, part in parts.items()}
    names = {folder.name for found in folders.values() for folder in found}
    classes = tuple(sorted(names, key=natural))
    if not classes:
        _refuse_loose(root)
    if len(classes) < 2:
        has = f"only one class folder with images, {classes[0]}" if classes else "no class folders with images"
        raise DataError(f"{root}: has {has}; a classifier needs two or more.")
    splits = {name: _read(part, classes, left_out) for name, part in parts.items()}
    return RawDataset(classes, splits["train"], splits.get("val"), splits.get("test"), dict(left_out))


def _splits_of(root: Path) -> tuple[dict[str, Path], Counter[str]]:
    """Return the folder of each split, and how many folders beside them are left out."""
    parts: dict[str, Path] = {}
    others = []
    for folder in sorted(entry for entry in root.iterdir() if entry.is_dir() and not is_ignored(entry.name)):
        name = SPLIT_NAMES.get(folder.name.casefold())
        if name is None:
            others.append(folder)
        elif name in parts:
            raise DataError(
                f"{root}: both {parts[name].name} and {folder.name} look like the {name} split; rename one."
            )
        else:
            parts[name] = folder
    left_out: Counter[str] = Counter()
    if "train" in parts:
        files = sum(not entry.is_dir() and not is_ignored(entry.name) for entry in root.iterdir())
        beside = {"folders beside train": len(others), "files beside train": files}
        left_out.update({kind: count for kind, count in beside.items() if count})
    elif parts and not others:
        raise DataError(f"{root}: has {' and '.join(part.name for part in parts.values())}, but no train folder.")
    else:
        parts = {"train": root} | parts
    return parts, left_out


def _folders(part: Path, splits: Collection[Path], left_out: Counter[str]) -> list[Path]:
    """Return the class folders in ``part``, none of which is a split itself."""
    found = []
    for entry in part.iterdir():
        if is_ignored(entry.name) or entry in splits:
            continue
        if not entry.is_dir():
            left_out["files beside the class folders"] += 1
        else:
            found.append(entry)
    return found


def _read(part: Path, classes: tuple[str, ...], left_out: Counter[str]) -> RawSplit:
    found = [
        (path, index)
        for index, label in enumerate(classes)
        if (part / label).is_dir()
        for path in images_below(part / label, left_out)
    ]
    if found:
        return RawSplit([path for path, _ in found], np.array([index for _, index in found], dtype=np.int64))
    _refuse_loose(part)
    raise DataError(f"{part}: holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}).")


def _refuse_loose(part: Path) -> None:
    """Raise ``DataError`` if there are images in ``part`` itself."""
    if loose := sum(1 for entry in part.iterdir() if entry.suffix.lower() in IMAGE_SUFFIXES):
        raise DataError(
            f"{part}: holds {counted(loose, 'image', 'images')}, but not in class folders, so their classes are "
            "unknown. Sort them into folders, move them away, or have them labelled by: lrnet predict"
        )
