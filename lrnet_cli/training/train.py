"""A run from its settings to its result, begun or resumed."""

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from lrnet_cli import ranks
from lrnet_cli.data.datasets import name_of
from lrnet_cli.errors import DataError, TrainingError, UsageError
from lrnet_cli.escape import in_shell
from lrnet_cli.models.engine import Engine
from lrnet_cli.processes import joined
from lrnet_cli.reporter import SILENT, Reporter
from lrnet_cli.runs.folder import (
    check_run_dir,
    create_run_dir,
    drop_refused,
    figures_of,
    read_config,
    read_result,
    recovery_hint,
    versions,
    write_config,
    write_errors_named,
)
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.settings.record import changed
from lrnet_cli.threads import available_threads, threads_of_operations
from lrnet_cli.training.checkpoint import drop_checkpoints, drop_trials, has_checkpoint, run_lock
from lrnet_cli.training.inherit import with_absolute_folders, with_absolute_paths
from lrnet_cli.training.loop import train_and_test
from lrnet_cli.training.prepare import prepare


def train(
    config: TrainConfig, reporter: Reporter = SILENT, should_stop: Callable[[], bool] = lambda: False
) -> dict[str, Any]:
    """Train a network as ``config`` says and return the result, the document of schema ``lrnet.train/1``.

    The run folder is complete when this returns. Once ``should_stop`` is true, asked after every step, the run ends
    with a checkpoint, the weights kept so far, ``"status": "interrupted"`` and without reading the test set. In a
    process that ``torchrun`` started, all of them train together; the first one writes, reports and decides when to
    stop.

    Raises ``TrainingError``, ``DataError``, ``DeviceError`` or ``UsageError`` for what cannot be used, and
    ``InterruptedRunError`` if it is stopped before there are any weights.
    """
    check_run_dir(config.out or Path("runs") / "new")  # before data are read
    config, reporter = with_absolute_paths(config), reporter if ranks.is_first() else SILENT
    if config.unlabelled is None or ranks.started_together():  # which is refused
        return _train(config, None, reporter, should_stop)
    # Networks are trained before the run's own, so there is a folder before these, from which they are resumed.
    config = config.with_seed()
    folder = create_run_dir(config, name_of(config.dataset))
    reporter.message(f"Run folder: {folder}.")
    try:
        with write_errors_named(folder):
            write_config(folder, config)
        with run_lock(folder, reporter.message):
            return _train(config, folder, reporter, should_stop)
    except BaseException as error:
        is_refused = isinstance(error, DataError | UsageError)
        if is_refused:  # perhaps after a network: what cannot go on must not block a corrected command
            drop_trials(folder)
        if is_refused or not isinstance(error.__cause__, OSError):  # what cannot be written is resumed
            drop_refused(folder)
        raise


def resume(
    run_dir: Path,
    changes: Mapping[str, object] | None = None,
    reporter: Reporter = SILENT,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Resume the run in ``run_dir`` from its last checkpoint, and return its result as ``train`` does.

    On the same CPU and versions the result is that of an uninterrupted run, bit for bit, unless its schedule
    follows the clock (``max_time``). ``changes`` may raise ``epochs`` or ``max_time``, whose longer schedule the
    learning rate then follows from here on, and give what belongs to one machine, such as another ``device``,
    ``procs`` or ``data_dir``. A run that is done returns its result.
    """
    reporter = reporter if ranks.is_first() else SILENT
    read_config(run_dir)  # or say that this is no run, before anything is written there
    with run_lock(run_dir, reporter.message):
        before, recorded = read_config(run_dir)
        config = with_absolute_folders(changed(before, **(changes or {})))
        result = read_result(run_dir)
        if result is not None and result["status"] == "finished":
            figures_of(result, run_dir)  # or say that it is damaged
            is_longer = (config.epochs, config.max_time) != (before.epochs, before.max_time)
            anew = f"start a new run from its weights with {in_shell('--init', run_dir, '--seed', before.seed)}."
            if is_longer and not has_checkpoint(run_dir):
                raise TrainingError(f"{run_dir}: is finished, and kept no checkpoint to continue from; {anew}")
            if not is_longer:
                if ranks.is_first() and not config.keep_checkpoint:
                    drop_checkpoints(run_dir)  # which a process that was killed as it ended may have left
                advice = (
                    "raise --epochs or --max-time to continue." if has_checkpoint(run_dir) else f"to train on, {anew}"
                )
                reporter.message(f"{run_dir} is already finished; {advice}")
                return result
        others = [
            f"{name} {recorded.get(name)} then, {now} now"
            for name, now in versions().items()
            if recorded.get(name) != now
        ]
        if others:
            reporter.message(f"Versions have changed since the run began ({'; '.join(others)}): results may differ.")
        return _train(config, run_dir, reporter, should_stop)


def _train(
    config: TrainConfig, resumed: Path | None, reporter: Reporter, should_stop: Callable[[], bool]
) -> dict[str, Any]:
    started, folder = time.perf_counter(), resumed
    engine = Engine.at(config, fuse=config.fuse)
    with (
        threads_of_operations(available_threads()),  # which the run changes
        joined(engine.device, lambda: recovery_hint(folder)) as processes,
    ):
        run = prepare(config, resumed, engine, processes, reporter, should_stop)
        folder = run.folder
        with write_errors_named(folder), nullcontext() if resumed else run_lock(folder, reporter.message):
            result = train_and_test(run, should_stop, started - run.state.elapsed)
            run.reporter.end()
            if result["status"] == "finished" and processes.is_first and not config.keep_checkpoint:
                drop_checkpoints(folder)
            return result
