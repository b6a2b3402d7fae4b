"""How much of a run is over, what is due, and how fast it goes."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lrnet_cli.models.logits import predict_logits
from lrnet_cli.settings.units import duration_of
from lrnet_cli.training.certainty import novelty_images
from lrnet_cli.training.checkpoint import CHECKPOINT_SECONDS
from lrnet_cli.training.run import Run

_TIMED = 128  # images, whose prediction is timed before the first validation tells how long it takes
_PREDICTION_MARGIN = 1.1
_PACE_STEPS = 30  # the last ones, whose mean is the pace
_FEWEST_STEPS = 100  # after which a run whose time ends in its first epoch has a result


def fewest_steps(run: Run) -> int:
    """Return how many steps ``run`` needs for a result: an epoch, or a hundred steps of a longer one."""
    return min(_FEWEST_STEPS, run.steps_per_epoch)


class Clock:
    """The clock of a run, which began at ``begun``, by ``time.perf_counter``, had it never been stopped.

    ``progress``, the share of the run that is over, in [0, 1], ``epochs_left``, at the present pace if a time ends the
    run, and ``stopped``, whether it was asked to stop, are those of the last ``look``, and the same in every process.
    ``pace`` is the seconds per step, and ``last_step`` those of the last one.
    """

    def __init__(self, run: Run, statistics_images: int, should_stop: Callable[[], bool], begun: float) -> None:
        self._run, self._should_stop, self._begun = run, should_stop, begun
        # What follows an epoch's last step needs its time too: batch statistics and validation.
        self._images_between = 4 * statistics_images + len(run.val_split) * (2 if run.config.robust_strength else 1)
        # And what follows the run's last step: this, what is foreign, and the test.
        known = min(len(run.train_split), novelty_images(len(run.card.classes)))
        self._images_later = self._images_between + known + len(run.val_split) + run.config.test * len(run.test_split)
        self._step_ends: deque[float] = deque(maxlen=_PACE_STEPS + 1)
        self._checkpoint = self._since = self._stood_still = time.perf_counter()
        self._before = (0, 0.0)  # steps and seconds before this part of an epoch
        self._prediction_pace = 0.0  # seconds per image
        self._has_warned = False
        self.pace = 0.0
        self.progress = 0.0
        self.epochs_left = math.inf
        self.stopped = False

    @property
    def elapsed(self) -> float:
        """The seconds since the run began, excluding those in which it was stopped."""
        return time.perf_counter() - self._begun

    def look(self) -> None:
        """Update ``progress``, ``epochs_left`` and ``stopped``."""
        config, shares, left = self._run.config, [0.0], [math.inf]
        if self.pace and config.max_time is not None and not self._has_warned:
            self._has_warned = True
            self._warn_of_too_few_steps(config.max_time)
        done = self._run.state.steps_taken / self._run.steps_per_epoch
        if config.epochs is not None:
            shares.append(done / config.epochs)
            left.append(config.epochs - done)
        if config.max_time is not None:
            for_steps = max(config.max_time - self._prediction_pace * self._images_later, 1e-9)
            shares.append(self.elapsed / for_steps)
            left.append(self._epochs_in(for_steps - self.elapsed))
        seen = self._run.processes.agree((min(max(shares), 1.0), min(left), self._should_stop()))
        self.progress, self.epochs_left, self.stopped = float(seen[0]), float(seen[1]), bool(seen[2])

    def _epochs_in(self, seconds: float) -> float:
        """Return how many epochs of steps fit into ``seconds``, with what lies between them, at the present pace."""
        if not self.pace:  # then the run may be as short as any
            return 0.0
        steps, between = self.pace * self._run.steps_per_epoch, self._prediction_pace * self._images_between
        return min(seconds / steps, max(1.0, (seconds + between) / (steps + between)))

    def time_prediction(self) -> None:
        """Predict a few images, which tells how long validation and test will take."""
        run = self._run
        images = run.val_split.images[:_TIMED]
        network = run.engine.place(run.state.evaluated, run.normalize, run.processes).eval()
        seconds = math.inf
        for _ in range(2):  # the first is slower, unless another program disturbs the second
            begun = time.perf_counter()
            predict_logits(network, images, processes=run.processes)
            seconds = min(seconds, time.perf_counter() - begun)
        self.note_validation(len(images) / seconds)

    def note_validation(self, images_per_second: float) -> None:
        """Note how fast the network predicts, which tells how long the test will take."""
        self._prediction_pace = _PREDICTION_MARGIN / images_per_second

    @property
    def is_over(self) -> bool:
        """Whether there are no more epochs, or no more time; a run has at least one epoch."""
        state, epochs = self._run.state, self._run.config.epochs
        return (epochs is not None and state.epoch > epochs) or (bool(state.rows) and self.progress >= 1)

    @property
    def seconds_left(self) -> float:
        """The seconds that the run's steps will still take at its pace."""
        return self.epochs_left * self._run.steps_per_epoch * self.pace

    @contextmanager
    def timing_steps(self) -> Iterator[None]:
        """Add the time of the body, which takes the steps of an epoch, to the state's seconds."""
        self._before = (self._run.state.step, self._run.state.seconds)
        self._go_on()
        try:
            yield
        finally:
            self._stand_still()

    def tick(self) -> None:
        """Note that a step has ended."""
        self._step_ends.append(time.perf_counter())
        if len(self._step_ends) > 1:
            self.pace = (self._step_ends[-1] - self._step_ends[0]) / (len(self._step_ends) - 1)

    @property
    def last_step(self) -> float | None:
        """The seconds of the last step, if its beginning is known."""
        return self._step_ends[-1] - self._step_ends[-2] if len(self._step_ends) > 1 else None

    def expect_pace(self, seconds: float) -> None:
        """Note that steps take ``seconds`` each from now on."""
        self._step_ends.clear()
        self.pace = seconds

    def _warn_of_too_few_steps(self, max_time: float) -> None:
        """Say so if, at the present pace, the time ends before there have been steps enough for a result."""
        run, state = self._run, self._run.state
        later = self._prediction_pace * self._images_later
        steps = state.steps_taken + int(max(0.0, max_time - later - self.elapsed) / self.pace)
        fewest = fewest_steps(run)
        if steps < fewest:
            needed = self.elapsed + later + (fewest - state.steps_taken) * self.pace
            run.reporter.message(
                f"At the present pace, the time allows about {steps} steps, too few for a result; {fewest} would need "
                f"--max-time {duration_of(1.1 * needed)}."
            )

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude the time of the body from that of the surrounding steps, and from the pace."""
        self._stand_still()
        try:
            yield
        finally:
            self._go_on()

    def _stand_still(self) -> None:
        self._stood_still = time.perf_counter()
        self._run.state.seconds += self._stood_still - self._since

    def _go_on(self) -> None:
        self._since = time.perf_counter()
        away = self._since - self._stood_still
        self._step_ends = deque((end + away for end in self._step_ends), self._step_ends.maxlen)

    @property
    def images_per_second(self) -> float:
        """The speed of the steps timed most recently."""
        steps, seconds = self._before
        state = self._run.state
        return (state.step - steps) * self._run.batch_size / max(state.seconds - seconds, 1e-9)

    @property
    def is_checkpoint_due(self) -> bool:
        """Whether the last checkpoint is so old that one is due within the epoch."""
        return self._run.processes.is_first and time.perf_counter() - self._checkpoint > CHECKPOINT_SECONDS

    def note_checkpoint(self) -> None:
        """Note that a checkpoint has been written."""
        self._checkpoint = time.perf_counter()
