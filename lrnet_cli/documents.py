"""JSON that this tool reads back, checked against the types that declare what it holds."""

import json
from pathlib import Path
from typing import Any, TypeVar

import msgspec

_Document = TypeVar("_Document")


def loaded(text: str) -> Any:
    """Return the value of the JSON ``text``; raises ``ValueError`` if it has none."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error


def parsed(text: str, kind: type[_Document]) -> _Document:
    """Return the JSON ``text`` as a ``kind``, as ``shaped`` does."""
    return shaped(loaded(text), kind)


def shaped(value: object, kind: type[_Document]) -> _Document:
    """Return a JSON value as a ``kind``: a dataclass, a ``TypedDict`` or a plain type; other keys are left out.

    Raises ``ValueError`` naming the place and what is wrong there.
    """
    try:
        return msgspec.convert(value, kind, dec_hook=_other)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error


def _other(kind: type[Any], value: Any) -> Any:
    """Return ``value`` as a ``kind`` that msgspec does not know."""
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise ValueError(f"Expected `{kind.__name__}`, got {value!r}")
