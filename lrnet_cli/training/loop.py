"""Training: step, validate, keep the best, test once."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from lrnet_cli import ranks
from lrnet_cli.errors import TrainingError
from lrnet_cli.escape import in_shell, resuming
from lrnet_cli.models.engine import Engine
from lrnet_cli.processes import joined, loss_named
from lrnet_cli.reporter import Reporter
from lrnet_cli.runs.folder import Status, check_run_dir, figures_of, read_config, read_result, versions
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.settings.record import changed
from lrnet_cli.threads import available_threads, threads_of_operations
from lrnet_cli.training.checkpoint import alone_in, drop_checkpoints, has_checkpoint
from lrnet_cli.training.clock import Clock, fewest_steps
from lrnet_cli.training.compiling import compile_as_settled, compile_if_it_pays
from lrnet_cli.training.keep import Keep
from lrnet_cli.training.prepare import Run, prepare, rooted
from lrnet_cli.training.step import Step
from lrnet_cli.training.threads import StepThreads


def train(
    config: TrainConfig, reporter: Reporter | None = None, should_stop: Callable[[], bool] = lambda: False
) -> dict[str, Any]:
    """Train a network as ``config`` says and return the result, the document of schema ``lrnet.train/1``.

    The run folder is complete when this returns. Once ``should_stop`` is true, asked after every step, the run ends
    with a checkpoint, the best weights so far, ``"status": "interrupted"`` and without reading the test set. In a
    process that ``torchrun`` started, all of them train together; the first one writes, reports and decides when to
    stop.

    Raises ``TrainingError``, ``DataError``, ``DeviceError`` or ``UsageError`` for what cannot be used, and
    ``InterruptedRunError`` if it is stopped before there are any weights.
    """
    if config.out is not None:
        check_run_dir(config.out)  # before data are read
    return _carry_out(rooted(config), None, _heard(reporter), should_stop)


def resume(
    run_dir: Path,
    changes: Mapping[str, Any] | None = None,
    reporter: Reporter | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Resume the run in ``run_dir`` from its last checkpoint, and return its result as ``train`` does.

    On the same CPU and versions the result is that of an uninterrupted run, bit for bit, unless its schedule
    follows the clock (``max_time``). ``changes`` may raise ``epochs`` or ``max_time``, whose longer schedule the
    learning rate then follows from here on, and give another ``device``, ``gpus`` or ``procs``. A run that is done
    returns its result.
    """
    reporter = _heard(reporter)
    read_config(run_dir)  # or say that this is no run, before anything is written there
    with alone_in(run_dir, reporter.message):
        before, recorded = read_config(run_dir)
        config = changed(before, **(changes or {}))
        result = read_result(run_dir)
        if result is not None and result["status"] == "finished":
            figures_of(result, run_dir)  # or say that it is damaged
            is_longer = (config.epochs, config.max_time) != (before.epochs, before.max_time)
            anew = f"start a new run from its weights with {in_shell('--init', run_dir, '--seed', before.seed)}."
            if is_longer and not has_checkpoint(run_dir):
                raise TrainingError(f"{run_dir}: is finished, and kept no checkpoint to continue from; {anew}")
            if not is_longer:
                way_on = (
                    "raise --epochs or --max-time to continue." if has_checkpoint(run_dir) else f"to train on, {anew}"
                )
                reporter.message(f"{run_dir} is already finished; {way_on}")
                return result
        others = [
            f"{name} {recorded.get(name)} then, {now} now"
            for name, now in versions().items()
            if recorded.get(name) != now
        ]
        if others:
            reporter.message(f"Versions have changed since the run began ({'; '.join(others)}): results may differ.")
        return _carry_out(config, run_dir, reporter, should_stop)


def fit(run: Run, step: Step, clock: Clock, keep: Keep) -> None:
    """Train to the end, keeping the best weights, or until ``clock`` says that the run is to stop."""
    if run.config.max_time is not None:
        clock.time_prediction()
    threads = StepThreads(run, step, clock)
    threads.begin()
    compile_as_settled(run, step)
    clock.look()
    while not clock.is_over:
        # Checked here, so that a run that was killed after its last epoch trains no further when it is resumed.
        if run.config.patience is not None and run.state.epochs_without_gain >= run.config.patience:
            run.reporter.message(f"No better validation accuracy for {run.config.patience} epochs; stopping early.")
            return
        step.network.train()
        with clock.timing_steps():
            for batch in step.batches_left():
                if run.state.step and clock.progress >= 1:
                    break
                step(batch, clock.progress, clock.epochs_left)
                clock.tick()
                threads.follow()
                compile_if_it_pays(run, step, clock)
                run.reporter.step(run.state.epoch, run.state.step, run.steps_per_epoch)
                clock.look()
                if clock.stopped or clock.is_checkpoint_due:
                    with clock.paused():
                        keep.checkpoint()
                if clock.stopped:
                    return
            loss, accuracy = step.means()
        keep.epoch(loss, accuracy)
        clock.look()
        if clock.stopped:
            return


def _carry_out(
    config: TrainConfig, resumed: Path | None, reporter: Reporter, should_stop: Callable[[], bool]
) -> dict[str, Any]:
    start, folder = time.perf_counter(), resumed
    engine = Engine.choose(
        config.device,
        config.precision,
        fuse=config.fuse,
        gpus=config.gpus,
        procs=config.procs,
        threads=config.threads,
    )
    with (
        threads_of_operations(available_threads()),  # which the run changes
        joined(engine.device) as processes,
        loss_named(processes, lambda: _way_on(folder)),
    ):
        run = prepare(config, resumed, engine, processes, reporter, should_stop, start)
        folder = run.folder
        with _way_on_named(folder), nullcontext() if resumed else alone_in(folder, reporter.message):
            result = _worked(run, reporter)
            if result["status"] == "finished" and processes.is_first and not config.keep_checkpoint:
                drop_checkpoints(folder)
            return result


def _worked(run: Run, reporter: Reporter) -> dict[str, Any]:
    """Train and test as far as ``run`` gets, and return its result."""
    step = Step(run)
    clock = Clock(run, len(step.statistics_images))
    keep = Keep(run, step, clock)
    reporter.start(run.folder, run.config.epochs)
    before, steps = read_result(run.folder), run.state.steps_taken
    fit(run, step, clock, keep)
    if before is not None and before["status"] == "finished" and run.state.steps_taken == steps:
        reporter.message("There was nothing left to train, so the test images are not read again.")
        return before
    # The folder is complete before the test images are read, so that a run that is killed there is not lost.
    status: Status = "testing" if run.config.test else "finished"
    if clock.stopped:
        status = "interrupted"
    else:
        if run.state.steps_taken < fewest_steps(run):  # that is no result
            status = "unfinished"
        elif run.state.steps_taken < run.steps_per_epoch:
            seen = 100 * run.state.steps_taken / run.steps_per_epoch
            reporter.message(f"The time ended in the first epoch: {seen:.0f} % of the training images were seen.")
        if run.config.augment and not run.state.moved:
            still = f"--still-epochs {run.config.still_epochs:g}"
            reporter.message(f"Shift, scale, shear and flip were not used, because the run is no longer than {still}.")
    result = keep.result(status)
    return keep.tested(result) if status == "testing" else result


def _heard(reporter: Reporter | None) -> Reporter:
    """Return ``reporter``, or one that reports nothing if it is None or another process reports for this one."""
    return reporter if reporter is not None and ranks.is_first() else Reporter()


@contextmanager
def _way_on_named(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        begun = (folder / "config.json").exists()
        raise TrainingError(
            f"{error.filename or folder}: cannot be written ({error.strerror or error}). Free space or fix permissions "
            f"and {f'resume with: {resuming(folder)}' if begun else 'start the run again.'}"
        ) from error


def _way_on(folder: Path | None) -> str:
    begun = folder is not None and (folder / "config.json").exists()
    return f"Resume with: {resuming(folder)}" if begun else "Training had not started."
