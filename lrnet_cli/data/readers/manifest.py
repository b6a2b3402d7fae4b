"""Lists of image files and labels: CSV, JSON lines or Parquet, in the form of Hugging Face's ``metadata.csv``."""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from lrnet_cli import paths
from lrnet_cli.data.readers.raw import SPLIT_NAMES, RawDataset, RawSplit, SplitName, refuse_excess
from lrnet_cli.data.walk import natural
from lrnet_cli.documents import lines_of, loaded
from lrnet_cli.errors import DataError

_FILE, _LABEL, _SPLIT, _GROUP, _REVIEWED, _PREVIOUS = "file_name", "label", "split", "group", "reviewed", "previous"
_COLUMNS = (_FILE, _LABEL, _SPLIT, _GROUP, _REVIEWED, _PREVIOUS)
_YES, _NO = {"yes", "true", "1"}, {"", "no", "false", "0"}
_BYTES_OF_ROW = 400  # in memory, at least
_IN_FOLDER = ("metadata.csv", "metadata.jsonl", "metadata.parquet")

_Row = dict[str, Any]


@dataclass(frozen=True)
class Listed:
    """A row of a list, whose file is called ``name`` there.

    ``split`` is ``train`` if the list names none, and ``previous`` the label before a review. ``reviewed`` says that a
    person answered, and then an empty ``label`` that the image is of none of the classes. It is None in a list without
    that column.
    """

    name: str
    file: Path
    label: str
    split: SplitName
    group: str
    reviewed: bool | None
    previous: str


def reads(path: Path) -> bool:
    """Return whether ``path`` is such a list, or a folder with one called ``metadata``."""
    if path.is_dir():
        return _listed_in(path) is not None
    if path.suffix.lower() == ".csv":
        with suppress(csv.Error, ValueError):
            return _FILE in next(csv.reader(lines_of(path, errors="replace")), [])
        return False
    return path.suffix.lower() in (".jsonl", ".parquet")


def read(path: Path) -> RawDataset:
    """Read a list with the columns ``file_name`` and ``label`` and, if there are any, ``split`` and ``group``.

    Files are relative to the list's folder. Images of one group, such as a page or a patient, stay in one split
    whenever the images are cut. In a list that was reviewed, images without a label are left out, and rows that say the
    same again are in any. Raises ``DataError`` naming the row and what is wrong with it.
    """
    known, left_out = dict[str, Listed](), Counter[str]()
    for row in read_rows(path):
        if not row.label:
            left_out["images reviewed as none of the classes" if row.reviewed else "images without a label yet"] += 1
            continue
        first = known.setdefault(paths.absolute(row.file), row)
        if (row.label, row.split) != (first.label, first.split):
            raise DataError(
                f"{path}: lists {row.name} twice, as {first.label} ({first.split}) and {row.label} ({row.split}); "
                "keep one of the rows."
            )
        if first is not row:
            left_out["repeated rows"] += 1
    rows = list(known.values())
    if not rows:
        raise DataError(f"{path}: lists no images{' with a label' if left_out else ''}.")
    classes = tuple(sorted({row.label for row in rows}, key=natural))
    if len(classes) < 2:
        raise DataError(f"{path}: only one class, {classes[0]}; a classifier needs two.")
    index = {label: number for number, label in enumerate(classes)}
    has_groups = any(row.group for row in rows)

    def split(name: SplitName) -> RawSplit | None:
        # Without a group of its own, an image is one by itself.
        chosen = [(row.file, index[row.label], row.group or row.name) for row in rows if row.split == name]
        if not chosen:
            return None
        files, labels, groups = zip(*chosen, strict=True)
        return RawSplit(list(files), np.array(labels, dtype=np.int64), groups if has_groups else None)

    train = split("train")
    if train is None:
        raise DataError(f"{path}: lists no training images; leave the column {_SPLIT} empty, or write train in it.")
    return RawDataset(classes, train, split("val"), split("test"), dict(left_out))


def read_rows(path: Path, *, labelled: bool = True) -> Iterator[Listed]:
    """Yield the rows of a list; raises ``DataError`` naming the row and what is wrong with it.

    In a list with the column ``reviewed``, and if they need not be ``labelled``, rows may have no label.
    """
    path = path if not path.is_dir() else _listed_in(path) or path
    for number, row in numbered_rows(path):
        yield _checked(path, number, row, labelled=labelled)


def read_answers(path: Path) -> dict[str, str]:
    """Return what a person answered, by the absolute path of the image: its label, or an empty text for no class.

    Raises ``DataError`` for a list that cannot be read or that nobody reviewed.
    """
    return {paths.absolute(row.file): row.label for row in read_reviewed([path])}


def read_reviewed(lists: Iterable[str | Path]) -> Iterator[Listed]:
    """Yield the rows of ``lists`` that a person answered; raises ``DataError`` as ``read_answers`` does."""
    for path in map(paths.expanded, lists):
        rows = list(read_rows(path, labelled=False))
        if all(row.reviewed is None for row in rows):
            raise DataError(
                f"{path}: has no column {_REVIEWED}; give a list that was saved by the page of: lrnet review"
            )
        yield from (row for row in rows if row.reviewed)


def _listed_in(folder: Path) -> Path | None:
    return next((folder / name for name in _IN_FOLDER if (folder / name).is_file()), None)


def numbered_rows(path: Path) -> Iterator[tuple[int, _Row]]:
    """Yield each row as it stands, with its line in the file, or its number in a Parquet file.

    Raises ``DataError`` for a file that is damaged or cannot be read.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            yield from enumerate(_parquet_rows(path), 1)
            return
        if suffix == ".csv":
            table = csv.DictReader(lines_of(path))
            _refuse_twins(path, table.fieldnames or [])
            for row in table:
                yield table.line_num, row
            return
        for number, line in enumerate(lines_of(path), 1):
            if line.strip():
                yield number, _object(path, number, line)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text ({error.reason}).") from error
    except (csv.Error, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {error}.") from error


def _object(path: Path, number: int, line: str) -> _Row:
    row = loaded(line)
    if not isinstance(row, dict):
        raise DataError(f"{path}: row {number}: is not an object with columns.")
    return row


def _refuse_twins(path: Path, columns: Sequence[str]) -> None:
    if twice := [name for name in _COLUMNS if columns.count(name) > 1]:
        raise DataError(f"{path}: has the column {twice[0]} twice; remove one.")


def _parquet_rows(path: Path) -> list[_Row]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(f"{path}: reading Parquet needs pyarrow; install it, or save the list as .csv.") from error
    try:
        with parquet.ParquetFile(path) as file:
            refuse_excess(_BYTES_OF_ROW * file.metadata.num_rows, str(path))
            # Without the others, such as one with the images themselves.
            columns = [name for name in file.schema_arrow.names if name in _COLUMNS]
            _refuse_twins(path, columns)
            rows: list[_Row] = file.read(columns).to_pylist()
    except DataError:
        raise
    except Exception as error:  # whatever Arrow raises for damaged files
        raise DataError(f"{path}: is not a readable Parquet file ({error}).") from error
    return rows


def _checked(path: Path, number: int, row: _Row, *, labelled: bool) -> Listed:
    """Return a row with its values as text."""
    where = f"{path}: row {number}"
    texts = dict.fromkeys(_COLUMNS, "")
    for name in texts:
        value = row.get(name)
        if name != _REVIEWED and (isinstance(value, bool) or not isinstance(value, str | int | float | None)):
            raise DataError(f"{where}: {name} is neither text nor a number.")
        texts[name] = text_of(value)
    needed = (_FILE, _LABEL) if labelled and _REVIEWED not in row else (_FILE,)
    for name in needed:
        if not texts[name]:
            columns = ", ".join(str(column) for column in islice(row, 6))
            raise DataError(f"{where}: has no {name}; its columns are: {columns}.")
    split = texts[_SPLIT].casefold() or "train"
    if split not in SPLIT_NAMES:
        raise DataError(f"{where}: the split {texts[_SPLIT]!r} is none of: {', '.join(SPLIT_NAMES)}.")
    reviewed = texts[_REVIEWED].casefold()
    if reviewed not in _YES | _NO:
        raise DataError(f"{where}: {_REVIEWED} is {texts[_REVIEWED]!r}; write yes, or leave it empty.")
    return Listed(
        texts[_FILE],
        path.parent / texts[_FILE],
        texts[_LABEL],
        SPLIT_NAMES[split],
        texts[_GROUP],
        is_yes(reviewed) if _REVIEWED in row else None,
        texts[_PREVIOUS],
    )


def is_yes(cell: str | float | None) -> bool:
    """Return whether a cell says yes."""
    return text_of(cell).casefold() in _YES


def text_of(value: str | float | None) -> str:
    """Return a cell as text: NaN is missing, and a whole number has no decimals, whatever pandas made of a column."""
    if value is None or value != value:
        return ""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()
