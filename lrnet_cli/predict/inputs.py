"""Which image files the inputs of a prediction refer to."""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from lrnet_cli import paths
from lrnet_cli.data.files import IMAGE_SUFFIXES
from lrnet_cli.data.walk import images_below
from lrnet_cli.errors import UsageError

# Images in this package. `lrnet predict samples` is these, unless the user has a file or folder of that name.
SAMPLES = Path(__file__).parents[1] / "samples"


def find_inputs(inputs: Iterable[str], left_out: Counter[str] | None = None) -> Iterator[Path]:
    """Yield the image files that ``inputs`` refer to, in order; a path that does not exist is yielded unchanged.

    ``left_out`` counts what else lies in folders, as ``images_below`` does. Raises ``UsageError`` for a folder or
    pattern without images.
    """
    for text in inputs:
        if text == "-":
            # Bytes that the encoding does not know stay as they are.
            lines = (line.decode(sys.stdin.encoding, "surrogateescape").rstrip("\r\n") for line in sys.stdin.buffer)
            yield from (Path(line) for line in lines if line)
            continue
        path = paths.expanded(text)
        if text == SAMPLES.name and not os.path.exists(path):  # noqa: PTH110
            path = SAMPLES
        # Path raises an error for a name that is too long, which becomes that input's error instead.
        if os.path.isdir(path):  # noqa: PTH112
            files = images_below(path, left_out)
        elif not os.path.exists(path) and any(mark in text for mark in "*?["):  # noqa: PTH110
            files = iter(_matching(path, text))
        else:
            yield path
            continue
        first = next(files, None)
        if first is None:
            raise UsageError(f"{text}: no images found ({', '.join(sorted(IMAGE_SUFFIXES))}).")
        yield first
        yield from files


def _matching(path: Path, text: str) -> list[Path]:
    try:
        pattern = str(path.relative_to(path.anchor))
        return sorted(p for p in Path(path.anchor or ".").glob(pattern) if not p.is_dir())
    except (ValueError, OSError) as error:
        raise UsageError(f"{text}: is not a pattern that can be searched for: {error}.") from error


def shown(path: Path) -> str:
    r"""Return ``path`` as text, short for a sample; bytes that are not UTF-8 appear as ``\xNN``."""
    path = path.relative_to(SAMPLES.parent) if path.parent == SAMPLES else path
    return os.fsencode(path).decode("utf-8", "backslashreplace")
