"""How many threads a run's steps use: chosen by timing, and again when the pace or the machine's load has changed."""

import os
import time
from collections import deque
from functools import partial
from statistics import fmean

import torch

from lrnet_cli.settings.units import thread_counts
from lrnet_cli.threads import BUSY, ForeignLoad, are_fixed, candidates, fastest_threads
from lrnet_cli.training.clock import Clock
from lrnet_cli.training.compiling import compile_as_settled
from lrnet_cli.training.run import Run
from lrnet_cli.training.step import Step

_IMAGES_PER_THREAD = 8  # of all threads, that are timed
_RECENT = 5  # steps, whose mean is the pace
_MUCH_SLOWER = 2.0  # times as slow as when the threads were chosen
_FREED = 0.4  # cores that other programs no longer use
_WAIT, _LONGEST_WAIT = 10.0, 320.0  # seconds between two choices; doubled by each that changed nothing


class _Watch:
    """Says when to choose threads anew: when steps have become slow or cores free, some time after the last choice.

    Each choice that changed nothing doubles that time.
    """

    def __init__(self) -> None:
        self._load = ForeignLoad()
        self._load_then = float("inf")  # cores in use by other programs at the choice, if that is known
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._pace = float("inf")  # seconds per step, the best since the choice
        self._wait = _WAIT
        self._next = time.monotonic() + self._wait

    def load_if_changed(self, last_step: float | None, can_use_more: bool) -> float | None:
        """Return how many cores other programs use if threads should be chosen anew after this step, else None."""
        if last_step is not None:
            self._recent.append(last_step)
        if len(self._recent) < _RECENT:
            return None
        pace = fmean(self._recent)
        self._pace = min(pace, self._pace)
        if time.monotonic() < self._next:
            return None
        load = self._load.cores()
        if pace > _MUCH_SLOWER * self._pace or (can_use_more and self._load_then - load > _FREED):
            return load
        self._next = time.monotonic() + _WAIT
        return None

    def begin_anew(self, load: float, changed: bool) -> None:
        """Note that threads were chosen while other programs used ``load`` cores."""
        self._wait = _WAIT if changed else min(2 * self._wait, _LONGEST_WAIT)
        self._next = time.monotonic() + self._wait
        self._recent.clear()
        self._pace = float("inf")
        self._load_then = load
        self._load.cores()  # begins anew


class StepThreads:
    """Sets the number of threads before a run's first step and after each, and records it in the run's state.

    What the user has fixed, or the run's state has recorded, is repeated; another number adds in another order.
    """

    def __init__(self, run: Run, step: Step, clock: Clock) -> None:
        self._run, self._step, self._clock = run, step, clock
        self._counts = candidates()
        if run.engine.device.type != "cpu" or run.processes.together or run.config.deterministic:
            self._counts = self._counts[:1]
        self._schedule = thread_counts(run.config.threads) if run.config.threads else None
        self._watch = _Watch()

    def begin(self) -> None:
        """Set the threads of the first step that follows."""
        state = self._run.state
        if self._schedule is not None:
            self._use(self._scheduled())
        elif state.threads and self._can_repeat(state.threads[-1][1]):
            self._use(state.threads[-1][1])
        elif len(self._counts) > 1:
            self._choose(ForeignLoad.since_start.cores())
        else:
            self._use(self._counts[0])

    def follow(self) -> None:
        """Set the threads of the step that follows the one that has just ended."""
        if self._schedule is not None:
            self._use(self._scheduled())
        elif len(self._counts) > 1:
            load = self._watch.load_if_changed(self._clock.last_step, torch.get_num_threads() < self._counts[0])
            if load is not None:
                self._choose(load)

    def _can_repeat(self, count: int) -> bool:
        """Return whether a resumed run may use ``count`` threads: not if they are fixed, or a larger machine's."""
        return count <= (os.cpu_count() or 1) and not (are_fixed() or self._run.processes.together)

    def _scheduled(self) -> int:
        assert self._schedule is not None
        return next(count for step, count in reversed(self._schedule) if step <= self._run.state.steps_taken)

    def _choose(self, foreign_cores: float) -> None:
        before, compiled = torch.get_num_threads(), self._step.compiled
        images = min(self._step.share, _IMAGES_PER_THREAD * self._counts[0])
        with self._clock.paused():
            self._step.compiled = None  # for another number of images
            timing = fastest_threads(partial(self._step.rehearse, images), self._counts, foreign_cores)
            self._step.compiled = compiled
        self._use(timing.count)
        self._watch.begin_anew(foreign_cores, timing.count != before)
        self._clock.expect_pace(timing.seconds[timing.count] * self._step.share / images)
        if timing.count != (before if self._run.state.steps_taken else self._counts[0]):
            paces = ", ".join(f"{images / timing.seconds[n]:.0f} images/s with {n}" for n in sorted(timing.seconds))
            load = f" while other programs use {foreign_cores:.1f} cores" if foreign_cores > BUSY else ""
            self._run.reporter.message(
                f"Computing with {timing.count} of {self._counts[0]} threads, the fastest{load}: {paces}."
            )

    def _use(self, count: int) -> None:
        state = self._run.state
        torch.set_num_threads(count)
        if not state.threads or state.threads[-1][1] != count:
            state.threads.append((state.steps_taken, count))
            if state.compiled:  # for another number of threads
                self._step.compiled = None
                state.compiled = None
                compile_as_settled(self._run, self._step)
