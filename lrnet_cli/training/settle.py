"""What a run chooses from its images where its settings leave it open; each choice is one line, and is recorded."""

import math
from dataclasses import replace
from typing import cast

import torch

from lrnet_cli.models.engine import Engine
from lrnet_cli.models.normalize import suited_to
from lrnet_cli.processes import Processes
from lrnet_cli.reporter import OnMessage, Reporter
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.settings.units import duration_of
from lrnet_cli.settings.words import Arch
from lrnet_cli.training.augment import DEFORMED, LEAST_BENT_SIDE, Ranges
from lrnet_cli.training.batches import affordable_images, batch_size_of, images_per_second
from lrnet_cli.training.data import Data
from lrnet_cli.training.inherit import single_weights
from lrnet_cli.training.trial import tried_for
from lrnet_cli.weights.file import load_weights

_FEW = 60  # training images in the median class, up to which images are deformed and the network is regularised more
_WEIGHT_DECAY, _LABEL_SMOOTHING = (0.05, 0.2), (0.05, 0.1)  # each of the usual, and where classes have few images
_DROPOUT = {"resnet-small": 0.3}  # whose class layer has many inputs; others do better without, in runs of minutes
_RIVALS: tuple[Arch, ...] = ("lrnet-short", "resnet-small")
_TRIAL_SHARE, _LONGEST_TRIAL = 0.05, 60.0  # of a run's time for each, and seconds
_SHORT_RUN = 150.0  # seconds, of which a race would take too much
# Images that a run sees, each counted every time: by the root of their number and by their pixels, but no more than
# there is usually time for, and no fewer than so many passes. LR-Net needs fewer than others, and more time for each.
_SEEN, _SEEN_BY_OTHERS, _OF_SIDE = {"lrnet": 2500, "lrnet-short": 2500}, 6500, 28
_USUAL_SECONDS, _FEWEST_PASSES, _STEPS_PER_EPOCH = 720.0, 12, 40
_COMPLETE = 1.15  # times the time of its steps: a run, with its validations and its test


def settled(
    config: TrainConfig, data: Data, engine: Engine, processes: Processes, reporter: Reporter, *, begins: bool = True
) -> TrainConfig:
    """Return ``config``, with its seed, with everything chosen: augmentation, network, batch size and end.

    What is set already stands, as in a resumed run, which does not begin. Trials are timed, so that another run with
    the same seed may choose otherwise; what they chose is recorded.
    """
    config, choices = suited_to_images(config, data), list(config.choices)

    def choose(text: str) -> None:
        choices.append(text)
        reporter.message(text)

    if config.arch == "auto":
        config = _with_arch(config, data, engine, processes, choose)
    config = _with_dropout(config)
    if config.init is not None and begins and not processes.together:
        _measure_start(config, data, engine, processes, choose)
    config = replace(config, batch_size=_batch_size(config, data, engine, processes), choices=tuple(choices))
    if config.passes is None:
        config = replace(config, passes=_passes(config, len(data.train)))
    if config.epochs is None and config.max_time is None:
        config = _with_epochs(config, data, images_per_second(config, engine, data, processes), reporter)
    return config


def _with_dropout(config: TrainConfig) -> TrainConfig:
    return config if config.dropout is not None else replace(config, dropout=_DROPOUT.get(config.arch, 0.0))


def _passes(config: TrainConfig, images: int) -> int:
    """Return how often an epoch shows each image, so that it has steps enough to be worth a validation."""
    assert config.batch_size is not None
    return math.ceil(_STEPS_PER_EPOCH / max(1, images // config.batch_size))


def suited_to_images(config: TrainConfig, data: Data) -> TrainConfig:
    """Return ``config`` with what the images decide: size, crop, normalisation, augmentation and regularisation."""
    preprocessing, counts = data.dataset.preprocessing, torch.bincount(data.train.labels)
    few = float(counts[counts > 0].float().median()) <= _FEW
    bent = few and config.augment and preprocessing.image_size >= LEAST_BENT_SIDE
    deform = config.deform if config.deform is not None else DEFORMED.deform if bent else 0.0
    usual = DEFORMED if deform else Ranges()
    return replace(
        config,
        image_size=preprocessing.image_size,
        channels=preprocessing.channels,
        crop="on" if preprocessing.crop == "content" else "off",
        normalize=suited_to(data.train.images, data.train.labels) if config.normalize == "auto" else config.normalize,
        deform=deform,
        shift=usual.shift if config.shift is None else config.shift,
        scale=usual.scale if config.scale is None else config.scale,
        shear=usual.shear if config.shear is None else config.shear,
        weight_decay=_WEIGHT_DECAY[few] if config.weight_decay is None else config.weight_decay,
        label_smoothing=_LABEL_SMOOTHING[few] if config.label_smoothing is None else config.label_smoothing,
    )


def race_of(config: TrainConfig, data: Data, engine: Engine, processes: Processes) -> tuple[tuple[Arch, ...], float]:
    """Return which networks a run may train, and for how many seconds each of them races, if there are several."""
    if config.arch != "auto":
        return (config.arch,), 0.0
    if config.init is not None:
        return (cast("Arch", load_weights(single_weights(config.init))[1].arch),), 0.0
    first, other = _RIVALS
    if processes.together:
        return (first,), 0.0
    seconds = expected_seconds(replace(config, arch=other), data, engine, processes)
    return ((first,), 0.0) if seconds < _SHORT_RUN else (_RIVALS, min(_LONGEST_TRIAL, _TRIAL_SHARE * seconds))


def _with_arch(config: TrainConfig, data: Data, engine: Engine, processes: Processes, choose: OnMessage) -> TrainConfig:
    """Return ``config`` with its network: that of ``init``, or the winner of a race, if there is time for one."""
    rivals, limit = race_of(config, data, engine, processes)
    if len(rivals) == 1:
        return replace(config, arch=rivals[0])
    # A race is too short for the second of two stages.
    candidates = [_with_dropout(replace(config, arch=arch, passes=1, robust=0.0)) for arch in rivals]
    candidates = [replace(one, batch_size=_batch_size(one, data, engine, processes)) for one in candidates]
    reached = [tried_for(one, data, engine, limit).accuracy for one in candidates]
    winner = candidates[reached.index(max(reached))]  # the first of equal ones
    figures = ", ".join(f"{one.arch} {accuracy:.3f}" for one, accuracy in zip(candidates, reached, strict=True))
    choose(
        f"Network: {winner.arch}, the better one on {len(data.val)} validation images after {limit:.0f} s each "
        f"({figures}); --arch {winner.arch} saves that time."
    )
    # Its batch size was timed for the race.
    return replace(winner, passes=config.passes, robust=config.robust, trials=config.trials + len(candidates))


def _measure_start(config: TrainConfig, data: Data, engine: Engine, processes: Processes, choose: OnMessage) -> None:
    """Say whether ``config.init`` helps, if the run is long enough to find out."""
    if (seconds := expected_seconds(config, data, engine, processes)) < _SHORT_RUN:
        return
    limit = min(_LONGEST_TRIAL, _TRIAL_SHARE * seconds)
    known = replace(config, passes=1, robust=0.0, batch_size=_batch_size(config, data, engine, processes))
    fresh = replace(known, init=None, init_sha256=None, freeze=None)
    with_it, without = (tried_for(one, data, engine, limit).accuracy for one in (known, fresh))
    verdict = "it helps" if with_it > without else "it does not help here, so leave out --init"
    choose(
        f"Start: {config.init} reaches {with_it:.3f} on {len(data.val)} validation images after {limit:.0f} s, random "
        f"weights {without:.3f}: {verdict}."
    )


def expected_seconds(config: TrainConfig, data: Data, engine: Engine, processes: Processes) -> float:
    """Return how long the run ``config`` will take, about, without tuning; infinite where that is not measured."""
    if config.max_time is not None:
        return config.max_time - (config.tune or 0.0)
    pace = images_per_second(config, engine, data, processes)
    shown = (config.passes or 1) * len(data.train)
    return _seconds(config.epochs * shown if config.epochs is not None else _seen(config.arch, data, pace), pace)


def _seconds(seen: float, pace: float | None) -> float:
    return math.inf if pace is None else _COMPLETE * seen / pace


def images_suited_to(arch: str, data: Data) -> float:
    """Return how many images, each counted every time, a run on ``data`` sees if it has the time."""
    images, pixels = len(data.train), (data.dataset.preprocessing.image_size / _OF_SIDE) ** 2
    return max(_SEEN.get(arch, _SEEN_BY_OTHERS) * math.sqrt(images) * min(1.0, pixels), _FEWEST_PASSES * images)


def _seen(arch: str, data: Data, pace: float | None) -> float:
    """Return how many images a run on ``data`` sees in the usual time, at this ``pace``."""
    usual = math.inf if pace is None else max(_USUAL_SECONDS * pace / _COMPLETE, _FEWEST_PASSES * len(data.train))
    return min(images_suited_to(arch, data), usual)


def _with_epochs(config: TrainConfig, data: Data, pace: float | None, reporter: Reporter) -> TrainConfig:
    """Return ``config`` with its epochs, and say how long they will take here, if that is more than a minute."""
    assert config.passes is not None
    share = 1.0 if config.folds is None else 2 / config.folds
    shown, suited = config.passes * len(data.train), images_suited_to(config.arch, data)
    seen = _seen(config.arch, data, pace)
    epochs = math.ceil(share * seen / shown)
    seconds = _seconds(epochs * shown, pace)
    if 60 <= seconds < math.inf:
        third = f"--max-time {duration_of(seconds / 3)} trains a third as long, and costs some accuracy"
        longer = f"; --max-time {duration_of(seconds * suited / seen)} would suit the images" if suited > seen else ""
        reporter.message(f"{epochs} epochs, which take about {duration_of(seconds)} here{longer}; {third}.")
    return replace(config, epochs=epochs)


def _batch_size(config: TrainConfig, data: Data, engine: Engine, processes: Processes) -> int:
    affordable = None
    if config.batch_size is None and config.max_time is not None:
        if config.tune is not None:
            config = replace(config, max_time=config.max_time - config.tune, tune=None)
        affordable = affordable_images(config, engine, data, processes)
    return batch_size_of(config.batch_size, len(data.train), processes.count, affordable)
