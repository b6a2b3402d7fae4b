"""A training beside the run's own: what it reaches on validation images tells which settings to train with.

It is forgotten, unless it is held, as the networks are by which labels spread: these take a large part of the time.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lrnet_cli.errors import InterruptedRunError
from lrnet_cli.escape import resuming
from lrnet_cli.evaluation.evaluate import evaluate
from lrnet_cli.models.engine import Engine
from lrnet_cli.processes import ALONE
from lrnet_cli.reporter import SILENT, Reporter
from lrnet_cli.runs.folder import read_config, write_config, write_errors_named
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.training.checkpoint import (
    CHECKPOINT_SECONDS,
    TRIALS_NAME,
    load_checkpoint,
    refuse_links,
    save_checkpoint,
)
from lrnet_cli.training.data import Data
from lrnet_cli.training.lesson import Lesson, write_lesson
from lrnet_cli.training.run import Run, assembled
from lrnet_cli.training.state import TrainingState, recompute_batch_statistics
from lrnet_cli.training.step import Step


@dataclass(frozen=True)
class Tried:
    """What a training made: a ``model``, the ``network`` to evaluate that is a view of it, and ``hits``.

    These, bool (N,), say which validation images it gets right. ``means`` are the loss and the accuracy of its last
    steps.
    """

    network: nn.Module
    hits: Tensor
    model: nn.Module
    means: tuple[float, float]

    @property
    def accuracy(self) -> float:
        """The accuracy on the validation images, in [0, 1]."""
        return float(self.hits.double().mean())


class Held:
    """What keeps a trial in ``folder``, as a run is kept, so that a later process takes it up.

    ``run_dir`` is the folder of the run that it is for, and ``content_sha256`` the hash of all that it learns from.
    ``before`` are the seconds that the run took in earlier processes. Raises ``TrainingError`` if a folder is a link.
    """

    def __init__(
        self, run_dir: Path, name: str, content_sha256: str, reporter: Reporter, should_stop: Callable[[], bool]
    ) -> None:
        self._run_dir, self.folder, self.reporter = run_dir, run_dir / TRIALS_NAME / name, reporter
        self.before = 0.0
        self._content_sha256, self._should_stop = content_sha256, should_stop
        self._begun = self._saved = time.perf_counter()
        refuse_links(run_dir / TRIALS_NAME, self.folder, self.folder / "checkpoint")

    @property
    def config(self) -> TrainConfig | None:
        """The settings that the trial began with, if it did: they were timed, and may be other ones now."""
        return read_config(self.folder)[0] if self.has_begun else None

    @property
    def has_begun(self) -> bool:
        """Whether the trial began, in this process or an earlier one."""
        return (self.folder / "config.json").exists()

    def note(self, lesson: Lesson) -> None:
        """Write what the trial learns from images without labels, before it begins."""
        with write_errors_named(self._run_dir):
            write_lesson(self.folder, lesson)

    def take_up(self, config: TrainConfig, state: TrainingState) -> None:
        """Bring ``state`` to where the trial was left, or note that it begins, as ``config``."""
        if self.has_begun:
            if load_checkpoint(self.folder, state, self._content_sha256, self.reporter.message):
                self.before = state.elapsed
                self.reporter.message(f"Resuming the {self.folder.name} network, after {state.steps_taken} steps.")
        else:
            with write_errors_named(self._run_dir):
                (self.folder / "checkpoint").mkdir(parents=True, exist_ok=True)
                write_config(self.folder, config)
        self.reporter.start(self._run_dir, config.epochs)

    def step(self, run: Run, seconds: float) -> None:
        """Save what is due after a step, when the trial has taken ``seconds``.

        Raises ``InterruptedRunError`` if it is to stop.
        """
        self.reporter.step(run.state.epoch, run.state.step, run.steps_per_epoch)
        stops = self._should_stop()
        if stops or time.perf_counter() - self._saved > CHECKPOINT_SECONDS:
            self.save(run.state, seconds)
        if stops:
            raise InterruptedRunError(
                "Stopped before the run's own network learned, so there are no weights yet; resume with: "
                + resuming(self._run_dir)
            )

    def save(self, state: TrainingState, seconds: float) -> None:
        """Write everything that the trial, which has taken ``seconds``, needs to be taken up from here."""
        state.seconds, state.elapsed = seconds, self.before + time.perf_counter() - self._begun
        with write_errors_named(self._run_dir):
            save_checkpoint(self.folder, state, self._content_sha256)
        self._saved = time.perf_counter()


def tried_for(
    config: TrainConfig, data: Data, engine: Engine, seconds: float | None, held: Held | None = None
) -> Tried:
    """Train as ``config`` for ``seconds``, or, without these, for its epochs; take it up if it is ``held``.

    The schedule fits the time. The global generator is left unchanged. Raises ``UsageError`` if a step does not fit
    into memory, and what ``Held.step`` raises.
    """
    with torch.random.fork_rng([engine.device] if engine.device.type == "cuda" else []):
        run = assembled(config, data, engine, ALONE, SILENT)
        state, step = run.state, Step(run)
        if held is not None:
            held.take_up(config, state)
        begun = time.perf_counter() - state.seconds
        step.network.train()
        progress = _progress(run, seconds, begun)
        while progress < 1:
            for batch in step.batches_left():
                if step.begins_second_stage(progress):
                    step.begin_second_stage()
                left = math.inf if config.epochs is None else config.epochs - state.steps_taken / run.steps_per_epoch
                step(batch, progress, math.inf if seconds is not None else left)
                if held is not None:
                    held.step(run, time.perf_counter() - begun)
                progress = _progress(run, seconds, begun)
                if progress >= 1:
                    break
            else:
                state.epoch, state.step = state.epoch + 1, 0
                state.sums.zero_()
        if held is not None:
            held.save(state, time.perf_counter() - begun)
            held.reporter.end()
        means = step.means()
        network = run.engine.place(state.evaluated, run.normalize)
        recompute_batch_statistics(network, step.statistics_images, run.batch_size)
        answers = evaluate(network, run.val_split, run.card)
        return Tried(network, answers.logits.argmax(1) == answers.labels, state.evaluated, means)


def _progress(run: Run, seconds: float | None, begun: float) -> float:
    """Return the share of a trial that is over; it takes ``seconds`` since ``begun``, or its epochs."""
    if seconds is not None:
        return (time.perf_counter() - begun) / seconds
    assert run.config.epochs is not None
    return run.state.steps_taken / (run.config.epochs * run.steps_per_epoch)
