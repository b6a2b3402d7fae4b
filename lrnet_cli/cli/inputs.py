"""Which pictures the inputs of a command refer to."""

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from lrnet_cli.errors import UsageError


def find_inputs(inputs: Iterable[str]) -> Iterator[Path]:
    """Yield the picture files that ``inputs`` refer to, in order; a path that does not exist is yielded unchanged.

    Raises ``UsageError`` for a folder or pattern without pictures.
    """
    from lrnet_cli.data.files import IMAGE_SUFFIXES  # loads Pillow
    from lrnet_cli.data.walk import pictures_below

    for text in inputs:
        if text == "-":
            lines = (line.rstrip("\n").rstrip("\r") for line in sys.stdin)
            yield from (Path(line) for line in lines if line)
            continue
        path = Path(text).expanduser()
        if path.is_dir():
            found = pictures_below(path)
        elif not path.exists() and any(mark in text for mark in "*?["):
            anchor = Path(path.anchor or ".")
            found = iter(sorted(p for p in anchor.glob(str(path.relative_to(path.anchor))) if not p.is_dir()))
        else:
            yield path
            continue
        first = next(found, None)
        if first is None:
            raise UsageError(f"{text}: no pictures found ({', '.join(sorted(IMAGE_SUFFIXES))}).")
        yield first
        yield from found


def shown(path: Path) -> str:
    r"""Return ``path`` as text; bytes that are not UTF-8 appear as ``\xNN``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
