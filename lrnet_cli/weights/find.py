"""Weight files by name: released networks, run folders and files."""

import hashlib
import os
from pathlib import Path

from lrnet_cli import paths
from lrnet_cli.data.walk import natural
from lrnet_cli.documents import open_regular
from lrnet_cli.errors import MissingWeightsError, WeightsError, suggestion
from lrnet_cli.escape import resuming
from lrnet_cli.paths import WEIGHTS_NAME

# The networks in this package, by name: run folders in it.
RELEASED = {name: Path(__file__).parents[1] / "released" / name for name in ("digits", "fashion", "fashion-clean")}
_DEFAULT = "digits"


def located_weights(name: str) -> str:
    """Return ``name`` unchanged if it is that of a released network, else its absolute path."""
    return name if name in RELEASED else str(paths.expanded(name).resolve())


def find_weights(name: str | Path | None) -> Path:
    """Return the weight file for ``--weights name``: a released name, a file or a run folder.

    Without a name it is this user's newest run, or the released digits if there is none. A file or folder with
    the name of a released network needs a path such as ``./digits``. A folder of several runs is returned itself: their
    networks count as one. Raises ``WeightsError`` if there is none.
    """
    if name is None:
        newest = paths.newest_run() or RELEASED[_DEFAULT]
        return newest if is_series(newest) else newest / WEIGHTS_NAME
    if name in RELEASED:
        return RELEASED[name] / WEIGHTS_NAME
    path = paths.expanded(name)
    if is_series(path):
        if not members_of(path):
            raise WeightsError(f"{path}: none of its runs has weights yet; finish it with: {resuming(path)}")
        return path
    if os.path.isdir(path):  # noqa: PTH112
        if not (path / WEIGHTS_NAME).exists():
            raise MissingWeightsError(
                f"{path}: the folder holds no {WEIGHTS_NAME}; give a finished run or a weight file."
            )
        return path / WEIGHTS_NAME
    if not os.path.exists(path):  # noqa: PTH110
        raise MissingWeightsError(
            f"{path}: there is no such weight file or run folder, and no released network of that name "
            f"({', '.join(RELEASED)}).{suggestion(str(name), RELEASED)}"
        )
    return path


def described_weights(path: Path) -> str:
    """Return what to call the weights at ``path``, as ``find_weights`` gives it: an included model by its name."""
    names = (name for name, folder in RELEASED.items() if path == folder / WEIGHTS_NAME)
    return next((f"the included model {name}" for name in names), str(path))


def is_series(path: Path) -> bool:
    """Return whether ``path`` is the folder of several runs, whose networks count as one."""
    return os.path.isfile(path / paths.SERIES_NAME)  # noqa: PTH113 # Path raises an error for a name that is too long


def members_of(series: Path) -> list[Path]:
    """Return the weight files of the runs in a folder of several, in natural order."""
    return sorted(series.glob(f"*/{WEIGHTS_NAME}"), key=lambda path: natural(path.parent.name))


def fingerprint_of(path: Path) -> str:
    """Return the SHA-256 of a weight file, or of those of several runs; raises ``WeightsError`` if it cannot."""
    digest = hashlib.sha256()
    for weights in members_of(path) if is_series(path) else [path]:
        try:
            with open_regular(weights) as file:
                hashlib.file_digest(file, lambda: digest)
        except OSError as error:
            raise WeightsError(f"{weights}: {error.strerror or error}.") from error
    return digest.hexdigest()
