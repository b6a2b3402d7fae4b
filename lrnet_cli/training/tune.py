"""Trying a few settings before a run, in short trainings that are compared on validation images.

Successive halving (Jamieson and Talwalkar 2016, arXiv:1502.07943): all candidates train for a short time, the better
half for twice as long, and so on to the last two. One of these is always the settings as they are.
"""

import time
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from lrnet_cli.evaluation.paired import BEYOND_CHANCE, gain_of
from lrnet_cli.models.engine import Engine
from lrnet_cli.reporter import OnMessage
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.settings.setting import flag_of
from lrnet_cli.settings.units import duration_of
from lrnet_cli.training.augment import DEFORMED, LEAST_BENT_SIDE, Ranges
from lrnet_cli.training.data import Data
from lrnet_cli.training.trial import tried_for

_MOVES = ("deform", "shift", "scale", "shear")
_MOST = 0.9  # of the side, or of a share: beyond, nothing is left of an image
_LEAST_SECONDS = 1.0  # of a trial

Change = Mapping[str, float]
"""Settings by name, each with another value; empty for none."""


def tuned(config: TrainConfig, data: Data, engine: Engine, longest: float, on_message: OnMessage) -> TrainConfig:
    """Return ``config``, in which nothing else is left to be chosen, as tuned for ``config.tune`` seconds.

    No trial takes longer than ``longest`` seconds, those of the run. What was chosen is a message, and recorded; it
    stays chosen when the run is resumed, because the result has no ``tune``.
    """
    assert config.tune is not None
    left = candidates(config, data.dataset.preprocessing.image_size)
    begun, trials, besides, hits = time.perf_counter(), 0, 0.0, list[Tensor]()
    for rounds in range(_rounds(len(left)), 0, -1):
        share = (config.tune + begun - time.perf_counter()) / rounds / len(left)
        seconds = min(longest, max(share - besides, _LEAST_SECONDS))
        on_message(f"Tuning: {len(left)} candidates, {duration_of(seconds)} each.")
        started = time.perf_counter()
        hits = [tried_for(replace(config, **one), data, engine, seconds).hits for one in left]  # type: ignore[arg-type]
        besides = (time.perf_counter() - started) / len(left) - seconds  # for validation, and to begin
        trials += len(left)
        others = sorted(range(1, len(left)), key=lambda index: -int(hits[index].sum()))
        kept = [0, *others[: max(2, len(left) // 2) - 1]]
        left, hits = [left[index] for index in kept], [hits[index] for index in kept]
    change, gain, error = left[1], *gain_of(hits[1], hits[0])
    is_better = gain > BEYOND_CHANCE * error
    text = (
        f"{in_flags(change)} gains {100 * gain:.1f} points (standard error {100 * error:.1f}) on {len(data.val)} "
        f"validation images; {trials} trials in {duration_of(time.perf_counter() - begun)}."
    )
    text = f"Tuned: {text}" if is_better else f"Tuned: the settings stay, because the best other one, {text}"
    on_message(text)
    chosen: Change = change if is_better else {}
    config = replace(config, tune=None, trials=config.trials + trials, choices=(*config.choices, text))
    return replace(config, **chosen)  # type: ignore[arg-type]


def candidates(config: TrainConfig, side: int) -> list[Change]:
    """Return the changes to ``config`` that are tried on images of ``side`` pixels; the first one is none."""
    assert config.weight_decay is not None
    assert config.label_smoothing is not None
    changes: list[Change] = [
        {"lr": config.lr / 2},
        {"lr": 2 * config.lr},
        {"weight_decay": 5 * config.weight_decay},
        {"label_smoothing": 0.0},
        {"label_smoothing": 2 * config.label_smoothing},
    ]
    if config.augment:
        moves = vars(Ranges.of(config))
        stronger = {name: 1.5 * moves[name] for name in _MOVES}
        if not config.deform and side >= LEAST_BENT_SIDE:
            stronger = {name: max(moves[name], getattr(DEFORMED, name)) for name in _MOVES}
        changes += [stronger, {name: moves[name] / 2 for name in _MOVES}]
    rounded = [{name: min(float(f"{value:.3g}"), _MOST) for name, value in change.items()} for change in changes]
    changed = [{name: value for name, value in one.items() if value != getattr(config, name)} for one in rounded]
    return [{}, *(change for change in changed if change)]


def in_flags(change: Change) -> str:
    """Return ``change`` as options."""
    return " ".join(f"{flag_of(name)} {value:g}" for name, value in change.items())


def _rounds(count: int) -> int:
    """Return in how many rounds all but two of ``count`` candidates drop out, with one more for these."""
    rounds = 1
    while count > 2:
        rounds, count = rounds + 1, max(2, count // 2)
    return rounds
