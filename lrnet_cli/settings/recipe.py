"""What follows from the settings of a run: how its network learns, and what a resumed run may change."""

from dataclasses import replace
from typing import Any

from lrnet_cli.errors import UsageError
from lrnet_cli.settings.config import SETTINGS, TrainConfig


def changed(config: TrainConfig, **given: Any) -> TrainConfig:
    """Return ``config`` changed by those in ``given`` that are not None, as allowed for a resumed run.

    Raises ``UsageError`` for a setting that a resumed run may not change, or an earlier end than the run has.
    """
    given = {name: value for name, value in given.items() if value is not None}
    if fixed := [SETTINGS[name].flag for name in sorted(given) if not SETTINGS[name].resumable]:
        raise UsageError(f"A resumed run keeps its own settings; leave out: {', '.join(fixed)}.")
    if {"device", "gpus", "procs"} & given.keys():  # they go together: a new place takes the place of the old one
        config = replace(config, device="auto", gpus=None, procs=None)
    for name in ("epochs", "max_time"):
        before = getattr(config, name)
        if before is not None and given.get(name, before) < before:
            raise UsageError(f"The run has {SETTINGS[name].flag} {before:g}; resuming may raise that, not lower it.")
    return replace(config, **given)


def recipe_of(config: TrainConfig) -> dict[str, Any]:
    """Return the settings that decide how the network learns; those of augmentation only if there is any."""
    roles = ("recipe", "augmentation") if config.augment else ("recipe",)
    return {name: getattr(config, name) for name, item in SETTINGS.items() if item.role in roles}


def robust_of(config: TrainConfig) -> float:
    """Return the strength of what ``robust`` adds in training and to a copy of the validation pictures; 0 for none."""
    return config.robust if config.augment else 0.0
