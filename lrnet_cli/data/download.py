"""Downloads of catalog data sets: mirror by mirror, under a lock, and put in place in one step."""

import contextlib
import os
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from filelock import FileLock, Timeout

from lrnet_cli.data.answer import UnavailableError
from lrnet_cli.data.catalog import CatalogEntry, CatalogFile
from lrnet_cli.data.transfer import Transfer, check_content, chunks_of, discard_part, from_path, from_url
from lrnet_cli.errors import DownloadError
from lrnet_cli.paths import drop_leftovers
from lrnet_cli.reporter import OnMessage, OnProgress, silent
from lrnet_cli.settings.mirror import Credentials, without_credentials

_LEAST_SECONDS, _SLOWEST = 300, 50_000  # of a whole download, to which its bytes add what they take at this rate


def check_files(entry: CatalogEntry, data_dir: Path) -> dict[str, str]:
    """Read each file of ``entry`` under ``data_dir`` and return ``ok``, ``missing`` or what is wrong with it."""
    states = {}
    for file in entry.files:
        try:
            with (data_dir / entry.name / file.name).open("rb") as source:
                check_content(chunks_of(source), file)
            states[file.name] = "ok"
        except FileNotFoundError:
            states[file.name] = "missing"
        except (OSError, UnavailableError) as error:
            states[file.name] = str(error)
    return states


def overall_state(states: dict[str, str]) -> Literal["ok", "missing", "incomplete"]:
    """Return the state of a data set, given those of its files from ``check_files``."""
    different = set(states.values())
    return "ok" if different == {"ok"} else "missing" if different == {"missing"} else "incomplete"


def download(
    entry: CatalogEntry,
    data_dir: Path,
    *,
    mirror: str | None = None,
    force: bool = False,
    on_progress: OnProgress = silent,
    on_message: OnMessage = silent,
) -> Path:
    """Bring the files of ``entry`` to ``data_dir/<name>``, uncompressed and checked, and return that folder.

    Files that are present and correct are kept, unless ``force``. ``mirror`` (or ``LRNET_MIRROR``), a URL or a
    folder, replaces the catalog's mirrors. A second process waits for the first. If a file cannot be obtained, the
    others are still downloaded.

    Raises ``DownloadError`` naming every missing file, where it was looked for, and how to provide it.
    """
    folder = data_dir / entry.name
    mirror = mirror or os.environ.get("LRNET_MIRROR")
    source, credentials = _source(mirror) if mirror else (None, None)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder, on_message):
            drop_leftovers(folder.iterdir())
            states = check_files(entry, data_dir)
            end = time.monotonic() + _LEAST_SECONDS + sum(file.size for file in entry.files) / _SLOWEST
            transfer = Transfer(credentials, end, on_progress)
            failures: list[list[str]] = []
            for file in entry.files:
                if states[file.name] == "ok" and not force:
                    discard_part(folder / file.name)  # as of a process that was killed when the file was complete
                    continue
                if states[file.name] not in ("ok", "missing"):
                    on_message(f"{folder / file.name} {states[file.name]}; it is fetched again.")
                reasons = _obtain(file, folder, _locations(entry, file, folder, source), transfer, on_message)
                if reasons:
                    failures.append([f"  {file.name}.gz", *(f"    {reason}" for reason in reasons)])
    except OSError as error:
        where = error.filename or folder
        raise DownloadError(
            f"{entry.name}: cannot write {where}: {error.strerror or error}. Free space or fix permissions, or choose "
            "another folder with --data-dir or LRNET_DATA_DIR, and run the command again; what was downloaded is kept."
        ) from error
    if failures:
        first = "Unset LRNET_OFFLINE" if _is_offline() else "Try again later"
        raise DownloadError(
            f"{entry.name}: {len(failures)} of {len(entry.files)} files could not be obtained:",
            *chain.from_iterable(failures),
            f"{first}, name another source with --mirror, or put the file into {folder} (gzip or not) and "
            "run the command again; what was downloaded is kept.",
        )
    return folder


@contextlib.contextmanager
def _locked(folder: Path, on_message: OnMessage) -> Iterator[None]:
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        on_message(f"Another process is downloading to {folder}; waiting for it.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _is_offline() -> bool:
    return os.environ.get("LRNET_OFFLINE", "0") not in ("", "0")


def _source(mirror: str) -> tuple[str | Path, Credentials | None]:
    """Return the URL or the folder that ``mirror`` names, and the credentials in it.

    Raises ``DownloadError``, which does not repeat what may hold a password, if it names neither.
    """
    try:
        base, credentials = without_credentials(mirror)
        parts = urlsplit(base)
        if parts.scheme in ("http", "https"):
            return base, credentials
        return Path(unquote(parts.path)) if parts.scheme == "file" else Path(base).expanduser(), None
    except (ValueError, RuntimeError):
        raise DownloadError(
            "The mirror (--mirror or LRNET_MIRROR) can be neither a URL nor a folder. In a password, write each of "
            "/ ? # [ ] as % and two digits."
        ) from None


def _locations(entry: CatalogEntry, file: CatalogFile, folder: Path, source: str | Path | None) -> list[str | Path]:
    """Return where to look for ``file``: next to its place, where a user may have put it, then the mirrors."""
    own = [folder / f"{file.name}.gz"] if (folder / f"{file.name}.gz").exists() else []
    if source is None:
        return [*own, *(f"{base.rstrip('/')}/{file.name}.gz" for base in entry.mirrors)]
    names = (prefix + file.name + suffix for prefix in (f"{entry.name}/", "") for suffix in (".gz", ""))
    return [*own, *(source / name if isinstance(source, Path) else f"{source.rstrip('/')}/{name}" for name in names)]


def _obtain(
    file: CatalogFile, folder: Path, locations: list[str | Path], transfer: Transfer, on_message: OnMessage
) -> list[str]:
    """Bring one file into ``folder``; return why each location failed, or nothing if one had the file."""
    reasons = []
    for location in locations:
        try:
            if isinstance(location, Path):
                from_path(location, file, folder, transfer)
            elif _is_offline():
                raise UnavailableError("LRNET_OFFLINE forbids the network")
            else:
                from_url(location, file, folder, transfer, on_message)
            return []
        except UnavailableError as error:
            reasons.append(f"{location}: {error}")
    return reasons
