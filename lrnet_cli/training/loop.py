"""Training: step, validate, keep, test once."""

from collections.abc import Callable
from typing import Any

from lrnet_cli.runs.folder import Status, read_result
from lrnet_cli.training.checkpoint import drop_trials
from lrnet_cli.training.clock import Clock, fewest_steps
from lrnet_cli.training.compiling import compile_as_settled, compile_if_it_pays
from lrnet_cli.training.keep import Keep
from lrnet_cli.training.lesson import write_lesson
from lrnet_cli.training.results import Results
from lrnet_cli.training.run import Run
from lrnet_cli.training.step import Step
from lrnet_cli.training.threads import StepThreads
from lrnet_cli.training.unlabelled import outcome_of


def fit(run: Run, step: Step, clock: Clock, keep: Keep) -> None:
    """Train to the end, keeping the weights that validate well, or until ``clock`` says that the run is to stop."""
    if run.config.max_time is not None:
        clock.time_prediction()
    threads = StepThreads(run, step, clock)
    threads.begin()
    compile_as_settled(run, step)
    clock.look()
    # Patience is checked here, so that a run that was killed after its last epoch trains no further when resumed. One
    # that was stopped after its last step has an epoch to end.
    while (run.state.step or not clock.is_over) and not _patience_is_over(run):
        step.network.train()
        with clock.timing_steps():
            for batch in step.batches_left():
                if run.state.step and clock.progress >= 1:
                    break
                if step.begins_second_stage(clock.progress):
                    with clock.paused():
                        step.begin_second_stage()
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


def _patience_is_over(run: Run) -> bool:
    """Return, and say, whether the validation accuracy has not risen for as long as the run waits for it."""
    is_over = run.config.patience is not None and run.state.epochs_without_gain >= run.config.patience
    if is_over:
        run.reporter.message(f"No better validation accuracy for {run.config.patience} epochs; stopping early.")
    return is_over


def train_and_test(run: Run, should_stop: Callable[[], bool], begun: float) -> dict[str, Any]:
    """Train and test as far as ``run`` gets, and return its result.

    The run began at ``begun``, by ``time.perf_counter``, had it never been stopped.
    """
    step = Step(run)
    clock = Clock(run, len(step.statistics_images), should_stop, begun)
    keep = Keep(run, step, clock)
    keep.take_up()
    results = Results(keep)
    if run.forerunner is not None:
        write_lesson(run.folder, run.forerunner.lesson)
        keep.forerunner(run.forerunner)
    if run.config.unlabelled is not None:
        drop_trials(run.folder)
    run.reporter.start(run.folder, run.config.epochs)
    before, steps = read_result(run.folder), run.state.steps_taken
    fit(run, step, clock, keep)
    if before is not None and before["status"] == "finished" and run.state.steps_taken == steps:
        run.reporter.message("There was nothing left to train, so the test images are not read again.")
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
            run.reporter.message(f"The time ended in the first epoch: {seen:.0f}% of the training images were seen.")
        if run.config.augment and not run.state.moved:
            run.reporter.message(
                "The run was too short to shift, scale, shear or flip images: its last "
                f"{run.config.still_epochs:g} epochs are without (--still-epochs)."
            )
    result = results.untested(status)
    note = result["unlabelled"]
    if not clock.stopped and note is not None and note["taught"]:
        run.reporter.message(outcome_of(note, run.state.rows[0].val_accuracy, result["val_accuracy"]))
    return results.tested(result) if status == "testing" else result
