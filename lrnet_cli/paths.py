"""Which folders belong to this user, how files get into them, and which run is the newest."""

import csv
import errno
import json
import os
import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from platformdirs import user_cache_path, user_state_path

from lrnet_cli.errors import UsageError
from lrnet_cli.escape import in_spreadsheet

WEIGHTS_NAME = "model.safetensors"  # of a run folder
SERIES_NAME = "series.json"  # of a folder with several runs
_RECORD = "runs.txt"
_TEMPORARY = ".lrnet.tmp"
_MOST_NAME = 60  # characters in the name of a temporary file; a file system takes 255 bytes


def expanded(text: str | Path) -> Path:
    """Return the path that ``text`` is, with the user's folder for ``~``; a file may be called ``~foo.png`` as well."""
    try:
        return Path(text).expanduser()
    except RuntimeError:  # there is no such user
        return Path(text)


def absolute(path: str | os.PathLike[str]) -> str:
    """Return ``path`` in full, by which a file is known in lists; links stay as they are."""
    return os.path.abspath(path)  # noqa: PTH100


def data_dir(chosen: Path | None = None) -> Path:
    """Return the folder of data sets: ``chosen``, else ``LRNET_DATA_DIR``, else this user's cache."""
    if chosen is not None:
        return chosen
    from_environment = os.environ.get("LRNET_DATA_DIR")
    return Path(from_environment) if from_environment else user_cache_path("lrnet", appauthor=False)


def state_dir() -> Path:
    """Return the folder that remembers finished runs: ``LRNET_STATE_DIR``, else this user's state folder."""
    from_environment = os.environ.get("LRNET_STATE_DIR")
    return Path(from_environment) if from_environment else user_state_path("lrnet", appauthor=False)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to ``path`` that replaces it when the block ends, and is deleted if it fails.

    Readers of ``path`` see the old file or the complete new one, even after a power cut.
    """
    # A name that nobody can guess and no link has: others may write to the folder, too.
    temporary = path.with_name(f"{path.name[:_MOST_NAME]}.{secrets.token_hex(8)}{_TEMPORARY}")
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    try:
        yield temporary
        with temporary.open("r+b") as written:  # Windows flushes no file that is open for reading only
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def is_leftover(path: Path) -> bool:
    """Return whether ``path`` has the name of a temporary file of ``replacing``, as a killed process leaves it."""
    return path.name.endswith(_TEMPORARY)


def drop_leftovers(files: Iterable[Path]) -> None:
    """Delete those of ``files`` that killed processes left; no other process may be at work on them."""
    for leftover in filter(is_leftover, files):
        leftover.unlink(missing_ok=True)


@contextmanager
def write_errors(
    path: Path, advice: str = "choose a file in a folder that exists and that you may write to"
) -> Iterator[None]:
    """Raise ``UsageError``, with ``advice``, if the block cannot write ``path``, a file that the user named."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror or error}); {advice}.") from error


def check_writable(path: Path) -> None:
    """Raise ``UsageError`` if ``path`` cannot become a file, so that this is known before the work is done."""
    with write_errors(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with tempfile.TemporaryFile(dir=path.parent):
            pass


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` in one step (UTF-8)."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


class Target(Protocol):
    """What takes text: a file, or standard output."""

    def write(self, text: str, /) -> object:
        """Take a piece of text."""

    def flush(self) -> None:
        """Pass on what was taken."""


def table_writer(target: Target, *, spreadsheet: bool = False) -> Callable[[Iterable[object]], None]:
    """Return a function that writes a row of CSV to ``target``; for a ``spreadsheet``, no cell is a formula."""

    class Lines:
        def write(self, line: str) -> None:
            # Bytes of a file's name that are not UTF-8 are escaped.
            target.write(line.removesuffix("\r\n").encode("utf-8", "backslashreplace").decode("utf-8") + "\n")

    # Python 3.11 quotes a carriage return, which ends a row for readers, only if it is in the line terminator.
    table = csv.writer(Lines(), lineterminator="\r\n")
    return lambda row: table.writerow([in_spreadsheet(cell) for cell in row] if spreadsheet else row)


def write_table(
    path: Path, header: Sequence[str], rows: Iterable[Iterable[object]], *, spreadsheet: bool = False
) -> None:
    """Write ``rows`` to the CSV file ``path`` in one step, below ``header``; see ``table_writer``."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as target:
        write = table_writer(target, spreadsheet=spreadsheet)
        write(header)
        for row in rows:
            write(row)


def record_run(run_dir: Path) -> None:
    """Remember ``run_dir``, of a run or of several, as this user's newest."""
    state_dir().mkdir(parents=True, exist_ok=True)
    with (state_dir() / _RECORD).open("a", encoding="utf-8") as record:
        record.write(json.dumps(str(run_dir.resolve())) + "\n")  # a name may hold a line break


def newest_run() -> Path | None:
    """Return the newest recorded run folder, or folder of several runs, that still holds weights, or None."""
    try:
        lines = (state_dir() / _RECORD).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    for line in reversed(lines):
        with suppress(ValueError, TypeError):  # a line that a full disk cut short
            run = Path(json.loads(line))
            if any((run / name).is_file() for name in (WEIGHTS_NAME, SERIES_NAME)):
                return run
    return None
