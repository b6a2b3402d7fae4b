"""From the images of a source to tensors: read ahead, past damaged files, and with what deserves a remark."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unicodedata import normalize

import numpy as np
import torch
from torch import Tensor

from lrnet_cli.data.ahead import read_ahead
from lrnet_cli.data.images import ImageOptions, Preprocessing, as_image, prepare, read_image
from lrnet_cli.data.prepared import Prepared
from lrnet_cli.data.readers.raw import RawDataset, RawSplit
from lrnet_cli.data.splits import Split
from lrnet_cli.errors import DataError, ImageError
from lrnet_cli.memory import excess
from lrnet_cli.reporter import Reporter, counted

_FEW_UNREADABLE, _MOST_UNREADABLE = 1, 0.05  # images, and a share, of a class
_SMALL = 3  # images, which training, validation and test need
_PLURAL = re.compile(r"(?<!\.)\b(file|folder|image|link|row)s\b")  # and no suffix of a file
_NAMED = 6  # classes, files or kinds in one remark

Splits = tuple[Split | None, Split | None, Split | None]


@dataclass(frozen=True)
class Skipped:
    """An image file that could not be read, the class that it would have had, and why."""

    path: str
    label: str
    reason: str


def remarks(
    name: str, raw: RawDataset, splits: Splits, skipped: Sequence[Skipped], several: Sequence[str]
) -> Iterator[str]:
    """Yield a sentence for each thing that the owner of the data set ``name`` would want to know."""
    if raw.left_out:
        yield f"{name}: left out {listed(kinds_of(raw.left_out))}."
    if skipped:
        yield skipped_said(name, skipped)
    if sentence := twins(raw.classes):
        yield f"{name}: {sentence}"
    if not isinstance(raw.train.images, list):
        return
    if torn := torn_groups(raw):
        yield f"{name}: {counted(len(torn), 'group is', 'groups are')} in more than one split: {listed(torn)}."
    if several:
        names = listed(Path(path).name for path in several)
        images = counted(len(several), "image has", "images have")
        yield f"{name}: {images} several frames or pages; only the first is read: {names}."
    counts = [
        np.bincount(split.labels.numpy(), minlength=len(raw.classes)) if split is not None else None for split in splits
    ]
    train, _, test = counts
    assert train is not None
    everywhere = sum(part for part in counts if part is not None)
    kinds = {
        "without any image": everywhere == 0,
        "without training images": (train == 0) & (everywhere > 0),
        f"with fewer than {_SMALL} images, too few to be trained, validated and tested": (train > 0)
        & (everywhere < _SMALL),
        "without test images": (test == 0) & (train > 0) if test is not None else train < 0,
    }
    for kind, is_so in kinds.items():
        if is_so.any():
            noun = "class" if is_so.sum() == 1 else "classes"
            yield f"{name}: {noun} {kind}: {listed(raw.classes[index] for index in np.flatnonzero(is_so))}."


def skipped_said(name: object, skipped: Sequence[Skipped]) -> str:
    """Return the sentence on the files of ``name`` that could not be read."""
    return (
        f"{name}: skipped {counted(len(skipped), 'image', 'images')} that cannot be read: "
        f"{listed(f'{item.path} ({item.reason})' for item in skipped)}."
    )


class Reading:
    """Reads the splits of ``raw`` as tensors; ``source`` tells its prepared images from those of other sources.

    ``skipped`` are the files that could not be read, ``several`` those of which only the first page was.
    """

    def __init__(
        self,
        source: str,
        raw: RawDataset,
        preprocessing: Preprocessing,
        options: ImageOptions,
        data_dir: Path | None,
        reporter: Reporter,
    ) -> None:
        self._source, self._raw, self._data_dir = source, raw, data_dir
        self._preprocessing, self._invert, self._on_error = preprocessing, options.invert, options.on_error
        self._reporter, self._done = reporter, 0
        self._total = _total(raw)
        names = sorted({name for part in raw.parts.values() for name in part.groups or ()})
        self._groups = {name: number for number, name in enumerate(names)}
        self.skipped: list[Skipped] = []
        self.several: list[str] = []

    def read(self) -> Splits:
        """Return the training, validation and test splits.

        Raises ``DataError`` naming the first unreadable image if ``on_error`` is ``stop``, and in any case if several
        and more than a twentieth of a class are unreadable, or if the images do not fit into memory.
        """
        splits = self.read_whatever_can_be()
        refuse_unreadable(self._raw, self.skipped)
        return splits

    def read_whatever_can_be(self) -> Splits:
        """Return the splits as ``read`` does, however many images are unreadable."""
        refuse_excess(self._raw, self._preprocessing)
        splits = {name: self._read(name, part) for name, part in self._raw.parts.items()}
        return splits.get("train"), splits.get("val"), splits.get("test")

    def _read(self, name: str, raw: RawSplit) -> Split:
        labels = torch.from_numpy(raw.labels)
        if isinstance(raw.images, list):
            return self._read_files(name, raw, raw.images, labels)
        self._done += len(labels)
        side, channels = self._preprocessing.image_size, self._preprocessing.channels
        if (
            raw.images.shape[1:] == (side, side, channels)
            and self._preprocessing.crop == "none"
            and self._invert == "no"
        ):
            return Split(torch.from_numpy(raw.images.transpose(0, 3, 1, 2).copy()), labels)
        images = (prepare(as_image(pixels), self._preprocessing, self._invert)[0] for pixels in raw.images)
        return Split(torch.from_numpy(np.stack(list(images))), labels)

    def _read_files(self, name: str, raw: RawSplit, files: list[Path], labels: Tensor) -> Split:
        prepared = Prepared(f"{self._source}/{name}", files, self._preprocessing, self._invert, self._data_dir)
        whole = prepared.known.copy()
        self._done += int(whole.sum())
        unread = np.flatnonzero(~whole).tolist()
        read = partial(read_image, preprocessing=self._preprocessing, invert=self._invert)
        outcomes = read_ahead((files[index] for index in unread), read)
        for index, (_, outcome) in zip(unread, outcomes, strict=True):
            if isinstance(outcome, ImageError):
                if self._on_error == "stop":
                    raise DataError(f"{files[index]}: {outcome}; fix or remove it.") from outcome
                self.skipped.append(Skipped(str(files[index]), self._raw.classes[int(labels[index])], str(outcome)))
            else:
                prepared.images[index], prepared.several[index] = outcome.pixels, bool(outcome.remarks)
                whole[index] = True
            self._done += 1
            self._reporter.images(self._done, self._total)
        prepared.save(whole)
        self.several += [str(files[index]) for index in np.flatnonzero(prepared.several)]
        kept = np.flatnonzero(whole)
        groups = None
        if raw.groups is not None:
            groups = torch.tensor([self._groups[raw.groups[index]] for index in kept])
        images = prepared.images if whole.all() else prepared.images[kept]
        paths = tuple(str(files[index]) for index in kept)
        return Split(torch.from_numpy(images), labels[torch.from_numpy(kept)], paths, groups)


def refuse_excess(raw: RawDataset, preprocessing: Preprocessing) -> None:
    """Raise ``DataError`` if the images do not fit into memory."""
    side, total = preprocessing.image_size, _total(raw)
    if problem := excess(total * preprocessing.channels * side * side):
        raise DataError(f"{total} images of {side}×{side} pixels: {problem}; give a smaller --image-size.")


def _total(raw: RawDataset) -> int:
    return sum(len(part.labels) for part in raw.parts.values())


def refuse_unreadable(raw: RawDataset, skipped: Sequence[Skipped]) -> None:
    """Raise ``DataError`` if several and more than a twentieth of the images of a class were skipped."""
    parts = [part.labels for part in raw.parts.values()]
    totals = np.bincount(np.concatenate(parts), minlength=len(raw.classes))
    for label, count in Counter(item.label for item in skipped).items():
        total = int(totals[raw.classes.index(label)])
        if count > max(_FEW_UNREADABLE, _MOST_UNREADABLE * total):
            first = next(item for item in skipped if item.label == label)
            raise DataError(
                f"{count} of the {total} images of class {label} cannot be read, more than 5%; fix or remove them. "
                f"The first is {first.path}: {first.reason}."
            )


def twins(classes: Sequence[str]) -> str | None:
    """Return a sentence on names of ``classes`` that differ only in how Unicode composes them, if there are any."""
    counts = Counter(normalize("NFC", label) for label in classes)
    alike = [label for label in classes if counts[normalize("NFC", label)] > 1]
    said = f"{len(alike)} classes have names that look the same and differ in Unicode form only: {listed(alike)}."
    return said if alike else None


def torn_groups(raw: RawDataset) -> list[str]:
    """Return the groups whose images are in more than one split."""
    parts = [set(part.groups or ()) for part in raw.parts.values()]
    counts = Counter(group for part in parts for group in part)
    return sorted(group for group, count in counts.items() if count > 1)


def kinds_of(left_out: Mapping[str, int]) -> list[str]:
    """Return the counts of what was ``left_out``, whose kinds are in the plural, each with its kind."""
    return [counted(count, _PLURAL.sub(r"\1", kind, count=1), kind) for kind, count in left_out.items()]


def listed(items: Iterable[str]) -> str:
    """Return the first few of ``items`` and how many more there are."""
    names = list(items)
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
