"""Fetching one file from a server or a folder: resumed where it broke off, retried, unpacked and checked."""

import gzip
import hashlib
import json
import re
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import requests

from lrnet_cli.data.catalog import CatalogFile
from lrnet_cli.paths import replacing, write_text
from lrnet_cli.reporter import OnMessage, OnProgress

_ATTEMPTS = 4
_FIRST_PAUSE = 0.5  # seconds, doubled after every failed attempt
_LONGEST_PAUSE = 30.0  # seconds; a server that asks for more is left for the next mirror
_CONNECT_TIMEOUT = 10.0  # seconds
_READ_TIMEOUT = 30.0  # seconds without a byte
_CHUNK = 1 << 13  # bytes; the most that a broken connection loses
_GZIP_MAGIC, _IDX_MAGIC = b"\x1f\x8b", b"\x00\x00"


class UnavailableError(Exception):
    """A location does not provide the file; its text is the reason."""


class _InterruptedError(Exception):
    """A transfer failed in a way that may be temporary; ``pause`` is the wait the server asked for, in seconds."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


@dataclass(frozen=True)
class Transfer:
    """What the files of a download share: a session, the hosts that cannot be reached, and the progress callback."""

    session: requests.Session
    unreachable: set[str]
    on_progress: OnProgress


def from_path(source: Path, file: CatalogFile, folder: Path, transfer: Transfer) -> None:
    """Bring ``file`` from the file ``source`` to ``folder``; raises ``UnavailableError`` if it is not there."""
    try:
        handle = source.open("rb")
    except OSError as error:
        raise UnavailableError(error.strerror or str(error)) from error
    with handle:
        _place(handle, file, folder)
    transfer.on_progress(file.name, file.size, file.size)


def from_url(url: str, file: CatalogFile, folder: Path, transfer: Transfer, on_message: OnMessage) -> None:
    """Bring ``file`` from ``url`` to ``folder``; raises ``UnavailableError`` if that fails."""
    host = urlsplit(url).netloc
    if host in transfer.unreachable:
        raise UnavailableError("not reachable")
    part = folder / f"{file.name}.part"
    pause = _FIRST_PAUSE
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            resumed = _receive(url, part, file, transfer)
        except _InterruptedError as error:
            wait = pause if error.pause is None else error.pause
            if wait > _LONGEST_PAUSE:
                raise UnavailableError(f"{error}; the server asks to wait {wait:g} s") from error
            if attempt == _ATTEMPTS:
                raise UnavailableError(f"{error} ({attempt} attempts)") from error
            on_message(f"{url}: {error}; trying again in {wait:g} s.")
            time.sleep(wait)
            pause *= 2
            continue
        except requests.ConnectionError as error:
            transfer.unreachable.add(host)
            raise UnavailableError(f"not reachable ({_innermost(error)})") from error
        try:
            with part.open("rb") as handle:
                _place(handle, file, folder)
        except UnavailableError:
            # The content is wrong. A resumed piece may be the cause; after a complete transfer it is the server.
            _discard(part)
            if not resumed:
                raise
            continue
        _discard(part)
        return
    raise UnavailableError("the content stayed wrong after several attempts")


def _receive(url: str, part: Path, file: CatalogFile, transfer: Transfer) -> bool:
    """Bring ``part`` to its full length from ``url``; return whether an earlier piece was continued."""
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
        raise UnavailableError(str(error)) from error
    with response:
        if response.status_code == 416:
            _discard(part)
            raise _InterruptedError("the server does not have the rest of the file", pause=0)
        if response.status_code == 429 or response.status_code >= 500:
            raise _InterruptedError(f"{response.status_code} {response.reason}", _retry_after(response))
        if response.status_code not in (200, 206):
            raise UnavailableError(f"{response.status_code} {response.reason}")
        goes_on = response.status_code == 206 and _range_start(response) == start
        if response.status_code == 206 and not goes_on:
            _discard(part)
            raise _InterruptedError("the server sent a different piece than requested", pause=0)
        start = start if goes_on else 0
        validator = response.headers.get("ETag") or response.headers.get("Last-Modified")
        # A weak ETag does not guarantee equal bytes, so it must not guard a Range.
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
        raise UnavailableError("the server sends more bytes than the file has")
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
        raise UnavailableError("the file is empty")
    else:
        kind = "an HTML page" if re.match(rb"\s*<(!doctype|html|\?xml)", head, re.IGNORECASE) else "something else"
        raise UnavailableError(f"sent {kind} instead of the data file")
    with replacing(folder / file.name) as temporary, temporary.open("wb") as target:
        try:
            check_content(chunks_of(content), file, target)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise UnavailableError(f"the gzip file is truncated or damaged ({error})") from error


def check_content(chunks: Iterator[bytes], file: CatalogFile, copy_to: BinaryIO | None = None) -> None:
    """Check size and hash of a file's content while copying it; raises ``UnavailableError`` on a mismatch."""
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
        raise UnavailableError(
            f"has more than {file.size} bytes" if size > file.size else f"has {size} of {file.size} bytes"
        )
    right = sha256.hexdigest() == file.sha256 if file.sha256 else git_blob.hexdigest() == file.git_blob_sha1
    if not right:
        raise UnavailableError("has the right size but the wrong content (its hash differs from the catalog's)")


def chunks_of(source: BinaryIO) -> Iterator[bytes]:
    """Yield the rest of ``source``, one megabyte at a time."""
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
    """Return the last clause of a nested connection error, the only part that says what happened."""
    return str(error).rsplit(": ", 1)[-1].strip("'\")( ")
