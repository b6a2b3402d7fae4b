"""Settings of a training run. Nothing here imports PyTorch, so that the command line can show them at once."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from lrnet_cli.errors import UsageError

Head = Literal["softmax", "sigmoid"]
Optimizer = Literal["adamw", "adam"]
Schedule = Literal["one-cycle", "constant"]


def _setting(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one run; bad values raise ``UsageError`` naming the flag."""

    dataset: str = _setting(
        "optdigits", "A known data set, or the path of class folders, IDX files, an .npz or a .csv."
    )
    arch: str = _setting("lrnet", "The network.")
    preset: str = _setting("default", "The recipe that other settings start from: default, paper or quick.")
    epochs: int = _setting(12, "Passes over the training images.")
    batch_size: int | None = _setting(
        None, "Images a step; by default 128, and less on small sets, for 32 steps an epoch."
    )
    lr: float = _setting(3e-3, "The highest learning rate.")
    weight_decay: float = _setting(0.05, "Decoupled weight decay (AdamW).")
    dropout: float = _setting(0.1, "Share of units dropped after each hidden fully connected layer.")
    optimizer: Optimizer = _setting("adamw", "The optimiser.")
    schedule: Schedule = _setting("one-cycle", "How the learning rate runs.")
    ema: float = _setting(
        0.05, "Share of the run that the moving average of the weights looks back on; 0 keeps no average."
    )
    patience: int | None = _setting(None, "Stop after so many epochs without a better validation accuracy.")
    augment: bool = _setting(True, "Move, turn, stretch and shear each training picture a little, at random.")
    head: Head = _setting("softmax", "softmax (cross-entropy), or sigmoid (one-vs-rest, independent probabilities).")
    device: str = _setting("auto", "auto (CUDA, then MPS, then CPU), cpu, cuda, cuda:1, … or mps.")
    gpus: int | None = _setting(None, "Train on so many CUDA GPUs; an error if they are not there.")
    seed: int | None = _setting(None, "Seed of weights, order, dropout and splits; drawn and recorded if not given.")
    fold: bool = _setting(True, "Fold batch norms into the convolutions: the same result up to rounding, sooner.")
    deterministic: bool = _setting(False, "Use only deterministic algorithms (on a CPU runs repeat without it).")
    val_fraction: float | None = _setting(
        None,
        "Share of the training images set aside for validation; by default 0.1, up to 0.2 if that is under 300.",
    )
    limit: int | None = _setting(None, "Use only so many of the training images.")
    image_size: int | None = _setting(None, "Side in pixels; by default the pictures' own, 28 for class folders.")
    channels: int | None = _setting(None, "1 (grey) or 3 (RGB); by default the pictures' own, grey for class folders.")
    out: Path | None = _setting(None, "The run folder; by default runs/<dataset>-<arch>-<time>.")
    data_dir: Path | None = _setting(None, "Folder of downloaded data sets (LRNET_DATA_DIR).")
    mirror: str | None = _setting(None, "URL or folder to download from (LRNET_MIRROR).")

    def __post_init__(self) -> None:
        for name, choices in (("head", Head), ("optimizer", Optimizer), ("schedule", Schedule)):
            if getattr(self, name) not in get_args(choices):
                raise UsageError(f"--{name} takes {' or '.join(get_args(choices))}, got {getattr(self, name)!r}.")
        for name in ("epochs", "batch_size", "patience", "limit", "image_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{_flag(name)} takes a whole number from 1 up, got {value}.")
        if self.batch_size == 1:
            raise UsageError("--batch-size takes 2 or more: batch normalisation has no statistics of one image.")
        if not 0 < self.lr < float("inf"):
            raise UsageError(f"--lr takes a number above 0, got {self.lr:g}.")
        if not 0 <= self.weight_decay < float("inf"):
            raise UsageError(f"--weight-decay takes a number from 0 up, got {self.weight_decay:g}.")
        for name, lowest_included in (("dropout", True), ("ema", True), ("val_fraction", False)):
            value = getattr(self, name)
            if value is not None and not (0 <= value < 1 and (lowest_included or value > 0)):
                lowest = "from 0" if lowest_included else "above 0"
                raise UsageError(f"{_flag(name)} takes a share {lowest} and below 1, got {value:g}.")
        if self.channels not in (None, 1, 3):
            raise UsageError(f"--channels takes 1 (grey) or 3 (RGB), got {self.channels}.")
        if self.seed is not None and not 0 <= self.seed < 2**32:
            raise UsageError(f"--seed takes a whole number from 0 to 2^32 - 1, got {self.seed}.")

    @classmethod
    def from_preset(cls, preset: str, **given: Any) -> "TrainConfig":
        """Return the settings of ``preset`` with those in ``given`` that are not None put over them."""
        if preset not in PRESETS:
            raise UsageError(f"--preset takes {', '.join(PRESETS)}, got {preset!r}.")
        return cls(**{"preset": preset} | PRESETS[preset] | {k: v for k, v in given.items() if v is not None})


PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    # The paper's section 4, but early stopping watches a validation split cut from the training images.
    "paper": {
        "epochs": 200,
        "batch_size": 128,
        "lr": 1e-3,
        "weight_decay": 0.0,
        "dropout": 0.3,
        "optimizer": "adam",
        "schedule": "constant",
        "ema": 0.0,
        "augment": False,
        "patience": 30,
    },
    "quick": {"epochs": 3},
}


def help_of(name: str) -> str:
    """Return the help text of a setting, with its default where the text does not tell it."""
    setting = next(item for item in fields(TrainConfig) if item.name == name)
    shown = "" if setting.default in (None, False) else f" Default: {setting.default}."
    return str(setting.metadata["help"]) + shown


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
