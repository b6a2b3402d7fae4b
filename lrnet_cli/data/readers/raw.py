"""Images and labels before preprocessing, and the checks that every reader applies to them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lrnet_cli.errors import DataError
from lrnet_cli.memory import excess

Labels = NDArray[np.int64]
SplitName = Literal["train", "val", "test"]
# What splits may be called, in letters of any case.
SPLIT_NAMES: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_MOST_CLASSES = 65_536  # a larger label means damage, and would need more memory than any machine has
_FEW_CLASSES = 1000  # which any number of images may have


@dataclass(frozen=True)
class RawSplit:
    """Images with their labels (N,): uint8 (N, height, width, channels), or the paths of N files.

    ``groups`` name what each image belongs to, such as a page or a patient, if the source says so.
    """

    images: NDArray[np.uint8] | list[Path]
    labels: Labels
    groups: tuple[str, ...] | None = None


@dataclass(frozen=True)
class RawDataset:
    """The splits of a data set before preprocessing; ``val`` and ``test`` only if the source has them.

    ``left_out`` counts, by kind, what lies in the source and was not read.
    """

    classes: tuple[str, ...]
    train: RawSplit
    val: RawSplit | None
    test: RawSplit | None
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def parts(self) -> dict[SplitName, RawSplit]:
        """The splits that the source has, by name."""
        named: dict[SplitName, RawSplit | None] = {"train": self.train, "val": self.val, "test": self.test}
        return {name: part for name, part in named.items() if part is not None}


def refuse_excess(needed: int, where: str) -> None:
    """Raise ``DataError`` if ``needed`` bytes do not fit into memory."""
    if problem := excess(needed):
        raise DataError(f"{where}: {problem}.")


def numbered(labels: Labels, where: str) -> tuple[str, ...]:
    """Return the class names ``0``, ``1``, … up to the highest of ``labels``; most of them have an image."""
    highest = int(labels.max())
    most = min(_MOST_CLASSES, max(_FEW_CLASSES, 2 * len(labels)))
    if highest >= most:
        raise DataError(
            f"{where}: the label {highest} is out of range; at most {most} classes are read from {len(labels)} images."
        )
    return tuple(map(str, range(highest + 1)))


def checked(images: NDArray[np.uint8], labels: Labels, where: str) -> RawSplit:
    """Return ``images`` with their labels; raises ``DataError`` if there are none."""
    if images.size == 0:
        raise DataError(f"{where}: holds no images (shape {images.shape}).")
    return RawSplit(images, labels)


def check_range(labels: Labels, classes: int, where: str) -> None:
    """Raise ``DataError`` for a label outside the ``classes`` classes, or for fewer than two of these."""
    outside = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(outside):
        raise DataError(
            f"{where}: {len(outside)} labels are out of range; the first is {labels[outside[0]]} of image "
            f"{outside[0] + 1}, but there are {classes} classes, counted from 0."
        )
    if classes < 2:
        raise DataError(f"{where}: only one class; a classifier needs two.")
