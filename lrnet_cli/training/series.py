"""Several runs of one recipe: over seeds, over the folds of a cross-validation, or both."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lrnet_cli import paths, ranks
from lrnet_cli.data.datasets import name_of
from lrnet_cli.errors import InterruptedRunError, LRNetError, SettingError, TrainingError
from lrnet_cli.escape import resuming
from lrnet_cli.promise.stored import out_of_fold, read_evidence, write_evidence
from lrnet_cli.reporter import SILENT, Reporter, counted
from lrnet_cli.runs.compare import accuracy_over, tested_figures_of
from lrnet_cli.runs.folder import (
    MOST_RUNS,
    create_run_dir,
    drop_refused,
    figures_of,
    note_newest,
    read_config,
    read_result,
    read_series,
    write_errors_named,
    write_result,
    write_series,
)
from lrnet_cli.runs.suspects import SUSPECTS_NAME, find_suspects, write_suspects
from lrnet_cli.settings.config import BY_NUMBER_OF_IMAGES, TrainConfig
from lrnet_cli.training.data import refuse_folds_that_cannot_be, refuse_other_images
from lrnet_cli.training.inherit import with_absolute_paths
from lrnet_cli.training.train import resume, train


def train_series(
    config: TrainConfig,
    *,
    runs: int = 1,
    folds: int | None = None,
    reporter: Reporter = SILENT,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Train ``runs`` times with the seeds ``config.seed``, ``config.seed + 1``, …, on every one of ``folds`` if given.

    The folder ``config.out`` holds the run folders and ``result.json``, which is returned: a document of schema
    ``lrnet.series/1`` with the results of the runs that are done, and the accuracy over them. Folds share
    ``config.max_time``; each of ``runs`` has as much. Raises what ``train`` raises, and ``UsageError`` for an invalid
    number of runs or folds, or for several processes.
    """
    if not 1 <= runs <= MOST_RUNS:
        raise SettingError("{runs} takes a whole number from 1 to {most}, got {number}.", most=MOST_RUNS, number=runs)
    if config.processes > 1 or ranks.started_together():
        raise SettingError("{runs} and {folds} train in one process; start the runs one by one for several.")
    if folds is not None:
        share = config.max_time and config.max_time / folds
        replace(config, folds=folds, test_fold=1, max_time=share)  # or report what is wrong
    config = with_absolute_paths(config.with_seed())
    folder = create_run_dir(config, name_of(config.dataset))
    with write_errors_named(folder):
        write_series(folder, config, runs, folds)
    try:
        if folds is not None:
            refuse_folds_that_cannot_be(config, folds, reporter)
        return resume_series(folder, reporter, should_stop)
    except InterruptedRunError:
        raise
    except LRNetError:
        drop_refused(folder)
        raise


def resume_series(
    folder: Path, reporter: Reporter = SILENT, should_stop: Callable[[], bool] = lambda: False
) -> dict[str, Any]:
    """Resume the series in ``folder``: finish the run that was interrupted and those after it."""
    config, runs, folds = read_series(folder)
    paths.drop_leftovers(folder.glob("*.tmp"))  # runs clean their own
    members = list(_members(folder, config, runs, folds))
    results = list(_finished(members, reporter, should_stop))
    interrupted = len(results) < len(members)
    if not results:
        raise InterruptedRunError(f"Stopped before the first run ended; resume with: {resuming(folder)}")
    document = {
        "schema": "lrnet.series/1",
        "run_dir": str(folder),
        "arch": results[0]["arch"],
        "dataset": results[0]["dataset"],
        "seed": config.seed,
        "of_runs": len(members),
        "folds": folds,
        "val_accuracy": sum(result["val_accuracy"] for result in results) / len(results),
        "test_accuracy": asdict(accuracy_over(results)) if config.test else None,
        "seconds": sum(result["seconds"] for result in results),
        "status": "interrupted" if interrupted else "finished",
        "runs": results,
    }
    with write_errors_named(folder):
        if folds is not None and not interrupted and config.test:
            run_dirs = [out for out, _ in members]
            document["suspects"] = _write_suspects(folder, run_dirs, reporter)
            # Of the first seed: the others answer the same images once more, which would count twice.
            _write_evidence(folder, run_dirs[:folds], reporter)
        write_result(folder, document)
    note_newest(folder, reporter)
    return document


def _finished(
    members: Sequence[tuple[Path, TrainConfig]], reporter: Reporter, should_stop: Callable[[], bool]
) -> Iterator[dict[str, Any]]:
    """Train those of ``members`` that are not trained yet, and yield the result of each until a stop."""
    first, trains = members[0][0], False
    for number, (out, config) in enumerate(members, 1):
        result = read_result(out)
        if result is not None and result["status"] == "finished":  # or say that it is damaged
            (tested_figures_of if config.test else figures_of)(result, out)
        else:
            if number > 1 and not trains:
                refuse_other_images(first)
            trains = True
            reporter.message(f"Run {number} of {len(members)}: {out.name}.")
            try:
                if (out / "config.json").exists():
                    result = resume(out, None, reporter, should_stop)
                else:
                    result = train(_settled_as_first(config, first) if number > 1 else config, reporter, should_stop)
            except InterruptedRunError:
                return
            if result["status"] == "unfinished":
                raise TrainingError(f"{out}: its time ended before every image was seen once; start again with more.")
            if result["status"] != "finished":
                return
        yield result


def _write_evidence(folder: Path, run_dirs: Sequence[Path], reporter: Reporter) -> None:
    """Write together what the networks of all folds answered, unless an earlier version trained one of them."""
    try:
        parts = [part for part in map(read_evidence, run_dirs) if part is not None]
    except ValueError as error:
        raise TrainingError(f"{folder}: the promise.json of a fold is damaged ({error}).") from error
    if len(parts) == len(run_dirs):
        evidence = out_of_fold(parts)
        write_evidence(folder, evidence)
        reporter.message(
            f"The folds as one are calibrated by their answers for {len(evidence)} images, each of the network that "
            f"did not see it (temperature {evidence.temperature:.2f})."
        )


def _write_suspects(folder: Path, run_dirs: Sequence[Path], reporter: Reporter) -> int:
    """Write the doubtful labels, and a page that shows them; return how many there are."""
    from lrnet_cli.review.job import write_suspects_page  # Jinja takes a while

    suspects = find_suspects(run_dirs)
    write_suspects(folder, suspects)
    shown = folder / SUSPECTS_NAME
    try:
        shown = write_suspects_page(folder, suspects) or shown
    except LRNetError as error:  # which is no reason to lose the result
        reporter.message(f"The page of suspects could not be written: {error}")
    labels = counted(len(suspects), "label is", "labels are")
    reporter.message(f"{labels} doubtful according to networks that were not trained on them: {shown}")
    return len(suspects)


def _settled_as_first(member: TrainConfig, first: Path) -> TrainConfig:
    """Return ``member`` with what the run in the folder ``first`` has chosen, so that a series is of one kind."""
    chosen, _ = read_config(first)
    if chosen.unlabelled is not None:  # its first network has few images, that of the run many
        chosen = replace(chosen, **{name: getattr(member, name) for name in BY_NUMBER_OF_IMAGES})
    return replace(chosen, seed=member.seed, out=member.out, test_fold=member.test_fold, mirror=member.mirror)


def _members(folder: Path, config: TrainConfig, runs: int, folds: int | None) -> Iterator[tuple[Path, TrainConfig]]:
    """Yield the folder and the settings of each run of a series."""
    assert config.seed is not None
    for seed in range(config.seed, config.seed + runs):
        if folds is None:
            out = folder / f"seed-{seed}"
            yield out, replace(config, seed=seed, out=out)
            continue
        share = config.max_time and config.max_time / folds  # as one, they take the time of one
        for fold in range(1, folds + 1):
            out = folder / f"seed-{seed}-fold-{fold}"
            yield out, replace(config, seed=seed, folds=folds, test_fold=fold, out=out, max_time=share)
