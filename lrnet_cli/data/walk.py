"""Images below a folder, one folder at a time, and what else lies there."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from lrnet_cli.data.files import IMAGE_SUFFIXES

# What systems put into folders of images: previews, resource forks, bins.
_SYSTEM_FOLDERS = {"@eadir", "__macosx", "$recycle.bin", "system volume information", "lost+found", "thumbnails"}
_SYSTEM_FILES = {"thumbs.db", "desktop.ini"}


def is_ignored(name: str) -> bool:
    """Return whether a file or folder called ``name`` is hidden, or is the system's and not the user's."""
    return name.startswith(".") or name.casefold() in _SYSTEM_FOLDERS | _SYSTEM_FILES


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key that sorts names as people do: ``2`` before ``10``."""
    return tuple(map(_natural, re.findall(r"\d+|\D+", name)))


def _natural(part: str) -> tuple[int, int, str]:
    digits = part.lstrip("0")  # the longer number is the larger one; it may have more digits than Python reads
    return (0, len(digits), f"{digits} {part}") if part.isdecimal() else (1, 0, part)


def images_below(folder: Path, left_out: Counter[str] | None = None) -> Iterator[Path]:
    """Yield files with an image's suffix in ``folder`` and below, in natural order, holding one folder's names.

    Hidden files, links to folders and what systems put there are passed by; ``left_out`` counts links to folders and
    files of other kinds. A folder that cannot be read is itself yielded, to be reported as an error.
    """
    left_out = Counter() if left_out is None else left_out
    waiting = [(folder, True)]  # a stack, with what comes first on top: folders may be nested by the thousand
    while waiting:
        path, is_folder = waiting.pop()
        if is_folder:
            waiting += reversed(_listed(path, left_out))
        else:
            yield path


def _listed(folder: Path, left_out: Counter[str]) -> list[tuple[Path, bool]]:
    """Return the images and folders in ``folder``, and which of them are folders to be listed in turn."""
    listing = []
    try:
        with os.scandir(folder) as entries:
            listed = sorted(
                (
                    (entry.name, entry.is_dir(follow_symlinks=False), entry.is_symlink())
                    for entry in entries
                    if not is_ignored(entry.name)
                ),
                key=lambda item: natural(item[0]),
            )
    except OSError:
        return [(folder, False)]
    for name, is_folder, is_link in listed:
        suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 # several times as fast as Path
        if is_folder:
            listing.append((folder / name, True))
        elif is_link and (folder / name).is_dir():
            left_out["links to folders"] += 1
        elif suffix in IMAGE_SUFFIXES:
            listing.append((folder / name, False))
        else:
            left_out[f"{suffix} files" if suffix else "files without a suffix"] += 1
    return listing
