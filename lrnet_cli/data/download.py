"""Downloads of catalog data sets: mirrors in order, resumed, retried, locked, checked, and put in place in one step."""

import contextlib
import gzip
import hashlib
import json
import os
import re
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal
from urllib.parse import unquote, urlsplit

import requests
from filelock import FileLock, Timeout

from lrnet_cli.data.catalog import CatalogEntry, CatalogFile
from lrnet_cli.errors import DownloadError
from lrnet_cli.paths import replacing, write_text

_ATTEMPTS = 4
_FIRST_PAUSE = 0.5  # seconds, doubled after every failed attempt
_LONGEST_PAUSE = 30.0  # seconds; a server that asks for more is left for the next mirror
_CONNECT_TIMEOUT = 10.0  # seconds
_READ_TIMEOUT = 30.0  # seconds without a byte
_CHUNK = 1 << 13  # bytes; what a broken connection loses at most
_GZIP_MAGIC, _IDX_MAGIC = b"\x1f\x8b", b"\x00\x00"

OnProgress = Callable[[str, int, int | None], None]
"""Called with a file's name, the bytes that have arrived and the bytes to come in all (None if not known)."""
OnMessage = Callable[[str], None]


def silent(*_: object) -> None:
    """Tell nobody."""


class _UnavailableError(Exception):
    """A location does not give the file; its text is the reason."""


class _InterruptedError(Exception):
    """A transfer failed in a way that may pass; ``pause`` is what the server asked to wait, in seconds."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


@dataclass(frozen=True)
class _Transfer:
    session: requests.Session
    unreachable: set[str]
    on_progress: OnProgress


def check_files(entry: CatalogEntry, data_dir: Path) -> dict[str, str]:
    """Return ``ok``, ``missing`` or what is wrong, for each file of ``entry`` under ``data_dir``, by reading it."""
    states = {}
    for file in entry.files:
        try:
            with (data_dir / entry.name / file.name).open("rb") as source:
                _check(_chunks(source), file)
            states[file.name] = "ok"
        except FileNotFoundError:
            states[file.name] = "missing"
        except (OSError, _UnavailableError) as error:
            states[file.name] = str(error)
    return states


def overall_state(states: dict[str, str]) -> Literal["ok", "missing", "incomplete"]:
    """Return what the states of a data set's files, from ``check_files``, come to."""
    found = set(states.values())
    return "ok" if found == {"ok"} else "missing" if found == {"missing"} else "incomplete"


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

    Files that are there and right stay as they are, unless ``force``. ``mirror`` (or ``LRNET_MIRROR``), a URL or a
    folder, takes the place of the catalog's mirrors. A second process waits for the first. A file that cannot be had
    does not keep the others from arriving.

    Raises ``DownloadError`` that names every missing file, where it was sought, and how to provide it.
    """
    folder = data_dir / entry.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder, on_message), requests.Session() as session:
            for leftover in folder.glob("*.tmp"):
                leftover.unlink()
            states = check_files(entry, data_dir)
            transfer = _Transfer(session, set(), on_progress)
            failures = []
            for file in entry.files:
                if states[file.name] == "ok" and not force:
                    continue
                if states[file.name] not in ("ok", "missing"):
                    on_message(f"{folder / file.name} {states[file.name]}; it is fetched again.")
                reasons = _obtain(file, folder, _locations(entry, file, folder, mirror), transfer, on_message)
                if reasons:
                    failures.append("\n    ".join([f"\n  {file.name}.gz", *reasons]))
    except OSError as error:
        where = error.filename or folder
        raise DownloadError(
            f"{entry.name}: cannot write {where}: {error.strerror or error}. Make room or rights there, or choose "
            "another folder with --data-dir or LRNET_DATA_DIR, and run the command again; what has arrived is kept."
        ) from error
    if failures:
        raise DownloadError(
            f"{entry.name}: {len(failures)} of {len(entry.files)} files could not be had:{''.join(failures)}\n"
            f"Try again later, name another source with --mirror, or put the file into {folder} (gzip or not) and "
            "run the command again; what has arrived is kept."
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


def _locations(entry: CatalogEntry, file: CatalogFile, folder: Path, mirror: str | None) -> list[str | Path]:
    """Return where to look for ``file``: what a user put beside it, then the mirrors."""
    mirror = mirror or os.environ.get("LRNET_MIRROR")
    if mirror:
        names = [prefix + file.name + suffix for prefix in (f"{entry.name}/", "") for suffix in (".gz", "")]
        bases: tuple[str, ...] = (mirror,)
    else:
        names, bases = [file.name + ".gz"], entry.mirrors
    locations: list[str | Path] = [folder / f"{file.name}.gz"] if (folder / f"{file.name}.gz").exists() else []
    for base in bases:
        parts = urlsplit(base)
        for name in names:
            if parts.scheme in ("http", "https"):
                locations.append(f"{base.rstrip('/')}/{name}")
            elif parts.scheme == "file":
                locations.append(Path(unquote(parts.path)) / name)
            else:
                locations.append(Path(base).expanduser() / name)
    return locations


def _obtain(
    file: CatalogFile, folder: Path, locations: list[str | Path], transfer: _Transfer, on_message: OnMessage
) -> list[str]:
    """Bring one file into ``folder``; return why each location failed, or nothing when one gave the file."""
    reasons = []
    for location in locations:
        try:
            if isinstance(location, Path):
                _from_path(location, file, folder, transfer)
            elif os.environ.get("LRNET_OFFLINE", "0") not in ("", "0"):
                raise _UnavailableError("LRNET_OFFLINE forbids the network")
            else:
                _from_url(location, file, folder, transfer, on_message)
            return []
        except _UnavailableError as error:
            reasons.append(f"{location}: {error}")
    return reasons


def _from_path(source: Path, file: CatalogFile, folder: Path, transfer: _Transfer) -> None:
    try:
        handle = source.open("rb")
    except OSError as error:
        raise _UnavailableError(error.strerror or str(error)) from error
    with handle:
        _place(handle, file, folder)
    transfer.on_progress(file.name, file.size, file.size)


def _from_url(url: str, file: CatalogFile, folder: Path, transfer: _Transfer, on_message: OnMessage) -> None:
    host = urlsplit(url).netloc
    if host in transfer.unreachable:
        raise _UnavailableError("not reachable")
    part = folder / f"{file.name}.part"
    pause = _FIRST_PAUSE
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            resumed = _receive(url, part, file, transfer)
        except _InterruptedError as error:
            wait = pause if error.pause is None else error.pause
            if wait > _LONGEST_PAUSE:
                raise _UnavailableError(f"{error}; the server asks to wait {wait:g} s") from error
            if attempt == _ATTEMPTS:
                raise _UnavailableError(f"{error} ({attempt} attempts)") from error
            on_message(f"{url}: {error}; trying again in {wait:g} s.")
            time.sleep(wait)
            pause *= 2
            continue
        except requests.ConnectionError as error:
            transfer.unreachable.add(host)
            raise _UnavailableError(f"not reachable ({_innermost(error)})") from error
        try:
            with part.open("rb") as handle:
                _place(handle, file, folder)
        except _UnavailableError:
            # What came is not the file. A resumed piece may be to blame, a whole transfer is the server's word.
            _discard(part)
            if not resumed:
                raise
            continue
        _discard(part)
        return
    raise _UnavailableError("the content stayed wrong after several attempts")


def _receive(url: str, part: Path, file: CatalogFile, transfer: _Transfer) -> bool:
    """Bring ``part`` to its full length from ``url``; return whether an earlier piece was built upon."""
    note = part.with_suffix(".part.json")
    start, headers = 0, {"Accept-Encoding": "identity"}
    known = _read_note(note)
    if part.exists() and known.get("url") == url:
        start = part.stat().st_size
        if start:
            headers["Range"] = f"bytes={start}-"
            if known.get("validator"):
                headers["If-Range"] = known["validator"]
    try:
        response = transfer.session.get(url, headers=headers, stream=True, timeout=(_CONNECT_TIMEOUT, _READ_TIMEOUT))
    except requests.Timeout as error:
        raise _InterruptedError("the server does not answer") from error
    except requests.ConnectionError as error:
        if "RemoteDisconnected" in repr(error) or "ConnectionReset" in repr(error):
            raise _InterruptedError("the server closed the connection") from error
        raise
    except requests.RequestException as error:
        raise _UnavailableError(str(error)) from error
    with response:
        if response.status_code == 416:
            _discard(part)
            raise _InterruptedError("the server does not have the rest of the file", pause=0)
        if response.status_code == 429 or response.status_code >= 500:
            raise _InterruptedError(f"{response.status_code} {response.reason}", _retry_after(response))
        if response.status_code not in (200, 206):
            raise _UnavailableError(f"{response.status_code} {response.reason}")
        goes_on = response.status_code == 206 and _range_start(response) == start
        if response.status_code == 206 and not goes_on:
            _discard(part)
            raise _InterruptedError("the server sent another piece than was asked for", pause=0)
        start = start if goes_on else 0
        validator = response.headers.get("ETag") or response.headers.get("Last-Modified")
        # A weak ETag promises no equal bytes, so it must not guard a Range.
        strong = validator if validator and not validator.startswith("W/") else None
        write_text(note, json.dumps({"url": url, "validator": strong}))
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() else None
        with part.open("ab" if goes_on else "wb") as target:
            try:
                for chunk in response.iter_content(_CHUNK):
                    target.write(chunk)
                    if target.tell() > file.size + _CHUNK:
                        break
                    transfer.on_progress(file.name, target.tell(), total)
            except requests.Timeout as error:
                raise _InterruptedError(f"no data for {_READ_TIMEOUT:g} s") from error
            except requests.RequestException as error:
                reason = f"no data for {_READ_TIMEOUT:g} s" if "timed out" in str(error) else "the connection broke off"
                raise _InterruptedError(f"{reason} after {target.tell()} bytes") from error
    if part.stat().st_size > file.size + _CHUNK:
        _discard(part)
        raise _UnavailableError("the server sends more bytes than the file has")
    return goes_on


def _place(source: BinaryIO, file: CatalogFile, folder: Path) -> None:
    """Unpack ``source`` if it is gzip, check its content and put it into ``folder`` in one step."""
    head = source.read(512)
    source.seek(0)
    if head.startswith(_GZIP_MAGIC):
        content: BinaryIO = gzip.GzipFile(fileobj=source)  # type: ignore[assignment]  # it reads as a BinaryIO does
    elif head.startswith(_IDX_MAGIC):
        content = source
    elif not head:
        raise _UnavailableError("the file is empty")
    else:
        kind = "an HTML page" if re.match(rb"\s*<(!doctype|html|\?xml)", head, re.IGNORECASE) else "something else"
        raise _UnavailableError(f"sent {kind} instead of the data file")
    with replacing(folder / file.name) as temporary, temporary.open("wb") as target:
        try:
            _check(_chunks(content), file, target)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise _UnavailableError(f"the gzip file is truncated or damaged ({error})") from error


def _check(chunks: Iterator[bytes], file: CatalogFile, copy_to: BinaryIO | None = None) -> None:
    """Check size and hash of a file's content while copying it; raises ``_UnavailableError`` if it is not the file."""
    size, sha256 = 0, hashlib.sha256()
    git_blob = hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
    for chunk in chunks:
        size += len(chunk)
        if size > file.size:
            break
        sha256.update(chunk) if file.sha256 else git_blob.update(chunk)
        if copy_to:
            copy_to.write(chunk)
    if size != file.size:
        raise _UnavailableError(
            f"has more than {file.size} bytes" if size > file.size else f"has {size} of {file.size} bytes"
        )
    right = sha256.hexdigest() == file.sha256 if file.sha256 else git_blob.hexdigest() == file.git_blob_sha1
    if not right:
        raise _UnavailableError("has the right size but not the content of the catalog (hash differs)")


def _chunks(source: BinaryIO) -> Iterator[bytes]:
    while chunk := source.read(1 << 20):
        yield chunk


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    part.with_suffix(".part.json").unlink(missing_ok=True)


def _read_note(note: Path) -> dict[str, str]:
    try:
        content = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _range_start(response: requests.Response) -> int | None:
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _retry_after(response: requests.Response) -> float | None:
    seconds = response.headers.get("Retry-After", "")
    return float(seconds) if seconds.isdecimal() else None


def _innermost(error: BaseException) -> str:
    """Return the last clause of a nested connection error, which alone says what happened."""
    return str(error).rsplit(": ", 1)[-1].strip("'\")( ")
