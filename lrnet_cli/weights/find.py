"""Weight files by name: released networks, run folders and files."""

from pathlib import Path

from lrnet_cli import paths
from lrnet_cli.errors import WeightsError
from lrnet_cli.paths import WEIGHTS_NAME

# The networks in this package, by name: run folders in it.
RELEASED = {name: Path(__file__).parents[1] / "released" / name for name in ("digits", "fashion")}
_DEFAULT = "digits"


def located_weights(name: str) -> str:
    """Return ``name`` unchanged if it is that of a released network, else its absolute path."""
    return name if name in RELEASED else str(Path(name).expanduser().resolve())


def find_weights(name: str | Path | None) -> Path:
    """Return the weight file for ``--weights name``: a released name, a file or a run folder.

    Without a name it is this user's newest run, or the released digits if there is none. A file or folder with
    the name of a released network needs a path such as ``./digits``. Raises ``WeightsError`` if there is none.
    """
    if name is None:
        return (paths.newest_run() or RELEASED[_DEFAULT]) / WEIGHTS_NAME
    if name in RELEASED:
        return RELEASED[name] / WEIGHTS_NAME
    path = Path(name).expanduser()
    if path.is_dir():
        if (path / "series.json").exists() and (runs := sorted(run.parent for run in path.glob(f"*/{WEIGHTS_NAME}"))):
            raise WeightsError(f"{path}: holds {len(runs)} runs; give one of them, such as {runs[0]}.")
        if not (path / WEIGHTS_NAME).exists():
            raise WeightsError(f"{path}: the folder holds no {WEIGHTS_NAME}; give a finished run or a weight file.")
        return path / WEIGHTS_NAME
    if not path.exists():
        raise WeightsError(
            f"{path}: there is no such weight file or run folder, and no released network of that name "
            f"({', '.join(RELEASED)})."
        )
    return path
