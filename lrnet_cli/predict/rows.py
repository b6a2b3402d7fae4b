"""Predictions as rows: in the formats of ``--format``, and in a file that an interrupted prediction can resume."""

import csv
import glob
import io
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from lrnet_cli.documents import loaded, read_document
from lrnet_cli.errors import UsageError
from lrnet_cli.escape import as_json, in_spreadsheet
from lrnet_cli.paths import Target, replacing, table_writer, write_text
from lrnet_cli.predict.record import Record
from lrnet_cli.settings.requests import RowFormat

_COLUMNS = ("path", "label", "index", "probability", "novelty", "inverted", "error")


@dataclass(frozen=True)
class RowStyle:
    """How records are written: with ``top_k`` classes, perhaps a ``label_set``, and whether they are ``reviewed``.

    That column is yes where the label is a person's answer.
    """

    form: RowFormat
    top_k: int
    label_set: bool = False
    reviewed: bool = False


def row_writer(target: Target, style: RowStyle, *, header: bool = True) -> Callable[[Record], None]:
    """Return a function that writes a record to ``target`` as a row, at once; ``header`` adds a CSV header first."""
    if style.form == "jsonl":

        def write_line(record: Record) -> None:
            target.write(as_json(record) + "\n")
            target.flush()

        return write_line
    write_cells = table_writer(target, spreadsheet=style.form == "spreadsheet")
    ranks = range(1, style.top_k + 1) if style.top_k > 1 else range(0)
    if header:
        following = [f"{name}_{rank}" for rank in ranks for name in ("label", "probability")]
        more = [name for name in ("label_set", "reviewed") if getattr(style, name)]
        write_cells([*_COLUMNS, *following, *more])

    def write_row(record: Record) -> None:
        top = record.get("top", [])[: len(ranks)]
        following = [value for entry in top for value in (entry["label"], entry["probability"])]
        following += [""] * (2 * len(ranks) - len(following))
        if style.label_set:  # as JSON: names may hold any other mark between them
            following.append(json.dumps(record["label_set"], ensure_ascii=False) if "label_set" in record else "")
        if style.reviewed:
            following.append("yes" if record.get("reviewed") else "")
        write_cells([*(record.get(name, "") for name in _COLUMNS), *following])
        target.flush()

    return write_row


@contextmanager
def sole_writer(path: Path) -> Iterator[None]:
    """Keep every other prediction from writing the file of rows ``path``; raises ``UsageError`` if one does."""
    hidden = path.with_name(f".{path.name}.lock")
    lock = FileLock(hidden)
    if path.parent.is_dir():  # which the lock would make
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UsageError(f"{path}: another process is writing it; wait for that, or choose another file.") from None
        except (OSError, NotImplementedError):
            pass  # the rows cannot be written either, as will be said; or the file system has no locks
    try:
        yield
    finally:
        if lock.is_locked:
            with suppress(OSError):  # Windows keeps a file that is open
                hidden.unlink()
            lock.release()


class RowFile:
    """A file of rows that grows as ``part`` next to its final ``path``, and takes that name once it is complete.

    The name of the part holds ``fingerprint``, and so does the hidden file ``.NAME.lrnet`` beside a complete one, which
    also has the promise of its labels: only a prediction with the same weights and settings adds rows to either. A
    complete file is copied to a part first, so that readers of ``path`` see the old rows or all of them. Files whose
    row has an error are tried again, and their new row replaces it in the end. ``count`` is the number of other rows so
    far, first of those that earlier predictions left, ``failed`` of those of them with an error, and ``added`` of those
    written here. Without any row of its own, no part is left behind.

    With ``drafts`` the part holds whole records, which ``finish`` replaces by final ones. The rows of a complete file
    were then settled together (``is_settled``), and none is added.

    Raises ``UsageError`` if there is such a file or part and ``resume`` is false, its weights or settings differ, or it
    cannot be read.
    """

    def __init__(self, path: Path, style: RowStyle, fingerprint: str, *, resume: bool, drafts: bool = False) -> None:
        self.path, self._style, self._fingerprint, self._has_drafts = path, style, fingerprint, drafts
        self._form: RowFormat = "jsonl" if drafts else style.form  # of the part
        self.part = path.with_name(f"{path.name}.{fingerprint}.part")
        self._record = _record_of(path)
        left = sorted(path.parent.glob(f"{glob.escape(path.name)}.*.part"))
        if left and not resume:
            raise UsageError(
                f"{left[0]}: holds the rows of an interrupted prediction; continue with --resume, or delete it."
            )
        if left and self.part not in left:
            raise UsageError(
                f"{left[0]}: was started with other weights or settings; repeat those with --resume, or delete it."
            )
        exists = os.path.lexists(path)
        if exists and not resume:
            raise UsageError(f"{path}: exists already; add rows to it with --resume, or choose another file.")
        self._left: Counter[str] = Counter()  # by the path in the row
        self._errors = set[str]()  # paths whose earlier row has an error
        self.count = self.failed = self.added = 0
        try:
            if exists and not left and self._recorded() != fingerprint:
                raise UsageError(
                    f"{path}: was written with other weights or settings, or not by this command; choose another file."
                )
            is_new = not left and not exists
            self._is_copy = exists and not left
            self.is_settled = self._is_copy and drafts
            is_new = is_new or not self._take_up(path if self._is_copy else self.part)
            self._file = (Path(os.devnull) if self.is_settled else self.part).open("a", encoding="utf-8", newline="")
        except OSError as error:
            raise self._unwritable(error) from error
        self._write = row_writer(self._file, RowStyle("jsonl", 1) if drafts else style, header=is_new)

    def __enter__(self) -> "RowFile":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # rows that did not fit on a full disk, which has been reported
            self._file.close()
        if not self.count or (self._is_copy and not self.added):
            self.part.unlink(missing_ok=True)

    def lacks(self, path: str) -> bool:
        """Return whether earlier predictions left no row of ``path``; to be asked once for each input."""
        is_escaped = self._style.form == "spreadsheet" and (self.is_settled or not self._has_drafts)
        written = str(in_spreadsheet(path)) if is_escaped else path
        if not self._left[written]:
            return True
        self._left[written] -= 1
        return False

    def write(self, record: Record) -> None:
        """Add a row."""
        if self.is_settled:
            raise UsageError(
                f"{self.path}: its labels were accepted together, so no row can be added; predict further images into "
                "another file."
            )
        try:
            self._write(record)
            self.count += 1
            self.added += 1
        except OSError as error:
            raise self._unwritable(error) from error

    def drafts(self) -> Iterator[Record]:
        """Yield the records in the part."""
        if not self._file.closed:
            self._file.flush()
        with self.part.open(encoding="utf-8") as lines:
            yield from map(loaded, lines)

    def finish(self, final: Iterable[Record] | None = None, max_error: float | None = None) -> None:
        """Give the file its name; of a part with drafts, write the ``final`` records to it instead, in one step.

        ``max_error`` is noted as promised.
        """
        if self.is_settled:
            return
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            promised = "" if max_error is None else f"{max_error!r}\n"
            write_text(self._record, f"{self._fingerprint}\n{promised}")
            if final is None:
                if self._errors:
                    self._drop_old_errors()
                self.part.replace(self.path)
                return
            with replacing(self.path) as temporary, temporary.open("w", encoding="utf-8", newline="") as target:
                write = row_writer(target, self._style)
                for record in final:
                    write(record)
            self.part.unlink()
        except OSError as error:
            raise self._unwritable(error) from error

    def _recorded(self) -> str | None:
        try:
            return read_document(self._record).split("\n")[0].strip()
        except (FileNotFoundError, ValueError):
            return None

    def _take_up(self, source: Path) -> bool:
        """Bring the complete rows of ``source`` into the part and count them; return whether there is any line.

        In a complete file, those with an error count as missing: the file may be there by now, or mended.
        """
        content = source.read_bytes()
        if self._is_copy and content and not content.endswith(b"\n"):  # as an editor may leave it
            content += b"\n"
        try:
            header, rows, whole = _rows_in(content, self._style.form if self.is_settled else self._form)
            for _, record in rows:
                if record.get("error"):
                    self._errors.add(record["path"])
                    if self._is_copy and not self.is_settled:
                        continue
                self._left[record["path"]] += 1
                self.count += 1
                self.failed += bool(record.get("error"))
        except (ValueError, LookupError, TypeError, AttributeError, csv.Error) as error:
            raise UsageError(f"{source}: its rows cannot be read; choose another file, or delete this one.") from error
        if self.is_settled:
            return True
        if self._is_copy:
            with replacing(self.part) as temporary:
                temporary.write_bytes(content)
        else:
            os.truncate(self.part, whole)
        return bool(header or rows)

    def _drop_old_errors(self) -> None:
        """Leave out of the part each row with an error after which there is another one of its file."""
        header, rows, _ = _rows_in(self.part.read_bytes(), self._form)
        counts, kept = Counter(record["path"] for _, record in rows), [header]
        for row, record in rows:
            if record.get("error") and counts[record["path"]] > 1:
                counts[record["path"]] -= 1
            else:
                kept.append(row)
        with replacing(self.part) as temporary:
            temporary.write_bytes(b"".join(kept))

    def _unwritable(self, error: OSError) -> UsageError:
        advice = "Choose a file in a folder that exists and that you may write to."
        if self.part.exists():
            advice = f"The rows so far are in {self.part}; continue with --resume."
        return UsageError(f"{self.path}: cannot be written ({error.strerror or error}). {advice}")


def _rows_in(content: bytes, form: RowFormat) -> tuple[bytes, list[tuple[bytes, Record]], int]:
    """Return the header, the complete rows as bytes and as records, and how many bytes these are.

    Raises ``ValueError`` or ``csv.Error`` for what are no rows.
    """
    lines, begun, end, quotes = list[bytes](), 0, 0, 0  # of which one ends where quotes are even
    for line in content.split(b"\n")[:-1]:  # what follows the last line break is not a complete row
        end += len(line) + 1
        quotes += line.count(b'"') if form != "jsonl" else 0
        if quotes % 2 == 0:  # a line break between quotes belongs to a file's name
            lines.append(content[begun:end])
            begun = end
    if form == "jsonl":
        rows = list(filter(bytes.strip, lines))
        return b"", [(row, loaded(row.decode("utf-8-sig"))) for row in rows], begun
    header, rows = (lines[0], list(filter(bytes.strip, lines[1:]))) if lines else (b"", [])
    if lines and not header.decode("utf-8-sig").startswith(_COLUMNS[0]):
        raise ValueError("no header")
    text = io.StringIO(b"".join([header, *rows]).decode("utf-8-sig"), newline="")
    return header, list(zip(rows, csv.DictReader(text), strict=True)), begun  # type: ignore[arg-type]  # all are texts


def promised_error(path: Path) -> float | None:
    """Return the error that was promised of the labels in a complete file of rows, None if it is not known."""
    try:
        return float(read_document(_record_of(path)).split("\n")[1])
    except (OSError, ValueError, IndexError):
        return None


def _record_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.lrnet")


class Spool:
    """Records that are kept until all are there, in a temporary file."""

    def __init__(self) -> None:
        self._file: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 # closed with this

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, record: Record) -> None:
        """Add a record."""
        self._file.write(json.dumps(record) + "\n")

    def drafts(self) -> Iterator[Record]:
        """Yield the records."""
        self._file.seek(0)
        yield from map(loaded, self._file)
