"""What is written down about the settings of a run, read back, and changed when it is resumed."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from lrnet_cli.documents import JsonObject, shaped
from lrnet_cli.errors import SettingError, TrainingError
from lrnet_cli.escape import in_shell
from lrnet_cli.settings.config import PRESETS, SETTINGS, TrainConfig
from lrnet_cli.settings.mirror import shareable

# Settings of earlier versions, with the value that did nothing.
_REMOVED = {"clip_norm": None, "noise": 0.0, "blur": 0.0}
# What earlier versions did that had no such settings.
_BEFORE = {"crop": "off", "deform": 0.0, "passes": 1}


def command_of(config: TrainConfig) -> str:
    """Return the command line that trains with exactly ``config``, but for devices and folders of one machine.

    ``config`` is one that a command line can give: what a preset sets it cannot unset. The fold that a run is tested on
    has no flag: a series of runs tests on each.
    """
    usual = TrainConfig.from_preset(config.preset, arch=config.arch, max_time=config.max_time)
    words = ["lrnet", "train"]
    for name, item in SETTINGS.items():
        value = getattr(config, name)
        # A preset changes other settings, so those are compared with the preset's values, not the defaults.
        before = item.default if name in ("preset", "max_time") else getattr(usual, name)
        if name == "arch":
            before = PRESETS[config.preset].get(name, item.default)
        elif name == "passes" and config.epochs is not None:
            before = 1
        if item.role == "place" or not item.option or value is None or value == before:
            continue
        if isinstance(value, bool):
            words.append(item.flag if value else f"--no-{item.flag.removeprefix('--')}")
        else:
            for one in value if isinstance(value, tuple) else (value,):
                words += [item.flag, _exact(one)]
    return in_shell(*words)


def to_plain(config: TrainConfig) -> JsonObject:
    """Return the settings as JSON values, but no mirror with credentials: a resumed run takes ``LRNET_MIRROR``."""
    values = {name: getattr(config, name) for name in SETTINGS}
    values["mirror"] = config.mirror and shareable(config.mirror)
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}


def from_plain(values: JsonObject) -> TrainConfig:
    """Return the settings that ``to_plain`` of this or an earlier version turned into JSON values.

    Raises ``ValueError`` for a name that is not a setting or a value of another type, ``SettingError`` for a value
    that cannot be used, and ``TrainingError`` for a removed setting that did something.
    """
    used = [name for name, unused in _REMOVED.items() if values.get(name, unused) != unused]
    if used:
        raise TrainingError(f"sets {' and '.join(used)}, which this version cannot do")
    values = {name: value for name, value in values.items() if name not in _REMOVED}
    if unknown := values.keys() - SETTINGS.keys():
        raise ValueError(f"there are no settings {', '.join(sorted(unknown))}")
    return shaped(_BEFORE | values, TrainConfig)


def changed(config: TrainConfig, **given: object) -> TrainConfig:
    """Return ``config`` changed by those in ``given`` that are not None, as allowed for a resumed run.

    Raises ``SettingError`` for a setting that a resumed run may not change, or an earlier end than the run has.
    """
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if fixed := [f"{{{name}}}" for name in sorted(changes) if not SETTINGS[name].resumable]:
        raise SettingError(f"A resumed run keeps its own settings; leave out: {', '.join(fixed)}.")
    if {"device", "gpus", "procs"} & changes.keys():  # they go together: a new place takes the place of the old one
        config = replace(config, device="auto", gpus=None, procs=None)
    for name in ("epochs", "max_time"):
        before = getattr(config, name)
        if before is not None and changes.get(name, before) < before:
            raise SettingError(f"The run has {{{name}}} {before:g}; resuming may raise that, not lower it.")
    return replace(config, **changes)


def recipe_of(config: TrainConfig) -> dict[str, Any]:
    """Return the settings that decide how the network learns; those of augmentation only if there is any."""
    roles = ("recipe", "augmentation") if config.augment else ("recipe",)
    return {name: getattr(config, name) for name, item in SETTINGS.items() if item.role in roles}


def _exact(value: object) -> str:
    """Return ``value`` as text that reads back as the same value; numbers without an exponent."""
    return format(Decimal(repr(value)), "f").removesuffix(".0") if isinstance(value, float) else str(value)
