"""What ``lrnet train`` would choose for a data set and how long it would take, and what a short training promises."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from lrnet_cli.data.reading import listed
from lrnet_cli.data.splits import cut_of
from lrnet_cli.evaluation.intervals import wilson_interval
from lrnet_cli.evaluation.learning_curve import Booleans, Gain, Interval, gain_of_more
from lrnet_cli.models.engine import Engine
from lrnet_cli.processes import ALONE
from lrnet_cli.reporter import SILENT, OnMessage, Reporter
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.settings.requests import CheckRequest
from lrnet_cli.settings.units import duration_of
from lrnet_cli.threads import available_threads, threads_of_operations
from lrnet_cli.training.certainty import lacking
from lrnet_cli.training.data import Data, load_data
from lrnet_cli.training.settle import expected_seconds, race_of, settled, suited_to_images
from lrnet_cli.training.trial import tried_for

_SEED = 0  # of the trials; which images are set aside for validation depends on it
_FEW = 10  # training images of a class, below which little is learnt of it
_LEAST_IMAGES = 20  # of a part of the training images, that a network is trained on
_POINTS = 3  # of the learning curve: all training images, a half and a quarter
_FARTHEST = 8  # times the training images: a law through a quarter to all of them says nothing of more
_ALMOST = 0.8  # of a run's time, in which a trial gets nearly as far
_LEAST_SHARE = 0.05  # of a run's time, in which a trial shows what images can teach


@dataclass(frozen=True)
class Choice:
    """A network that may be trained, for how long, and how many ``seconds`` that takes here, if it is known."""

    arch: str
    epochs: int
    batch_size: int
    seconds: float | None


@dataclass(frozen=True)
class Trial:
    """What ``arch`` reached on the validation images after ``seconds`` of training on some ``images``."""

    arch: str
    images: int
    seconds: float
    accuracy: float
    accuracy_ci95: Interval


@dataclass(frozen=True)
class Outlook:
    """What short trainings let one expect: ``trials``, the last of them the best network on all training images.

    ``gain`` is what more images would gain, or None, and then ``no_gain`` says why that cannot be told.
    """

    trials: tuple[Trial, ...]
    gain: Gain | None
    no_gain: str | None


@dataclass(frozen=True)
class Advice:
    """What ``lrnet train`` would choose for a data set without options.

    ``per_class`` are the training images of the smallest class, of the median and the largest one, and ``few`` the
    classes with fewer than ten. Of several ``networks`` a race decides in which each trains for ``race_seconds``.
    """

    train: int
    val: int
    test: int
    per_class: tuple[int, float, int]
    few: tuple[str, ...]
    image_size: int
    channels: int
    crop: str
    normalize: str
    deform: float
    networks: tuple[Choice, ...]
    race_seconds: float
    outlook: Outlook | None = None

    def document(self) -> dict[str, Any]:
        """Return its part of the JSON document."""
        return asdict(self)

    @cached_property
    def rows(self) -> tuple[tuple[str, str], ...]:
        """What is shown of it: what a line is about, and a text."""
        return tuple(self._rows())

    def _rows(self) -> Iterator[tuple[str, str]]:
        smallest, median, largest = self.per_class
        yield "images", f"{self.train} to train on, {self.val} to validate with, {self.test} to test with"
        few = f"; fewer than {_FEW}, from which little is learnt: {listed(self.few)}" if self.few else ""
        counts = (
            f"{smallest} to {largest} to train on, median {median:g}"
            if smallest < largest
            else f"{largest} to train on"
        )
        yield "in a class", f"{counts}{few}"
        low, high = wilson_interval(0.9 * self.val, self.val)
        known = f"an accuracy of 0.90 would be known to lie between {low:.2f} and {high:.2f}"
        yield "validation", ". ".join([known, *filter(None, [lacking(self.val)])])
        yield "crop", "to the content" if self.crop == "on" else "no, images are read whole"
        yield "image size", f"{self.image_size} pixels per side, {'grey' if self.channels == 1 else 'in colour'}"
        yield "normalize", self.normalize
        yield "augmentation", f"images are bent (--deform {self.deform:g})" if self.deform else "images are not bent"
        for one in self.networks:
            lasts = f"about {duration_of(one.seconds)} here" if one.seconds is not None else "not timed on a GPU"
            yield "network", f"{one.arch}: {one.epochs} epochs in batches of {one.batch_size}, {lasts}"
        if self.race_seconds:
            yield "race", f"the better one after {self.race_seconds:.0f} s each, on the validation images"
        if self.outlook is not None:
            yield from self._expected(self.outlook)

    def _expected(self, outlook: Outlook) -> Iterator[tuple[str, str]]:
        for one in outlook.trials:
            yield "tried", f"{one.arch} on {one.images} images for {one.seconds:.0f} s: accuracy {_share(one)}"
        last = outlook.trials[-1]
        (full,) = (choice.seconds for choice in self.networks if choice.arch == last.arch)
        is_short = full is None or last.seconds < _ALMOST * full
        yield "expect", f"validation accuracy {_share(last)}{', or more: a run takes longer' if is_short else ''}"
        if outlook.gain is None:
            yield "more images", f"no forecast: {outlook.no_gain}"
            return
        gain, (_, median, _) = outlook.gain, self.per_class
        low, high = gain.doubled_accuracy_ci95
        short = ", after trainings this short" if is_short else ""
        doubled = f"{gain.doubled_accuracy:.3f} (95% interval {low:.3f} to {high:.3f})"
        yield "more images", f"twice as many: accuracy about {doubled}{short}"
        if gain.halving_factor > _FARTHEST:
            yield "half the error", f"more than {_FARTHEST} times as many, which is too far for a forecast"
            return
        low, high = gain.halving_factor_ci95
        most = f"to {high * median:.0f}" if high <= _FARTHEST else "up"
        about = f"{gain.halving_factor * median:.0f} to train on in a class ({low * median:.0f} {most})"
        yield "half the error", f"about {about}, instead of {median:g}"


def _share(trial: Trial) -> str:
    low, high = trial.accuracy_ci95
    return f"{trial.accuracy:.3f} (95% interval {low:.3f} to {high:.3f})"


def advise(request: CheckRequest, reporter: Reporter) -> Advice:
    """Return what ``lrnet train`` would choose for the data set of ``request``, and what trials showed, if it asks.

    Raises what loading the data set raises.
    """
    config = TrainConfig(
        dataset=request.dataset,
        seed=_SEED,
        device=request.device,
        threads=request.threads,
        data_dir=request.data_dir,
        mirror=request.mirror,
    )
    engine = Engine.at(config, fuse=config.fuse)
    with threads_of_operations(available_threads()):
        data = load_data(config, _SEED, reporter)
        archs, race_seconds = race_of(suited_to_images(config, data), data, engine, ALONE)
        chosen = [settled(replace(config, arch=arch), data, engine, ALONE, SILENT) for arch in archs]
        networks = tuple(_choice(one, data, engine) for one in chosen)
        outlook = None
        if request.try_ is not None:
            pairs = list(zip(chosen, networks, strict=True))
            outlook = _tried(pairs, data, engine, request.try_, reporter.message)
    counts = torch.bincount(data.train.labels, minlength=len(data.dataset.classes)).tolist()
    first = chosen[0]
    assert first.image_size is not None
    assert first.channels is not None
    assert first.deform is not None
    return Advice(
        train=len(data.train),
        val=len(data.val),
        test=len(data.dataset.test),
        per_class=(min(counts), float(np.median(counts)), max(counts)),
        few=tuple(f"{name} ({n})" for name, n in zip(data.dataset.classes, counts, strict=True) if n < _FEW),
        image_size=first.image_size,
        channels=first.channels,
        crop=first.crop,
        normalize=first.normalize,
        deform=first.deform,
        networks=networks,
        race_seconds=race_seconds,
        outlook=outlook,
    )


def _choice(config: TrainConfig, data: Data, engine: Engine) -> Choice:
    assert config.epochs is not None
    assert config.batch_size is not None
    seconds = expected_seconds(config, data, engine, ALONE)
    return Choice(config.arch, config.epochs, config.batch_size, None if seconds == math.inf else seconds)


def _tried(
    chosen: Sequence[tuple[TrainConfig, Choice]], data: Data, engine: Engine, seconds: float, on_message: OnMessage
) -> Outlook:
    """Return what networks reach on all training images, and the best of them on a half and a quarter of these.

    All together take about ``seconds``. A part of the images gets its share of the time as a run would: by the root of
    its size. The recipe is the same for all parts, so that only their size makes a difference.
    """
    parts = [data.train]
    while len(parts) < _POINTS and len(half := parts[-1].take(cut_of(parts[-1], 0.5, _SEED)[0])) >= _LEAST_IMAGES:
        parts.append(half)
    shares = [math.sqrt(len(part) / len(data.train)) for part in parts]
    unit = seconds / (sum(shares) + len(chosen) - 1)

    def reached(config: TrainConfig, choice: Choice, number: int) -> tuple[Trial, Booleans]:
        limit = shares[number] * min(unit, choice.seconds or math.inf)
        on_message(f"Trying {config.arch} on {len(parts[number])} training images for {limit:.0f} s.")
        hits = tried_for(config, replace(data, train=parts[number]), engine, limit).hits.numpy()
        right, count = int(hits.sum()), len(hits)
        return Trial(config.arch, len(parts[number]), limit, right / count, wilson_interval(right, count)), hits

    whole = [reached(config, choice, 0) for config, choice in chosen]
    best = max(range(len(whole)), key=lambda index: whole[index][0].accuracy)  # the first of equal ones
    config, choice = chosen[best]
    curve = [whole.pop(best)]
    for number, part in enumerate(parts[1:], 1):
        steps = replace(config, batch_size=None, passes=None, epochs=None)
        config = settled(steps, replace(data, train=part), engine, ALONE, SILENT)
        curve.insert(0, reached(config, choice, number))
    trials = tuple(trial for trial, _ in (*whole, *curve))
    if trials[-1].seconds < _LEAST_SHARE * (choice.seconds or 0.0):
        return Outlook(trials, None, "the trials are too short for that; give --try more time.")
    try:
        gain = gain_of_more([trial.images for trial, _ in curve], np.stack([hits for _, hits in curve]))
    except ValueError as error:
        return Outlook(trials, None, f"{error}.")
    return Outlook(trials, gain, None)
