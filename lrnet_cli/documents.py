"""Files that this tool reads back, and JSON in them, checked against the types that declare what it holds."""

import errno
import json
import stat
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar

import msgspec

_Kind = TypeVar("_Kind")
JsonObject = dict[str, Any]
"""A JSON object, to be written, or as it was read."""
_MOST_BYTES = 100_000_000  # of a document, which is held in memory


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


def loaded(text: str) -> Any:
    """Return the value of the JSON ``text``; raises ``ValueError`` if it has none."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error


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
