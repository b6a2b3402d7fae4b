"""From the pictures of a source to tensors: in threads, past damaged files, and with what deserves a remark."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lrnet_cli.data.ahead import read_ahead
from lrnet_cli.data.images import Preprocessing, as_image, prepare
from lrnet_cli.data.readers.raw import RawDataset, RawSplit
from lrnet_cli.data.splits import Split
from lrnet_cli.errors import DataError, ImageError
from lrnet_cli.reporter import OnPictures
from lrnet_cli.settings.words import Invert, OnError

_FEW_UNREADABLE, _MOST_UNREADABLE = 1, 0.05  # pictures, and a share, of a class
_SMALL = 3  # pictures, which training, validation and test need
_NAMED = 6  # classes, files or kinds in one remark

Splits = tuple[Split | None, Split | None, Split | None]


@dataclass(frozen=True)
class Skipped:
    """A picture file that could not be read, the class that it would have had, and why."""

    path: str
    label: str
    reason: str


def read_splits(
    raw: RawDataset, preprocessing: Preprocessing, invert: Invert, on_error: OnError, on_pictures: OnPictures
) -> tuple[Splits, tuple[Skipped, ...], tuple[str, ...]]:
    """Return the training, validation and test splits of ``raw`` as tensors, the files skipped, and those with pages.

    Raises ``DataError`` naming the first unreadable picture if ``on_error`` is ``stop``, and in any case if several and
    more than a twentieth of a class are unreadable.
    """
    parts = (raw.train, raw.val, raw.test)
    total = sum(len(part.labels) for part in parts if part is not None)
    done, skipped, several = 0, list[Skipped](), list[str]()
    splits: list[Split | None] = []
    for part in parts:
        if part is None:
            splits.append(None)
            continue
        before = done

        def hear(count: int, before: int = before) -> None:
            on_pictures(before + count, total)

        splits.append(_read(raw.classes, part, preprocessing, invert, on_error, skipped, several, hear))
        done += len(part.labels)
    _refuse_unreadable(raw, skipped)
    train, val, test = splits
    return (train, val, test), tuple(skipped), tuple(several)


def remarks(
    name: str, raw: RawDataset, splits: Splits, skipped: Sequence[Skipped], several: Sequence[str]
) -> Iterator[str]:
    """Yield a sentence for each thing that the owner of the data set ``name`` would want to know."""
    if raw.left_out:
        yield f"{name}: left out {listed(f'{count} {kind}' for kind, count in raw.left_out.items() if count)}."
    if skipped:
        yield (
            f"{name}: skipped {len(skipped)} pictures that cannot be read: "
            f"{listed(f'{item.path} ({item.reason})' for item in skipped)}."
        )
    if not isinstance(raw.train.pictures, list):
        return
    if several:
        names = listed(Path(path).name for path in several)
        yield f"{name}: {len(several)} pictures have several frames or pages; only the first is read: {names}."
    counts = [
        np.bincount(split.labels.numpy(), minlength=len(raw.classes)) if split is not None else None for split in splits
    ]
    train, _, test = counts
    assert train is not None
    everywhere = sum(part for part in counts if part is not None)
    kinds = {
        "without any picture": everywhere == 0,
        "without training pictures": (train == 0) & (everywhere > 0),
        f"with fewer than {_SMALL} pictures, too few to be trained, validated and tested": (train > 0)
        & (everywhere < _SMALL),
        "without test pictures": (test == 0) & (train > 0) if test is not None else train < 0,
    }
    for kind, found in kinds.items():
        if found.any():
            yield f"{name}: classes {kind}: {listed(raw.classes[index] for index in np.flatnonzero(found))}."


def _read(
    classes: tuple[str, ...],
    raw: RawSplit,
    preprocessing: Preprocessing,
    invert: Invert,
    on_error: OnError,
    skipped: list[Skipped],
    several: list[str],
    hear: Callable[[int], None],
) -> Split:
    side, channels = preprocessing.image_size, preprocessing.channels
    labels = torch.from_numpy(raw.labels)
    if not isinstance(raw.pictures, list):
        if raw.pictures.shape[1:] == (side, side, channels) and invert == "no":
            return Split(torch.from_numpy(raw.pictures.transpose(0, 3, 1, 2).copy()), labels)
        sources: Iterable[Path | NDArray[np.uint8]] = raw.pictures
    else:
        sources = raw.pictures

    def prepared(source: Path | NDArray[np.uint8]) -> tuple[NDArray[np.uint8], list[str]] | ImageError:
        remarks: list[str] = []
        try:
            picture = source if isinstance(source, Path) else as_image(source)
            return prepare(picture, preprocessing, invert, remarks)[0], remarks
        except ImageError as error:
            return error

    images = np.empty((len(labels), channels, side, side), np.uint8)
    kept: list[int] = []
    for index, (source, outcome) in enumerate(read_ahead(sources, prepared)):
        if isinstance(outcome, ImageError):
            if on_error == "stop":
                raise DataError(f"{source}: {outcome}; fix or remove it.") from outcome
            skipped.append(Skipped(str(source), classes[int(raw.labels[index])], str(outcome)))
        else:
            images[len(kept)] = outcome[0]
            kept.append(index)
            if outcome[1]:
                several.append(str(source))
        hear(index + 1)
    paths = tuple(str(raw.pictures[index]) for index in kept) if isinstance(raw.pictures, list) else None
    return Split(torch.from_numpy(images[: len(kept)]), labels[kept], paths)


def _refuse_unreadable(raw: RawDataset, skipped: list[Skipped]) -> None:
    parts = [part.labels for part in (raw.train, raw.val, raw.test) if part is not None]
    totals = np.bincount(np.concatenate(parts), minlength=len(raw.classes))
    for label, count in Counter(item.label for item in skipped).items():
        total = int(totals[raw.classes.index(label)])
        if count > max(_FEW_UNREADABLE, _MOST_UNREADABLE * total):
            first = next(item for item in skipped if item.label == label)
            raise DataError(
                f"{count} of the {total} pictures of class {label} cannot be read, more than 5 %; fix or remove them. "
                f"The first is {first.path}: {first.reason}."
            )


def listed(items: Iterable[str]) -> str:
    """Return the first few of ``items`` and how many more there are."""
    found = list(items)
    return ", ".join(found[:_NAMED]) + (f" and {len(found) - _NAMED} more" if len(found) > _NAMED else "")
