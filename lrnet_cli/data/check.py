"""Looking at a data set before hours are spent on it: what is in it, and what is worth checking."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from lrnet_cli.data.ahead import read_ahead
from lrnet_cli.data.datasets import name_of, preprocessing_of, read_source, tested_apart, without_pixels
from lrnet_cli.data.images import ImageOptions
from lrnet_cli.data.look import Seen, Source, look
from lrnet_cli.data.readers.raw import RawDataset
from lrnet_cli.data.reading import Skipped, listed, refuse_excess, refuse_unreadable, torn_groups, twins
from lrnet_cli.data.splits import validation_apart
from lrnet_cli.errors import ImageError, LRNetError
from lrnet_cli.reporter import Reporter, counted, silent
from lrnet_cli.settings.requests import CheckRequest

FEWEST = 20  # images of a class, below which it is called small
_FAINT = 0.15  # of the grey scale, below which an image's contrast is low
_NEAR = 6  # bits of a perceptual hash, by which near copies differ
_BANDS = _NEAR + 1  # of its bits, of which near copies share one
_CROWDED = 200  # images that share a band, beyond which they are alike by nature, not as copies
_SEED = 0  # of a run; which images it sets aside depends on it, but not how many


@dataclass(frozen=True)
class Pair:
    """Two images that are copies of each other, ``exact`` or nearly, with their classes and splits."""

    first: str
    second: str
    exact: bool
    labels: tuple[str, str]
    splits: tuple[str, str]


@dataclass(frozen=True)
class Check:
    """What a data set holds.

    ``counts`` are images by split and class; ``sides`` the smallest, median and largest longer side in pixels.
    ``refusal`` is the sentence with which training in its default settings refuses the data set, if it does, and
    ``source`` the data set itself.
    """

    name: str
    source: RawDataset = field(repr=False)
    refusal: str | None
    classes: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]
    sides: tuple[int, float, int]
    colour: int
    polarity: Mapping[str, int]
    faint: tuple[str, ...]
    paged: tuple[str, ...]
    damaged: tuple[Skipped, ...]
    left_out: Mapping[str, int]
    copies: tuple[Pair, ...]
    torn: tuple[str, ...]

    @cached_property
    def findings(self) -> tuple[str, ...]:
        """Sentences on what is worth checking; there are none if nothing is."""
        return tuple(_findings(self))

    @property
    def colour_said(self) -> str:
        """How many images are in colour, and whether a training reads them as grey."""
        if not self.colour:
            return "all grey"
        hint = "; all are read as grey without --channels 3" if isinstance(self.source.train.images, list) else ""
        return f"{counted(self.colour, 'image', 'images')} in colour, the others grey{hint}"

    def document(self) -> dict[str, Any]:
        """Return the JSON document."""
        own = ("name", "source", "refusal")
        shown = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in own}
        shown |= {"damaged": [asdict(item) for item in self.damaged], "copies": [asdict(pair) for pair in self.copies]}
        return {"schema": "lrnet.check/1", "dataset": self.name, **shown, "findings": self.findings}


def check_dataset(request: CheckRequest, reporter: Reporter) -> Check:
    """Return what is in a data set, which is downloaded if necessary.

    Raises ``DataError`` or ``DownloadError`` for one that cannot be read at all, ``UsageError`` for an unknown name.
    """
    raw = read_source(request.dataset, request, reporter)
    sources = list(_sources(raw))
    seen, damaged = list[Seen](), list[Skipped]()
    looked = read_ahead(sources, look, is_file=lambda source: isinstance(source.image, Path))
    for number, (source, outcome) in enumerate(looked):
        if isinstance(outcome, ImageError):
            damaged.append(Skipped(source.name, source.label, str(outcome)))
        else:
            seen.append(outcome)
        reporter.images(number + 1, len(sources))
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for one in seen:
        counts[one.split][one.label] += 1
    longer = [max(one.sides) for one in seen] or [0]
    return Check(
        name=name_of(request.dataset),
        source=raw,
        refusal=_refusal(request.dataset, raw, damaged),
        classes=raw.classes,
        counts={split: dict(of_split) for split, of_split in counts.items()},
        sides=(min(longer), median(longer), max(longer)),
        colour=sum(one.is_colour for one in seen),
        polarity=dict(Counter(one.polarity for one in seen)),
        faint=tuple(one.name for one in seen if one.contrast < _FAINT),
        paged=tuple(one.name for one in seen if one.has_pages),
        damaged=tuple(damaged),
        left_out=dict(raw.left_out),
        copies=tuple(_copies(seen)),
        torn=tuple(torn_groups(raw)),
    )


def _sources(raw: RawDataset) -> Iterator[Source]:
    for split, part in raw.parts.items():
        for number, (image, label) in enumerate(zip(part.images, part.labels.tolist(), strict=True)):
            name = str(image) if isinstance(image, Path) else f"{split} #{number}"
            yield Source(image, name, raw.classes[label], split)


def _refusal(name: str, raw: RawDataset, damaged: Sequence[Skipped]) -> str | None:
    """Return the sentence with which training in its default settings refuses the data set, if it does."""
    train, val, test = without_pixels(raw, {item.path for item in damaged})
    try:
        refuse_excess(raw, preprocessing_of(raw.train, ImageOptions()))
        refuse_unreadable(raw, damaged)
        train, _ = tested_apart(name, train, test, None, raw.classes, silent)
        validation_apart(name_of(name), train, val, None, _SEED, None)
    except LRNetError as error:
        return str(error)
    return None


def _copies(seen: Sequence[Seen]) -> Iterator[Pair]:
    """Yield exact copies, each with the first of its kind, then near ones among the different images."""
    first: dict[bytes, Seen] = {}
    for one in seen:
        other = first.setdefault(one.digest, one)
        if other is not one:
            yield _pair(other, one, exact=True)
    different = list(first.values())
    bands: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for number, one in enumerate(different):
        for band, bits in enumerate(np.array_split(one.bits, _BANDS)):
            bands[band, np.packbits(bits).tobytes()].append(number)
    near_pairs = set[tuple[int, int]]()
    for members in bands.values():
        if not 1 < len(members) <= _CROWDED:
            continue
        bits = np.stack([different[number].bits for number in members])
        near = np.argwhere((bits[:, None] != bits[None]).sum(2) <= _NEAR)
        near_pairs.update((members[a], members[b]) for a, b in near.tolist() if a < b)
    yield from (_pair(different[a], different[b], exact=False) for a, b in sorted(near_pairs))


def _pair(first: Seen, second: Seen, *, exact: bool) -> Pair:
    return Pair(first.name, second.name, exact, (first.label, second.label), (first.split, second.split))


def _findings(checked: Check) -> Iterator[str]:
    train = checked.counts.get("train", {})
    totals = Counter[str]()
    for of_split in checked.counts.values():
        totals.update(of_split)
    if checked.refusal is not None:
        yield f"lrnet train refuses this data set: {checked.refusal}"
    if checked.damaged:
        images = counted(len(checked.damaged), "image", "images")
        yield f"{images} cannot be read: {_names(item.path for item in checked.damaged)}."
    if sentence := twins(checked.classes):
        yield sentence
    if small := [f"{name} ({totals[name]})" for name in checked.classes if totals[name] < FEWEST]:
        yield f"{counted(len(small), 'class has', 'classes have')} fewer than {FEWEST} images: {listed(small)}."
    if "test" in checked.counts and (lacking := [name for name in checked.classes if not train.get(name)]):
        yield f"{counted(len(lacking), 'class has', 'classes have')} no training images: {listed(lacking)}."
    for exact, kind in ((True, "exact"), (False, "near")):
        pairs = [pair for pair in checked.copies if pair.exact == exact]
        groups = {
            "in different splits, which makes a test too easy": [p for p in pairs if p.splits[0] != p.splits[1]],
            "with different labels": [pair for pair in pairs if pair.labels[0] != pair.labels[1]],
            "in one split": [p for p in pairs if p.splits[0] == p.splits[1] and p.labels[0] == p.labels[1]],
        }
        for where, alike in groups.items():
            if alike:
                yield f"{counted(len(alike), f'{kind} duplicate', f'{kind} duplicates')} {where}: {_pairs(alike)}."
    if checked.torn:
        yield f"{counted(len(checked.torn), 'group is', 'groups are')} in more than one split: {listed(checked.torn)}."
    if checked.faint:
        yield f"{counted(len(checked.faint), 'image has', 'images have')} hardly any contrast: {_names(checked.faint)}."
    if checked.paged:
        images = counted(len(checked.paged), "image has", "images have")
        yield f"{images} several frames or pages, of which only the first is read: {_names(checked.paged)}."
    both = [checked.polarity.get(kind, 0) for kind in ("light-on-dark", "dark-on-light")]
    if min(both) > 0.02 * sum(both):
        yield f"{both[0]} images are light on dark and {both[1]} dark on light, so that none will be inverted."


def _names(files: Iterable[str]) -> str:
    return listed(Path(file).name for file in files)


def _pairs(pairs: Sequence[Pair]) -> str:
    return listed(f"{pair.first} and {pair.second}" for pair in pairs[:2]) + (", …" if len(pairs) > 2 else "")
