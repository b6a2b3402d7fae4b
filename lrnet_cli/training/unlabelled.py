"""What images without labels can teach a network that few labels taught, and whether that is any good.

A ladder: a network of the labelled images alone; the labels that spread from these by its features; a network that
learns from these labels where they are likely right, from scratch; the labels that spread by the features of that one;
and the run's own network, which learns from these. Validation images decide at each rung whether it is kept.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import torch

from lrnet_cli.data.unlabelled import Unlabelled, load_unlabelled
from lrnet_cli.models.engine import Engine
from lrnet_cli.processes import ALONE
from lrnet_cli.reporter import SILENT, Reporter
from lrnet_cli.settings.config import BY_NUMBER_OF_IMAGES, SETTINGS, TrainConfig
from lrnet_cli.settings.units import duration_of
from lrnet_cli.training.batches import affordable_images
from lrnet_cli.training.checkpoint import TRIALS, has_checkpoint
from lrnet_cli.training.data import Data
from lrnet_cli.training.lesson import Lesson, read_lesson
from lrnet_cli.training.run import Forerunner
from lrnet_cli.training.settle import images_suited_to, settled
from lrnet_cli.training.spreading import spread_by
from lrnet_cli.training.trial import Held, tried_for
from lrnet_cli.weights.card import UnlabelledNote

_FIRST_SHARE, _SECOND_SHARE = 0.2, 0.3  # of a run's time, for the networks by whose features labels spread
# What the run's network must have time for: of the images, each counted every time, that would suit a network of the
# labelled images alone, and passes over all.
_FEWEST_SEEN, _FEWEST_PASSES = 0.4, 2
_SECOND_EPOCHS = 0.5  # of those of the run's network, where no time is given
_OF_THE_RUN = (*BY_NUMBER_OF_IMAGES, *(name for name, setting in SETTINGS.items() if setting.resumable))


def with_unlabelled(
    config: TrainConfig,
    data: Data,
    run_dir: Path,
    engine: Engine,
    reporter: Reporter,
    should_stop: Callable[[], bool],
) -> tuple[TrainConfig, Data, Forerunner | None]:
    """Return ``data`` with the images of ``config.unlabelled`` that teach, and the network that chose them.

    That is None if the run in ``run_dir`` is resumed and knows them, or if there is no time for it. ``config`` is
    returned with what this network has chosen, but for what depends on the number of images. Raises
    ``InterruptedRunError`` when stopped in a training.
    """
    unlabelled = load_unlabelled(config, data.dataset, reporter)
    if has_checkpoint(run_dir):
        lesson = read_lesson(run_dir, unlabelled, len(data.dataset.classes))
        return config, lesson.added_to(data, unlabelled), None
    contents = sha256(f"{data.dataset.content_sha256}{unlabelled.content_sha256}".encode()).hexdigest()
    held, held_again = (Held(run_dir, name, contents, reporter, should_stop) for name in TRIALS)
    first = held.config
    if first is None:
        lasts = "" if config.max_time is None else f", for {duration_of(_FIRST_SHARE * config.max_time)}"
        reporter.message(f"First, a network learns from the {len(data.train)} labelled images alone{lasts}.")
        # For as long as suits its images: epochs that are given count those of the run.
        first = config if config.max_time is not None else replace(config, epochs=None, passes=None)
        first = settled(first, data, engine, ALONE, reporter)
    config = replace(first, **{name: getattr(config, name) for name in _OF_THE_RUN})
    images = len(data.train) + len(unlabelled.images)
    if not held.has_begun and _is_too_short(config, images, data, engine):
        text = (
            "Images without labels: not used, because the time is too short for another network to learn from them; "
            "for that, start a new run with a longer --max-time, or with fewer of them."
        )
        reporter.message(text)
        return replace(config, unlabelled=None, choices=(*config.choices, text)), data, None
    assert config.seed is not None
    torch.manual_seed(config.seed)
    tried = tried_for(first, data, engine, _share(_FIRST_SHARE, first), held)
    held_again.before = held.before
    if held_again.has_begun:  # whatever would spread now, its network learns from this
        lesson = read_lesson(held_again.folder, unlabelled, len(data.dataset.classes))
    else:
        lesson = spread_by(tried, data, unlabelled, engine)
        reporter.message(_said(lesson.note))
    if lesson.note["taught"]:
        lesson = _spread_again(config, lesson, data, unlabelled, engine, held_again)
    return config, lesson.added_to(data, unlabelled), Forerunner(tried.model, tried.means, lesson, held_again.before)


def _share(share: float, config: TrainConfig) -> float | None:
    """Return this share of the time of ``config``, if there is one."""
    return None if config.max_time is None else share * config.max_time


def _is_too_short(config: TrainConfig, images: int, data: Data, engine: Engine) -> bool:
    """Return whether there is too little time for the run's own network to learn from so many ``images``."""
    if config.max_time is None:
        return False
    left = replace(config, max_time=(1 - _FIRST_SHARE - _SECOND_SHARE) * config.max_time)
    seen = affordable_images(left, engine, data, ALONE)
    needed = max(_FEWEST_SEEN * images_suited_to(config.arch, data), _FEWEST_PASSES * images)
    return seen is not None and seen < needed


def _spread_again(
    config: TrainConfig, lesson: Lesson, data: Data, unlabelled: Unlabelled, engine: Engine, held: Held
) -> Lesson:
    """Return what a network teaches that learned from ``lesson``, or ``lesson`` if that is right more often."""
    taught = lesson.added_to(data, unlabelled)
    second = held.config
    if second is None:
        second = settled(config, taught, engine, ALONE, SILENT, begins=False)
        if second.epochs is not None:
            second = replace(second, epochs=math.ceil(_SECOND_EPOCHS * second.epochs))
        held.note(lesson)
    tried = tried_for(second, taught, engine, _share(_SECOND_SHARE, second), held)
    again = spread_by(tried, data, unlabelled, engine)
    (alone, before), after = lesson.note["right"], again.note["right"][1]
    if not again.note["taught"] or after < before:
        held.reporter.message(
            f"Images without labels: with a network that these taught, likely labels get {after} of "
            f"{again.note['validation']} validation images right; the first ones are kept."
        )
        return lesson
    again = replace(again, note=again.note | {"right": (alone, after)})
    held.reporter.message(_said(again.note))
    return again


def _said(note: UnlabelledNote) -> str:
    alone, spread = note["right"]
    compared = f"likely labels get {spread} of {note['validation']} validation images right, the first network {alone}"
    if not note["taught"]:
        return f"Images without labels: not used, because {compared}."
    return (
        f"Images without labels: {compared}; {note['taught']} of them teach a new network; dropped: "
        f"{note['foreign']} as foreign, {note['unsure']} as unsure."
    )


def outcome_of(note: UnlabelledNote, first: float, best: float) -> str:
    """Return by how much the network that others taught is better than the first one, or that it is not.

    These are the accuracies of the ``first`` one on the validation images and of the ``best``, which is kept.
    """
    count = note["validation"]
    before, after = (f"{share * count:.0f} of {count} validation images" for share in (first, best))
    if note["kept"] == "taught":
        return f"Images without labels: {note['taught']} of them taught the network, right on {after}, not {before}."
    return (
        f"Images without labels: not used, because the network that {note['taught']} of them taught is worse than the "
        f"one before it, which is kept and right on {before}."
    )
