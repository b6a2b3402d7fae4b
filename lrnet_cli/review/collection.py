"""What is to be reviewed: images with the labels that they have, sorted into groups."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from lrnet_cli import paths
from lrnet_cli.data.check import Pair
from lrnet_cli.data.readers import manifest
from lrnet_cli.data.readers.by_path import read_raw
from lrnet_cli.data.readers.raw import SplitName
from lrnet_cli.data.walk import images_below, natural
from lrnet_cli.documents import shaped
from lrnet_cli.errors import DataError
from lrnet_cli.evaluation.predictions import PROBABILITY_OF
from lrnet_cli.predict.classifier import NONE_OF_THESE
from lrnet_cli.predict.record import ClassShare
from lrnet_cli.reporter import counted
from lrnet_cli.runs.suspects import Suspect
from lrnet_cli.settings.words import Invert

Kind = Literal["label", "unlabelled", "audit", "pairs"]
_LISTS = (".csv", ".jsonl", ".parquet")
MOST_GUESSES = 5  # of an image, the likely ones


@dataclass(frozen=True)
class Item:
    """An image to be reviewed.

    ``label`` is the one that it has, and ``proposal`` the one that confirming it means; both are empty for none.
    ``guesses`` are likely labels, the likeliest first, with their probabilities where known. ``certainty`` sorts the
    images of a group, the least certain first. ``answer`` is what a person said before: a label, or an empty text for
    none of the classes.
    """

    file: Path
    label: str = ""
    proposal: str = ""
    guesses: tuple[tuple[str, float | None], ...] = ()
    certainty: float = 0.0
    split: SplitName = "train"
    group: str = ""
    invert: Invert = "auto"
    answer: str | None = None

    @property
    def path(self) -> str:
        """The absolute path, in which links stay as they are."""
        return paths.absolute(self.file)

    @property
    def row(self) -> list[str]:
        """Its row in a list: path, label, whether that is an answer, the label before, split and group."""
        label = self.label if self.answer is None else self.answer
        return [self.path, label, "" if self.answer is None else "yes", self.label, self.split, self.group]


@dataclass(frozen=True)
class Group:
    """Images that are shown together; ``numbers`` are their positions among the items."""

    title: str
    kind: Kind
    numbers: tuple[int, ...]


@dataclass(frozen=True)
class ToReview:
    """Items in the order in which they are shown, in groups; ``others`` are only handed on to the saved list.

    ``remarks`` say what was left out, and ``about`` what is asked.
    """

    title: str
    items: Sequence[Item]
    groups: Sequence[Group]
    others: Sequence[Item] = ()
    remarks: tuple[str, ...] = ()
    about: str = ""
    labels: tuple[str, ...] = field(default=())

    def all_labels(self) -> tuple[str, ...]:
        """Return every label that there is, in natural order."""
        known = set(self.labels)
        for item in (*self.items, *self.others):
            known.update((item.label, item.proposal, item.answer or "", *(label for label, _ in item.guesses)))
        return tuple(sorted(known - {""}, key=natural))


def read_items(source: Path) -> tuple[list[Item], tuple[str, ...]]:
    """Return the images that a list, or a folder of unlabelled images, names, and what was left out.

    A list is one of labels, or the rows of ``lrnet predict`` or ``lrnet eval``, or the suspects of a training. Raises
    ``DataError`` for what is none of them.
    """
    if not source.exists():
        raise DataError(f"{source}: there is no such file or folder.")
    if source.is_dir() and not manifest.reads(source):
        items = [Item(file) for file in images_below(source)]
        if not items:
            raise DataError(f"{source}: holds no images.")
        return items, ()
    if source.is_file() and source.suffix.lower() not in _LISTS:
        raise DataError(f"{source}: is neither a list ({', '.join(_LISTS)}) nor a folder of images.")
    if source.is_dir():
        return _listed(source)
    first = next((row for _, row in manifest.numbered_rows(source) if not row.get("error")), None)
    if first is None:
        raise DataError(f"{source}: lists no images that could be read.")
    for columns, read in _FORMS:
        if columns <= first.keys():
            try:
                return read(source)
            except KeyError as error:
                raise DataError(f"{source}: a row has no {error}, which others have.") from error
    raise DataError(
        f"{source}: has the columns {', '.join(map(str, first))}; give a list with file_name and label, or what "
        "lrnet predict or lrnet eval writes."
    )


def _listed(source: Path) -> tuple[list[Item], tuple[str, ...]]:
    items = []
    for row in manifest.read_rows(source, labelled=False):
        before = row.previous if row.reviewed else row.label
        answer = row.label if row.reviewed else None
        items.append(Item(row.file, before, before, split=row.split, group=row.group, answer=answer))
    return items, ()


def _predicted(source: Path) -> tuple[list[Item], tuple[str, ...]]:
    items, errors = [], 0
    for number, row in manifest.numbered_rows(source):
        if row.get("error"):
            errors += 1
            continue
        where = f"{source}: row {number}"
        top = row.get("top")
        guesses = _ranked(row, where) if top is None else _shares(top, where)
        label = manifest.text_of(row["label"])
        # Without an index, the label says that it is none of the classes, or is a person's and new to the network.
        is_class, answer = manifest.text_of(row.get("index")) != "", None
        if manifest.is_yes(row.get("reviewed")):
            answer = label = "" if label == NONE_OF_THESE else label
        elif not is_class:
            label = ""
        invert: Invert = "yes" if manifest.text_of(row.get("inverted")) == "True" else "no"
        items.append(
            Item(
                _beside(source, manifest.text_of(row["path"])),
                label,
                label,
                guesses or ((label, _number(row["probability"], where)),),
                certainty=_number(row["probability"], where),
                answer=answer,
                invert=invert,
            )
        )
    images = counted(errors, "image is left out because it", "images are left out because they")
    return items, (f"{images} could not be read when predicted.",) if errors else ()


def _evaluated(source: Path) -> tuple[list[Item], tuple[str, ...]]:
    """Read the predictions of an evaluation: the label of each image is to be confirmed or replaced."""
    items = []
    for number, row in manifest.numbered_rows(source):
        where = f"{source}: row {number}"
        true, predicted = manifest.text_of(row["true"]), manifest.text_of(row["predicted"])
        shares = {
            name.removeprefix(PROBABILITY_OF): _number(value, where)
            for name, value in row.items()
            if name is not None and name.startswith(PROBABILITY_OF)
        }
        shares = shares or {predicted: _number(row["probability"], where)}
        certainty = shares.get(true, 1.0) if predicted == true else -shares.get(predicted, 0.0)
        items.append(
            Item(_beside(source, manifest.text_of(row["path"])), true, true, _likeliest(shares), certainty, invert="no")
        )
    return items, ()


def _suspected(source: Path) -> tuple[list[Item], tuple[str, ...]]:
    suspects = []
    for number, row in manifest.numbered_rows(source):
        file, label, suggested = (manifest.text_of(row[name]) for name in ("file", "given", "suggested"))
        suspects.append(Suspect(file, label, suggested, _number(row["score"], f"{source}: row {number}")))
    return suspect_items(suspects, {}), ()


_FORMS: tuple[tuple[set[str], Callable[[Path], tuple[list[Item], tuple[str, ...]]]], ...] = (
    ({"path", "true", "predicted", "probability"}, _evaluated),
    ({"path", "label", "probability"}, _predicted),
    ({"file", "given", "suggested", "score"}, _suspected),
    ({"file_name"}, _listed),
)


def suspect_items(suspects: Iterable[Suspect], listed: Mapping[str, Item]) -> list[Item]:
    """Return the suspects, each to be given the label that networks suggest; ``listed`` says more of them by path."""
    items = []
    for suspect in suspects:
        item = Item(Path(suspect.file))
        item = listed.get(item.path, item)
        guesses = ((suspect.suggested, None), (suspect.given, suspect.score))
        proposed = replace(item, label=suspect.given, proposal=suspect.suggested, guesses=guesses, invert="no")
        items.append(replace(proposed, certainty=suspect.score))
    return items


def listed_items(source: Path) -> list[Item]:
    """Return all images of the data set at ``source``, those without a label too where it is a list.

    Raises ``DataError`` if they are not files.
    """
    if manifest.reads(source):
        return _listed(source)[0]
    raw, items = read_raw(source), []
    for split, part in raw.parts.items():
        if not isinstance(part.images, list):
            raise DataError("The images of this data set are not files; a review needs a folder or a list of files.")
        for file, index in zip(part.images, part.labels.tolist(), strict=True):
            label = raw.classes[index]
            items.append(Item(file, label, label, split=split, invert="no"))
    return items


def suspects_to_review(title: str, suspects: Sequence[Suspect], listed: Sequence[Item]) -> ToReview:
    """Return the suspects in groups by the label that networks suggest; of ``listed``, the others are handed on."""
    by_path = {item.path: item for item in listed}
    items = suspect_items(suspects, by_path)
    named = {item.path for item in items}
    return replace(
        grouped(title, items),
        others=[item for item in listed if item.path not in named],
        about="Networks that never saw these images give them another label. Confirm to take it; K keeps the label "
        "of your list.",
    )


def copies_to_review(title: str, pairs: Sequence[Pair], listed: Sequence[Item]) -> ToReview:
    """Return images that are copies of each other, side by side; of ``listed``, the others are handed on.

    Those with different labels come first, then those in different splits.
    """
    by_path = {item.path: item for item in listed}
    groups, numbers = list[Group](), dict[str, int]()
    kinds = {
        "Duplicates with different labels": [p for p in pairs if p.labels[0] != p.labels[1]],
        "Duplicates in different splits": [
            p for p in pairs if p.labels[0] == p.labels[1] and p.splits[0] != p.splits[1]
        ],
        "Duplicates in one split": [p for p in pairs if p.labels[0] == p.labels[1] and p.splits[0] == p.splits[1]],
    }
    for kind, alike in kinds.items():
        names = [paths.absolute(name) for pair in alike for name in (pair.first, pair.second)]
        members = tuple(numbers.setdefault(name, len(numbers)) for name in names)
        if members:
            groups.append(Group(kind, "pairs", members))
    about = (
        "The two images of a pair are duplicates, exactly or nearly. Confirm to keep both, press Delete to "
        "drop one, or type the label that it should have."
    )
    items = [by_path[name] for name in numbers]
    others = [item for item in listed if item.path not in numbers]
    return ToReview(title, items, groups, others, about=about)


def grouped(title: str, items: Iterable[Item], remarks: tuple[str, ...] = ()) -> ToReview:
    """Return ``items`` in groups by what is proposed, the largest first and within it the least certain image."""
    by_label: dict[str, list[Item]] = {}
    for item in items:
        by_label.setdefault(item.proposal, []).append(item)
    ordered, groups = list[Item](), list[Group]()
    for label, members in sorted(by_label.items(), key=lambda one: (-len(one[1]), natural(one[0]))):
        numbers = tuple(range(len(ordered), len(ordered) + len(members)))
        groups.append(Group(label or "without a label", "label" if label else "unlabelled", numbers))
        ordered += sorted(members, key=lambda item: item.certainty)
    return ToReview(title, ordered, groups, remarks=remarks)


def audited(title: str, items: Sequence[Item]) -> ToReview:
    """Return ``items`` as one group whose labels are not shown, in their order."""
    hidden = [replace(item, proposal="", guesses=(), certainty=0.0) for item in items]
    about = "What is in each image? Its label is hidden, so that it cannot sway you."
    groups = [Group("audit", "audit", tuple(range(len(items))))]
    known = tuple(item.label for item in items)
    return ToReview(title, hidden, groups, about=about, labels=known)


def answered(review: ToReview, answers: Mapping[str, str]) -> ToReview:
    """Return ``review`` with the ``answers`` of a person, by absolute path."""

    def answering(items: Iterable[Item]) -> list[Item]:
        return [replace(item, answer=answers.get(item.path, item.answer)) for item in items]

    return replace(review, items=answering(review.items), others=answering(review.others))


def unshowable(items: Iterable[Item]) -> Iterator[Item]:
    """Yield items whose file names are not UTF-8, which no list can hold."""
    for item in items:
        try:
            item.path.encode("utf-8")
        except UnicodeEncodeError:
            yield item


def _beside(source: Path, name: str) -> Path:
    """Return the file of a row: from the working folder, as it was predicted, or from that of the list."""
    return Path(name) if os.path.exists(name) else source.parent / name  # noqa: PTH110 # a name may be too long


def _shares(top: object, where: str) -> tuple[tuple[str, float], ...]:
    try:
        return tuple((one["label"], one["probability"]) for one in shaped(top, list[ClassShare])[:MOST_GUESSES])
    except ValueError as error:
        raise DataError(f"{where}: top cannot be used: {error}.") from error


def _ranked(row: Mapping[str, object], where: str) -> tuple[tuple[str, float], ...]:
    """Return label and probability, and those of the ranks below, as ``lrnet predict`` writes them to a CSV file."""
    names = [(f"label_{n}", f"probability_{n}") for n in range(1, MOST_GUESSES + 1)]
    if not row.get("label_1"):  # with --top-k 1, where ``unknown`` is no class
        names = [] if row.get("index") in (None, "") else [("label", "probability"), *names[1:]]
    ranks = ((row.get(label), row.get(probability)) for label, probability in names)
    return tuple((str(label), _number(share, where)) for label, share in ranks if label)


def _likeliest(shares: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    return tuple(sorted(shares.items(), key=lambda one: -one[1])[:MOST_GUESSES])


def _number(value: object, where: str) -> float:
    try:
        return float(value)  # type: ignore[arg-type]  # or say that it is none
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: {value!r} is not a number.") from error
