"""Files that this tool reads back, and JSON in them, checked against the types that declare what it holds."""

import errno
import json
import stat
from collections.abc import Iterator
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import Any, TypeVar

import msgspec

_Kind = TypeVar("_Kind")
JsonObject = dict[str, Any]
"""A JSON object, to be written, or as it was read."""
_MOST_BYTES = 100_000_000  # of a document, which is held in memory
_LONGEST_LINE = 10_000_000  # characters


def open_regular(path: Path) -> BufferedReader:
    """Open a file with contents for reading; raises ``OSError`` for a pipe, socket or device, which could hang."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "is a folder, pipe or device, not a file", str(path))
    return path.open("rb")


def read_document(path: Path) -> str:
    """Return the UTF-8 text of a file; raises what ``open_regular`` raises, and ``ValueError`` for a huge one."""
    with open_regular(path) as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ValueError(f"is larger than {_MOST_BYTES // 1_000_000} MB")
    return content.decode("utf-8")


def lines_of(path: Path, errors: str = "strict") -> Iterator[str]:
    """Yield the lines of a UTF-8 file, with their ends.

    Raises what ``open_regular`` raises, and ``ValueError`` for a line without end or what is not UTF-8.
    """
    with open_regular(path) as content, TextIOWrapper(content, "utf-8-sig", errors, newline="") as text:
        while line := text.readline(_LONGEST_LINE):
            if len(line) == _LONGEST_LINE:
                raise ValueError(f"has a line of more than {_LONGEST_LINE // 1_000_000} million characters")
            yield line


def loaded(text: str) -> Any:
    """Return the value of the JSON ``text``; raises ``ValueError`` if it has none, or an object a name twice."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error


def _object(pairs: list[tuple[str, object]]) -> JsonObject:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"has {next(name for name in names if names.count(name) > 1)!r} twice")
    return content


def parsed(text: str, kind: type[_Kind]) -> _Kind:
    """Return the JSON ``text`` as a ``kind``, as ``shaped`` does."""
    return shaped(loaded(text), kind)


def shaped(value: object, kind: type[_Kind]) -> _Kind:
    """Return a JSON value as a ``kind``: a dataclass, a ``TypedDict`` or a plain type; other keys are left out.

    Raises ``ValueError`` naming the place and what is wrong there.
    """
    try:
        return msgspec.convert(value, kind, dec_hook=_other)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error


def _other(kind: type, value: object) -> object:
    """Return ``value`` as a ``kind`` that msgspec does not know."""
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise ValueError(f"Expected `{kind.__name__}`, got {value!r}")
