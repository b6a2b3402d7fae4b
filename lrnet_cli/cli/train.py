"""``lrnet train``."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from lrnet_cli import ranks
from lrnet_cli.cli.launch import launch_if_asked
from lrnet_cli.cli.live import live
from lrnet_cli.cli.options import Json
from lrnet_cli.cli.output import Output
from lrnet_cli.cli.settings import option_of, with_request
from lrnet_cli.cli.train_tables import show_run, show_series
from lrnet_cli.errors import UsageError
from lrnet_cli.settings.config import RUNS, TrainConfig
from lrnet_cli.settings.record import changed

EXAMPLES = (
    "lrnet train",
    "lrnet train --dataset fashion --max-time 30m",
    "lrnet train --dataset path/to/class/folders --epochs 20 --out runs/stamps",
    "lrnet train --resume runs/stamps",
)
_EXIT_CODES = {"interrupted": 130, "unfinished": 1}  # by status; 0 for all others


# What trains, given a reporter, and what shows its result.
_Job = tuple[Callable[..., dict[str, Any]], Callable[[Output, dict[str, Any]], None]]


@with_request(TrainConfig, dict)
def train_command(
    given: dict[str, object],
    ctx: typer.Context,
    runs: Annotated[int | None, option_of(RUNS)] = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="Resume the run in this folder; --epochs and --max-time may be raised.", metavar="RUN"),
    ] = None,
    json: Json = False,
) -> None:
    """Train a network and leave a run folder: weights, metrics, curves and a model card."""
    given = _on_command_line(ctx, given)
    run, show = _begun(given, runs) if resume is None else _resumed(resume, given, runs)
    with live() as (reporter, should_stop):
        result = run(reporter=reporter, should_stop=should_stop)
    if ranks.is_first():
        out = Output(json)
        out.document(result)
        show(out, result)
    # Another process that failed would end the first one while it reports.
    raise typer.Exit(_EXIT_CODES.get(result["status"], 0) if ranks.is_first() else 0)


def _begun(given: dict[str, object], runs: int | None) -> _Job:
    """Return the job of a new run or series; wrong settings are reported before PyTorch is loaded."""
    folds = given.pop("folds", None)
    assert folds is None or isinstance(folds, int)
    config = TrainConfig.from_preset(str(given.pop("preset", "default")), **given)
    if folds is not None:
        replace(config, folds=folds, test_fold=1)  # or report what is wrong
    if runs is None and folds is None:
        launch_if_asked(config)
        from lrnet_cli.training.train import train

        return partial(train, config), show_run
    from lrnet_cli.training.series import train_series

    return partial(train_series, config, runs=1 if runs is None else runs, folds=folds), show_series


def _resumed(folder: Path, changes: dict[str, object], runs: int | None) -> _Job:
    """Return the job of the run or series in ``folder``, changed by what was given on the command line."""
    from lrnet_cli.runs.folder import read_config
    from lrnet_cli.threads import usable_cores
    from lrnet_cli.training.series import resume_series
    from lrnet_cli.training.train import resume
    from lrnet_cli.weights.find import is_series

    if runs is not None:
        raise UsageError("A resumed run keeps its own settings; leave out: --runs.")
    if is_series(folder):
        if changes:
            raise UsageError("A resumed series of runs keeps its own settings; leave out all others.")
        return partial(resume_series, folder), show_series
    config = changed(read_config(folder)[0], **changes)
    if "procs" not in changes and (config.procs or 1) > usable_cores():  # a stranger's folder may ask for any number
        raise UsageError(
            f"{folder}: was trained in {config.procs} processes, and there are {usable_cores()} cores here; "
            "give --procs."
        )
    launch_if_asked(config)
    return partial(resume, folder, changes), show_run


def _on_command_line(ctx: typer.Context, given: dict[str, object]) -> dict[str, Any]:
    """Return those of ``given`` that do not come from environment variables.

    Those belong to a machine and are read where they are needed: a run resumed elsewhere follows the ones there.
    """
    sources = {name: ctx.get_parameter_source(name) for name in given}
    return {name: given[name] for name, source in sources.items() if source and source.name == "COMMANDLINE"}
