"""Fetching one file from a server or a folder: resumed where it broke off, retried, unpacked and checked."""

import gzip
import hashlib
import json
import re
import time
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from http.client import responses
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import requests

from lrnet_cli.data.answer import (
    CHUNK,
    BrokenOffError,
    Patience,
    SilentError,
    UnavailableError,
    UnreachableError,
    answered,
)
from lrnet_cli.data.catalog import CatalogFile
from lrnet_cli.documents import open_regular, parsed
from lrnet_cli.paths import replacing, write_text
from lrnet_cli.reporter import OnMessage, OnProgress
from lrnet_cli.settings.mirror import Credentials

_ATTEMPTS = 4
_FIRST_PAUSE = 0.5  # seconds, doubled after every failed attempt
_LONGEST_PAUSE = 30.0  # seconds; a server that asks for more is left for the next mirror
_GZIP_MAGIC, _IDX_MAGIC = b"\x1f\x8b", b"\x00\x00"


@dataclass(frozen=True)
class Transfer:
    """What the files of a download share: credentials, its end by ``time.monotonic``, and the progress callback.

    ``patience`` is that with each host, and ``unreachable`` are the hosts of no use.
    """

    credentials: Credentials | None
    end: float
    on_progress: OnProgress
    patience: dict[str, Patience] = field(default_factory=dict)
    unreachable: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class _Note:
    """Where a piece of a file is from, and what tells whether the rest still belongs to it."""

    url: str = ""
    validator: str | None = None


def from_path(source: Path, file: CatalogFile, folder: Path, transfer: Transfer) -> None:
    """Bring ``file`` from the file ``source`` to ``folder``; raises ``UnavailableError`` if it is not there."""
    try:
        handle = open_regular(source)
    except OSError as error:
        raise UnavailableError(error.strerror or str(error)) from error
    with handle:
        _place(handle, file, folder)
    transfer.on_progress(file.name, file.size, file.size)


def from_url(url: str, file: CatalogFile, folder: Path, transfer: Transfer, on_message: OnMessage) -> None:
    """Bring ``file`` from ``url`` to ``folder``; raises ``UnavailableError`` if that fails."""
    host = urlsplit(url).netloc
    if host in transfer.unreachable:
        raise UnavailableError("not asked again")
    if time.monotonic() >= transfer.end:
        raise UnavailableError("not asked, since the download has taken too long")
    try:
        _persist(url, file, folder, transfer, on_message)
    except UnreachableError:
        transfer.unreachable.add(host)
        raise


def _persist(url: str, file: CatalogFile, folder: Path, transfer: Transfer, on_message: OnMessage) -> None:
    part = _part_of(folder / file.name)
    patience = transfer.patience.setdefault(urlsplit(url).netloc, Patience(transfer.end))
    pause = _FIRST_PAUSE
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            resumed = _receive(url, part, file, transfer, patience)
        except BrokenOffError as error:
            wait = pause if error.pause is None else error.pause
            if wait > _LONGEST_PAUSE:
                raise UnavailableError(f"{error}; the server asks to wait {wait:g} s") from error
            is_over = time.monotonic() + wait >= patience.end
            if attempt == _ATTEMPTS or is_over:
                kind = UnreachableError if is_over or isinstance(error, SilentError) else UnavailableError
                raise kind(f"{error} ({attempt} attempts)") from error
            on_message(f"{url}: {error}; trying again in {wait:g} s.")
            time.sleep(wait)
            pause *= 2
            continue
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
        patience.renew()
        return
    raise UnavailableError("the content stayed wrong after several attempts")


def _receive(url: str, part: Path, file: CatalogFile, transfer: Transfer, patience: Patience) -> bool:
    """Bring ``part`` to its full length from ``url``; return whether an earlier piece was continued."""
    if part.is_symlink() or _note_of(part).is_symlink():
        _discard(part)  # what it points to is not ours to write
    start, headers = 0, {"Accept-Encoding": "identity"}
    known = _read_note(_note_of(part))
    if part.exists() and known.url == url:
        start = part.stat().st_size
        if start:
            headers["Range"] = f"bytes={start}-"
            if known.validator:
                headers["If-Range"] = known.validator
    with answered(url, headers, transfer.credentials, patience) as (head, chunks):
        goes_on = _goes_on(head, start, part)
        write_text(_note_of(part), json.dumps(asdict(_Note(url, _validator(head)))))
        length = _number(head.headers.get("Content-Length", ""))
        total = None if length is None else length + (start if goes_on else 0)
        with part.open("ab" if goes_on else "wb") as target:
            for chunk in chunks:
                target.write(chunk)
                if target.tell() > file.size + CHUNK:
                    break
                transfer.on_progress(file.name, target.tell(), total)
    if part.stat().st_size > file.size + CHUNK:
        _discard(part)
        raise UnavailableError("the server sends more bytes than the file has")
    return goes_on


def _goes_on(head: requests.Response, start: int, part: Path) -> bool:
    """Return whether an answer goes on with ``part`` at byte ``start``; raises an error where it is of no use."""
    status = head.status_code
    if status == 416:
        _discard(part)
        raise BrokenOffError("the server does not have the rest of the file", pause=0)
    if status not in (200, 206):
        reason = f"{status} {responses.get(status, '')}".strip()
        if status == 429 or status >= 500:
            raise BrokenOffError(reason, _number(head.headers.get("Retry-After", "")))
        raise UnavailableError(reason)
    piece = re.match(r"bytes (\d+)-", head.headers.get("Content-Range", ""))
    if status == 206 and (piece is None or _number(piece[1]) != start):
        _discard(part)
        raise BrokenOffError("the server sent a different piece than requested", pause=0)
    return status == 206


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


def discard_part(file: Path) -> None:
    """Delete what an unfinished download of ``file`` has left."""
    _discard(_part_of(file))


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note_of(part).unlink(missing_ok=True)


def _part_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.part")


def _note_of(part: Path) -> Path:
    return part.with_suffix(".part.json")


def _read_note(note: Path) -> _Note:
    try:
        return parsed(note.read_text(encoding="utf-8"), _Note)
    except (OSError, ValueError):
        return _Note()


def _validator(head: requests.Response) -> str | None:
    """Return what tells whether a file is still the same, if there is any, in a form that can be sent back."""
    validator = head.headers.get("ETag") or head.headers.get("Last-Modified")
    # A weak ETag does not guarantee equal bytes, so it must not guard a Range.
    if validator is None or validator.startswith("W/") or not (validator.isascii() and validator.isprintable()):
        return None
    return validator


def _number(text: str) -> int | None:
    """Return the number in a header, None if it is none or absurdly long."""
    return int(text) if text.isdecimal() and len(text) <= 15 else None
