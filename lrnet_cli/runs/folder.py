"""The run folder: writing and reading the output of a training run."""

import csv
import io
import json
import math
import platform
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import MISSING, asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal, NotRequired, TypedDict, TypeVar

import torch
from msgspec import Meta

from lrnet_cli import __version__, paths
from lrnet_cli.data.reading import Skipped
from lrnet_cli.documents import JsonObject, parsed, read_document, shaped
from lrnet_cli.errors import DataError, RunFolderError, TrainingError, UsageError
from lrnet_cli.escape import resuming
from lrnet_cli.reporter import EpochRow, Reporter
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.settings.record import from_plain, to_plain

_CONFIG_SCHEMA, _SERIES_SCHEMA = "lrnet.config/1", "lrnet.series/1"

MOST_RUNS = 1000  # of a series
_MOST_DRAWN = 1e38  # about the largest loss in float32

Status = Literal["interrupted", "unfinished", "testing", "finished"]
"""How far a run has got: stopped before its end; out of time after too few steps; trained, but the test images not read
yet; done."""


@dataclass(frozen=True)
class _RunDocument:
    """``config.json``, as far as it is read back."""

    settings: JsonObject
    versions: dict[str, str]


@dataclass(frozen=True)
class _SeriesDocument:
    """``series.json``."""

    settings: JsonObject
    runs: Annotated[int, Meta(ge=1, le=MOST_RUNS)]
    folds: Annotated[int, Meta(ge=2)] | None


_Document = TypeVar("_Document", _RunDocument, _SeriesDocument)
_Share = Annotated[float, Meta(ge=0, le=1)]
_Count = Annotated[int, Meta(ge=0, le=2**53)]
_Speed = Annotated[float, Meta(ge=0, le=1e15)]


class Figures(TypedDict):
    """What ``result.json`` of a finished run says that other commands read."""

    run_dir: str
    weights: str
    dataset: str
    device: str
    seed: _Count
    epochs: Annotated[int, Meta(ge=1, le=2**53)]
    best_epoch: _Count
    val_accuracy: _Share
    test_images: _Count
    test_accuracy: _Share | None
    test_accuracy_ci95: tuple[_Share, _Share] | None
    test_images_per_second: _Speed | None
    train_images_per_second: _Speed
    parameters: _Count
    multiply_adds: _Count
    seconds: _Speed


class _Result(TypedDict):
    """``result.json``, as far as that of any run or series is read back."""

    status: Status
    test_reads: NotRequired[_Count]


def create_run_dir(config: TrainConfig, dataset_name: str) -> Path:
    """Create the run folder of ``config`` and return it; raises ``RunFolderError`` if it exists with contents."""
    run_dir = config.out or Path("runs") / f"{dataset_name}-{config.arch}-{time.strftime('%Y%m%d-%H%M%S')}"
    candidate, count = run_dir, 1
    while True:
        try:
            candidate.mkdir(parents=True, exist_ok=config.out is not None)
            break
        except OSError as error:
            # Two runs may start in the same second; a name that the user chose is never altered.
            if config.out is not None or not isinstance(error, FileExistsError) or not candidate.is_dir():
                raise _unusable(candidate, error) from error
        count += 1
        candidate = run_dir.with_name(f"{run_dir.name}-{count}")
    check_run_dir(candidate)
    return candidate


def check_run_dir(run_dir: Path) -> None:
    """Raise ``RunFolderError`` if ``run_dir``, the folder of a new run, exists with contents or cannot be made.

    What a killed process leaves that had not yet written what it was does not count.
    """
    try:
        names = {path.name for path in run_dir.iterdir()} if run_dir.exists() else set[str]()
        existing = next(folder for folder in (run_dir.absolute(), *run_dir.absolute().parents) if folder.exists())
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise _unusable(run_dir, error) from error
    if names & {"config.json", paths.SERIES_NAME}:
        raise RunFolderError(
            f"{run_dir}: holds a run already; continue it with: {resuming(run_dir)} (or choose another folder with "
            "--out)"
        )
    if not all(_is_leftover(path.relative_to(run_dir)) and not path.is_symlink() for path in run_dir.rglob("*")):
        raise RunFolderError(
            f"{run_dir}: the folder is not empty; choose another with --out, or continue a run with --resume."
        )


def drop_refused(run_dir: Path) -> None:
    """Delete ``run_dir`` if it holds no more than the settings of a run or a series that was refused."""
    found = sorted(run_dir.rglob("*"), reverse=True)  # what is in a folder comes before it
    known = ("config.json", paths.SERIES_NAME)
    if all(path.relative_to(run_dir).as_posix() in known or _is_leftover(path.relative_to(run_dir)) for path in found):
        with suppress(OSError):  # a link, or the working folder, is left, but empty
            for path in found:
                (path.rmdir if path.is_dir() else path.unlink)()
            run_dir.rmdir()


def recovery_hint(folder: Path | None) -> str:
    """Return a sentence that says how the run or the series in ``folder`` goes on, if it began."""
    if folder is None or not any((folder / name).exists() for name in ("config.json", paths.SERIES_NAME)):
        return "Training had not started."
    return f"Resume with: {resuming(folder)}"


@contextmanager
def write_errors_named(folder: Path) -> Iterator[None]:
    """Raise ``TrainingError`` for a file of the run or the series in ``folder`` that cannot be written."""
    try:
        yield
    except OSError as error:
        raise TrainingError(
            f"{error.filename or folder}: cannot be written ({error.strerror or error}). Free space or fix "
            f"permissions. {recovery_hint(folder)}"
        ) from error


def _unusable(run_dir: Path, error: OSError) -> RunFolderError:
    return RunFolderError(f"{run_dir}: cannot be the run folder ({error.strerror}); choose another with --out.")


def _is_leftover(path: Path) -> bool:
    return path.as_posix() in ("checkpoint", "checkpoint/.lock") or paths.is_leftover(path)


def versions() -> dict[str, str]:
    """Return the versions that results may depend on."""
    packages = {name: version(name) for name in ("numpy", "pillow", "safetensors")}
    # torch.__version__ includes the build, as in 2.9.1+cu130.
    return {"lrnet_cli": __version__, "python": platform.python_version(), "torch": torch.__version__} | packages


def write_config(run_dir: Path, config: TrainConfig, **resolved: object) -> None:
    """Write ``config.json``: the settings, what they resolved to, and the versions."""
    content = {"schema": _CONFIG_SCHEMA, "settings": to_plain(config), "resolved": resolved, "versions": versions()}
    paths.write_text(run_dir / "config.json", json.dumps(content, indent=2) + "\n")


def read_config(run_dir: Path) -> tuple[TrainConfig, dict[str, str]]:
    """Return the settings of the run in ``run_dir`` and the versions it started with.

    Raises ``TrainingError`` if the folder holds no run that can be resumed.
    """
    config, document = _read_settings(run_dir / "config.json", _CONFIG_SCHEMA, _RunDocument)
    return config, document.versions


def write_series(folder: Path, config: TrainConfig, runs: int, folds: int | None) -> None:
    """Write ``series.json``: the settings of ``runs`` runs, and the number of ``folds`` of each."""
    content = {"schema": _SERIES_SCHEMA, "runs": runs, "folds": folds, "settings": to_plain(config)}
    paths.write_text(folder / paths.SERIES_NAME, json.dumps(content, indent=2) + "\n")


def read_series(folder: Path) -> tuple[TrainConfig, int, int | None]:
    """Return what ``write_series`` wrote to ``folder``; raises ``TrainingError`` if it cannot be used."""
    config, document = _read_settings(folder / paths.SERIES_NAME, _SERIES_SCHEMA, _SeriesDocument)
    return config, document.runs, document.folds


def _read_settings(path: Path, schema: str, kind: type[_Document]) -> tuple[TrainConfig, _Document]:
    """Return the settings in the JSON file ``path``, and all of it."""
    try:
        content = parsed(read_document(path), JsonObject)
        if content.get("schema") != schema:
            raise TrainingError(f"was written by another version ({content.get('schema')})")
        document = shaped(content, kind)
        return from_plain(document.settings), document
    except TrainingError as error:
        raise TrainingError(f"{path}: {error}; start a new run.") from error
    except OSError as error:
        raise RunFolderError(
            f"{path}: {error.strerror or error}; give the folder of a run that was started."
        ) from error
    except (ValueError, UsageError) as error:
        raise TrainingError(f"{path}: is damaged ({error}); start a new run.") from error


def read_result(run_dir: Path) -> JsonObject | None:
    """Return the content of ``result.json``, or None if there is none; raises ``TrainingError`` for a damaged one."""
    path = run_dir / "result.json"
    try:
        content = parsed(read_document(path), JsonObject)
        shaped(content, _Result)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path}: is damaged ({error}); delete it, or train the run again.") from error
    return content


def figures_of(result: JsonObject, run_dir: Path) -> Figures:
    """Return the figures of a finished run's result; raises ``TrainingError`` for one that is damaged."""
    try:
        figures = shaped(result, Figures)
        if (figures["test_accuracy"] is None) != (figures["test_accuracy_ci95"] is None):
            raise ValueError("an accuracy and its interval go together")
        return figures
    except ValueError as error:
        raise TrainingError(
            f"{run_dir / 'result.json'}: is damaged, or was written by another version ({error}); train the run again."
        ) from error


def write_result(run_dir: Path, result: JsonObject) -> None:
    """Write ``result.json``, the document that ``lrnet train --json`` prints."""
    paths.write_text(run_dir / "result.json", json.dumps(result, indent=2) + "\n")


def note_newest(run_dir: Path, reporter: Reporter) -> None:
    """Note a run or a series as the newest of this user, or report that this cannot be written."""
    try:
        paths.record_run(run_dir)
    except OSError as error:
        reporter.message(f"{error.filename}: cannot be written; give `lrnet predict` {run_dir} with --weights.")


def write_skipped(run_dir: Path, skipped: Sequence[Skipped]) -> None:
    """Write ``skipped.csv``: the image files that could not be read, their classes and the reasons."""
    rows = ((item.path, item.label, item.reason) for item in skipped)
    paths.write_table(run_dir / "skipped.csv", ("path", "class", "reason"), rows)


def write_rows(run_dir: Path, rows: list[EpochRow]) -> None:
    """Write ``metrics.csv``."""
    names = [column.name for column in fields(EpochRow) if any(getattr(row, column.name) is not None for row in rows)]
    paths.write_table(run_dir / "metrics.csv", names, ([getattr(row, name) for name in names] for row in rows))


def write_curves(run_dir: Path, rows: list[EpochRow]) -> None:
    """Write ``curves.png``."""
    from lrnet_cli.plots import plot_curves, write_png  # takes a second

    figure = plot_curves([asdict(row) for row in rows])
    with paths.replacing(run_dir / "curves.png") as temporary:
        write_png(figure, temporary)


def read_rows(run_dir: Path) -> list[dict[str, float]]:
    """Return the rows of ``metrics.csv``, none if there is no such file; raises ``DataError`` for a damaged one."""
    path = run_dir / "metrics.csv"
    try:
        lines = io.StringIO(read_document(path), newline="")
        rows = [{name: _drawable(value) for name, value in row.items()} for row in csv.DictReader(lines)]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, AttributeError, csv.Error) as error:
        raise DataError(f"{path}: the learning curves cannot be read ({error}).") from error
    needed = {column.name for column in fields(EpochRow) if column.default is MISSING}
    if rows and (lacking := needed - rows[0].keys()):
        raise DataError(f"{path}: the learning curves lack the columns {', '.join(sorted(lacking))}.")
    return rows


def _drawable(text: str) -> float:
    value = float(text)
    if math.isfinite(value) and abs(value) > _MOST_DRAWN:
        raise ValueError(f"{text} is no figure of a training")
    return value
