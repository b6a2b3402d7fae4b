"""Settings of a training run. Nothing here imports PyTorch, so that the command line can show them at once."""

import re
import shlex
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args

from lrnet_cli.choices import Arch, Compile, Flip, Head, Optimizer, Precision, Schedule
from lrnet_cli.errors import UsageError

_UNITS = {"s": 1, "m": 60, "h": 3600}


def _setting(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one run; bad values raise ``UsageError`` naming the flag."""

    dataset: str = _setting(
        "optdigits", "A known data set, or the path of class folders, IDX files, an .npz or a .csv."
    )
    arch: Arch = _setting(
        "lrnet", "The network: LR-Net, or one of torchvision's to compare it with, fitted to small pictures."
    )
    preset: str = _setting("default", "The recipe that other settings start from: default, paper or quick.")
    epochs: int | None = _setting(
        12, "Passes over the training images; with --max-time as many as fit in, unless it is given too."
    )
    max_time: float | None = _setting(
        None, "Fit the whole run, its schedule included, into this time: 90s, 30m, 1h30m, or seconds."
    )
    batch_size: int | None = _setting(
        None, "Images a step; by default 128, and less on small sets, for 32 steps an epoch."
    )
    lr: float = _setting(1e-2, "The highest learning rate; 0.003 is a good one with --optimizer adamw.")
    weight_decay: float = _setting(0.05, "Decoupled weight decay (AdamW).")
    dropout: float = _setting(0.0, "Share of units dropped after each hidden fully connected layer.")
    label_smoothing: float = _setting(0.05, "Share of the target that is spread evenly over all classes.")
    clip_norm: float | None = _setting(None, "Scale the gradient down to this norm where it is larger.")
    optimizer: Optimizer = _setting("muon", "The optimiser: muon (weight matrices; AdamW for the rest), adamw or adam.")
    schedule: Schedule = _setting("one-cycle", "How the learning rate runs.")
    ema: float = _setting(
        0.05, "Share of the steps so far that the moving average of the weights looks back on; 0 keeps no average."
    )
    patience: int | None = _setting(None, "Stop after so many epochs without a better validation accuracy.")
    augment: bool = _setting(True, "Alter each training picture at random, as the following settings say.")
    shift: float = _setting(0.05, "Largest shift, as a share of the side; whole pixels with --scale 0 --shear 0.")
    scale: float = _setting(0.08, "Largest relative change of width and of height.")
    shear: float = _setting(0.12, "Largest shear; two of them together turn a picture by up to so many radians.")
    flip: Flip = _setting("auto", "Mirror every other time; auto: where the data set's classes keep their meaning.")
    cutout: float = _setting(0.0, "Side of a square that is blanked at a random place, as a share of the side.")
    noise: float = _setting(0.0, "Largest standard deviation of Gaussian noise, on values in [0, 1].")
    blur: float = _setting(0.0, "Largest share of a 3×3 binomial blur, from 0 to 1.")
    head: Head = _setting("softmax", "softmax (cross-entropy), or sigmoid (one-vs-rest, independent probabilities).")
    device: str = _setting("auto", "auto (CUDA, then MPS, then CPU), cpu, cuda, cuda:1, … or mps.")
    gpus: int | None = _setting(None, "Train on so many CUDA GPUs; an error if they are not there.")
    procs: int | None = _setting(None, "Train with so many processes on this machine's CPU, which share its cores.")
    precision: Precision = _setting(
        "auto", "auto (bf16 where the hardware multiplies it natively, else fp32), fp32 or bf16."
    )
    compile: Compile = _setting("auto", "Compile the training step: auto (if the run earns the time back), on or off.")
    seed: int | None = _setting(None, "Seed of weights, order, dropout and splits; drawn and recorded if not given.")
    fold: bool = _setting(True, "Fold batch norms into the convolutions: the same result up to rounding, sooner.")
    deterministic: bool = _setting(False, "Use only deterministic algorithms (on a CPU runs repeat without it).")
    val_fraction: float | None = _setting(
        None,
        "Share of the training images set aside for validation; by default 0.1, up to 0.2 if that is under 300.",
    )
    limit: int | None = _setting(None, "Use only so many of the training images.")
    folds: int | None = _setting(
        None, "Cross-validate: cut the training images into so many parts and test on each of them in a run of its own."
    )
    test_fold: int | None = _setting(None, "Which of the folds the run is tested on, from 1 up.")
    test: bool = _setting(
        True, "Read the test images once, at the end; without, the run tells validation figures only."
    )
    image_size: int | None = _setting(None, "Side in pixels; by default the pictures' own, 28 for class folders.")
    channels: int | None = _setting(None, "1 (grey) or 3 (RGB); by default the pictures' own, grey for class folders.")
    keep_epochs: bool = _setting(False, "Keep the weights of every epoch, in the run folder's epochs/.")
    out: Path | None = _setting(None, "The run folder; by default runs/<dataset>-<arch>-<time>.")
    data_dir: Path | None = _setting(None, "Folder of downloaded data sets (LRNET_DATA_DIR).")
    mirror: str | None = _setting(None, "URL or folder to download from (LRNET_MIRROR).")

    def __post_init__(self) -> None:
        choices_of = {"head": Head, "optimizer": Optimizer, "schedule": Schedule, "precision": Precision}
        for name, choices in (choices_of | {"arch": Arch, "compile": Compile, "flip": Flip}).items():
            if getattr(self, name) not in get_args(choices):
                raise UsageError(f"--{name} takes {' or '.join(get_args(choices))}, got {getattr(self, name)!r}.")
        for name in ("epochs", "batch_size", "patience", "limit", "image_size", "procs"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{_flag(name)} takes a whole number from 1 up, got {value}.")
        if self.batch_size == 1:
            raise UsageError("--batch-size takes 2 or more: batch normalisation has no statistics of one image.")
        for name in ("lr", "max_time", "clip_norm"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise UsageError(f"{_flag(name)} takes a number above 0, got {value:g}.")
        if self.epochs is None and self.max_time is None:
            raise UsageError("A run needs an end: give --epochs, --max-time or both.")
        if self.folds is not None and self.folds < 2:
            raise UsageError(f"--folds takes a whole number from 2 up, got {self.folds}.")
        if (self.folds is None) != (self.test_fold is None) or not 1 <= (self.test_fold or 1) <= (self.folds or 1):
            raise UsageError(f"A run is tested on one fold of several, got fold {self.test_fold} of {self.folds}.")
        if self.procs is not None and self.gpus is not None:
            raise UsageError("--procs is for CPUs and --gpus for GPUs; give one of them.")
        if self.procs is not None and self.device not in ("auto", "cpu"):
            raise UsageError(f"--procs trains on the CPU and --device {self.device} does not; give one of them.")
        if (self.procs or self.gpus or 1) > 1 and not self.fold:
            raise UsageError("--no-fold trains in one process: batch statistics of several are the folded network's.")
        if (self.procs or self.gpus or 1) > 1 and self.arch != "lrnet":
            raise UsageError(
                f"--arch {self.arch} trains in one process: only LR-Net's batch norms reckon over several."
            )
        if not 0 <= self.weight_decay < float("inf"):
            raise UsageError(f"--weight-decay takes a number from 0 up, got {self.weight_decay:g}.")
        for name, lowest_included in (
            ("dropout", True),
            ("ema", True),
            ("label_smoothing", True),
            ("shift", True),
            ("scale", True),
            ("shear", True),
            ("cutout", True),
            ("noise", True),
            ("val_fraction", False),
        ):
            value = getattr(self, name)
            if value is not None and not (0 <= value < 1 and (lowest_included or value > 0)):
                lowest = "from 0" if lowest_included else "above 0"
                raise UsageError(f"{_flag(name)} takes a share {lowest} and below 1, got {value:g}.")
        if not 0 <= self.blur <= 1:
            raise UsageError(f"--blur takes a share from 0 to 1, got {self.blur:g}.")
        if self.channels not in (None, 1, 3):
            raise UsageError(f"--channels takes 1 (grey) or 3 (RGB), got {self.channels}.")
        if self.seed is not None and not 0 <= self.seed < 2**32:
            raise UsageError(f"--seed takes a whole number from 0 to 2^32 - 1, got {self.seed}.")

    @classmethod
    def from_preset(cls, preset: str, **given: Any) -> "TrainConfig":
        """Return the settings of ``preset`` and architecture, with those in ``given`` that are not None over them."""
        if preset not in PRESETS:
            raise UsageError(f"--preset takes {', '.join(PRESETS)}, got {preset!r}.")
        recipe = {} if preset == "paper" else _RECIPES.get(given.get("arch", "lrnet"), {})
        settings = PRESETS[preset] | recipe | {name: value for name, value in given.items() if value is not None}
        if "max_time" in settings and given.get("epochs") is None:
            settings["epochs"] = None
        return cls(preset=preset, **settings)


PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    # The paper's section 4, but early stopping watches a validation split cut from the training images.
    "paper": {
        "epochs": 200,
        "batch_size": 128,
        "lr": 1e-3,
        "weight_decay": 0.0,
        "dropout": 0.3,
        "label_smoothing": 0.0,
        "optimizer": "adam",
        "schedule": "constant",
        "ema": 0.0,
        "augment": False,
        "patience": 30,
    },
    "quick": {"epochs": 3},
}
# What networks other than LR-Net need in place of its recipe. Muon would take a minute a step for VGG-16's first fully
# connected layer. Learning rates are the best on validation images: docs/explanation/recipe.md.
_RECIPES: dict[str, dict[str, Any]] = {
    "vgg16": {"optimizer": "adamw", "lr": 1e-4, "dropout": 0.5},
    "inception_v3": {"optimizer": "adamw", "lr": 3e-3, "dropout": 0.5},
    "resnet50": {"optimizer": "adamw", "lr": 3e-3},
    "alexnet": {"optimizer": "adamw", "lr": 3e-4, "dropout": 0.5},
}


def changed(config: TrainConfig, **given: Any) -> TrainConfig:
    """Return ``config`` with those in ``given`` that are not None put over it, as a resumed run may.

    Raises ``UsageError`` for an earlier end than the run has.
    """
    given = {name: value for name, value in given.items() if value is not None}
    for name in ("epochs", "max_time"):
        before = getattr(config, name)
        if before is not None and given.get(name, before) < before:
            raise UsageError(f"The run has {_flag(name)} {before:g}; resuming may raise that, not lower it.")
    return replace(config, **given)


def command_of(config: TrainConfig) -> str:
    """Return the command line that trains with ``config``, without what belongs to one machine: folders and devices.

    The fold that a run is tested on has no flag: a series of runs tests on each.
    """
    own = ("preset", "test_fold", "out", "data_dir", "mirror", "device", "gpus", "procs")
    usual = TrainConfig.from_preset(config.preset, arch=config.arch)
    words = ["lrnet", "train"] + (["--preset", config.preset] if config.preset != "default" else [])
    for name in (item.name for item in fields(TrainConfig) if item.name not in own):
        value, before = getattr(config, name), getattr(usual, name)
        if value is None or (value == before and name != "arch") or (name == "arch" and value == "lrnet"):
            continue
        if isinstance(value, bool):
            words.append(_flag(name if value else f"no_{name}"))
        else:
            words += [_flag(name), f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join(words)


def help_of(name: str) -> str:
    """Return the help text of a setting, with its default where the text does not tell it."""
    setting = next(item for item in fields(TrainConfig) if item.name == name)
    shown = "" if setting.default in (None, False) else f" Default: {setting.default}."
    return str(setting.metadata["help"]) + shown


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def seconds_of(text: str) -> float:
    """Return the seconds meant by ``text``, such as ``90s``, ``30m``, ``1h30m`` or ``1800``.

    Raises ``UsageError`` for what is no duration.
    """
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if not re.fullmatch(r"(\d+(\.\d+)?[hms])+", text):
        raise UsageError(f"--max-time takes a duration such as 90s, 30m, 1h30m or 1800 (seconds), got {text!r}.")
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+(?:\.\d+)?)([hms])", text))
