"""Pictures below a folder, one folder at a time."""

import os
from collections.abc import Iterator
from pathlib import Path

from lrnet_cli.data.images import IMAGE_SUFFIXES


def pictures_below(folder: Path) -> Iterator[Path]:
    """Yield files with a picture's suffix in ``folder`` and below, sorted, holding one folder's names at a time.

    Links to folders are not followed. A folder that cannot be read is itself yielded, to be reported as an error.
    """
    try:
        with os.scandir(folder) as entries:
            listed = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    except OSError:
        yield folder
        return
    for name, is_folder in listed:
        if is_folder:
            yield from pictures_below(folder / name)
        elif Path(name).suffix.lower() in IMAGE_SUFFIXES and not (folder / name).is_dir():
            yield folder / name
