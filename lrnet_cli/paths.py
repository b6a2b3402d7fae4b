"""Which folders belong to this user, how files get into them, and which run is the newest."""

import csv
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_cache_path, user_state_path

WEIGHTS_NAME = "model.safetensors"  # of a run folder
SERIES_NAME = "series.json"  # of a folder with several runs
_RECORD = "runs.txt"


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
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` in one step (UTF-8)."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_table(path: Path, header: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Write ``rows`` to the CSV file ``path`` in one step, below ``header``."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(header)
    table.writerows(rows)
    write_text(path, text.getvalue())


def record_run(run_dir: Path) -> None:
    """Remember ``run_dir``, of a run or of several, as this user's newest."""
    state_dir().mkdir(parents=True, exist_ok=True)
    with (state_dir() / _RECORD).open("a", encoding="utf-8", errors="surrogateescape") as record:
        record.write(f"{run_dir.resolve()}\n")


def newest_run() -> Path | None:
    """Return the newest recorded run folder, or folder of several runs, that still holds weights, or None."""
    try:
        lines = (state_dir() / _RECORD).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except FileNotFoundError:
        return None
    return next(
        (
            Path(line)
            for line in reversed(lines)
            if any((Path(line) / name).is_file() for name in (WEIGHTS_NAME, SERIES_NAME))
        ),
        None,
    )
