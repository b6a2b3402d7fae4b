"""Every setting of a training run, defined once; options, checks, cards and comparisons are derived from these fields.

Nothing here imports PyTorch, so that the command line can show the settings without delay.
"""

import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from lrnet_cli.errors import SettingError, UsageError
from lrnet_cli.settings.place import Place, Source
from lrnet_cli.settings.setting import COUNT, Range, Setting, setting, settings_of
from lrnet_cli.settings.words import (
    LRNETS,
    ArchChoice,
    Compile,
    Crop,
    Flip,
    Freeze,
    Head,
    NormalizeChoice,
    OnError,
    Optimizer,
    Preset,
    Sampler,
    Schedule,
    Select,
)

_POSITIVE = Range("number", 0, low_included=False)
_SHARE = Range("share", 0, 1)
_AUGMENTATION = "Augmentation"

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    # The paper's section 4, but early stopping watches a validation split cut from the training images.
    "paper": {
        "arch": "lrnet",
        "normalize": "none",
        "crop": "off",
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
"""Recipes by name."""

# Muon would take a minute per step for VGG-16's first fully connected layer. Learning rates are the best on validation
# images: docs/project/notebook.md.
_RECIPES: dict[str, dict[str, Any]] = {
    "vgg16": {"optimizer": "adamw", "lr": 1e-4, "dropout": 0.5},
    "inception_v3": {"optimizer": "adamw", "lr": 3e-3, "dropout": 0.5},
    "resnet50": {"optimizer": "adamw", "lr": 3e-3},
    "alexnet": {"optimizer": "adamw", "lr": 3e-4, "dropout": 0.5},
}


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Place, Source):
    """Settings of one run; bad values raise ``SettingError`` naming the field."""

    dataset: str = setting(
        "optdigits",
        "A known data set (optdigits, digits, fashion, oracle), or the path of class folders, IDX, .npz or .csv files.",
        "data",
        panel="basic",
    )
    arch: ArchChoice = setting(
        "auto",
        "The network: lrnet (the paper's), lrnet-short (the same with a short head), resnet-small; auto (the better of "
        "the last two in a short race on validation images); or one to compare with: a plain cnn, vgg16, "
        "inception_v3, resnet50, alexnet.",
        "recipe",
    )
    preset: Preset = setting("default", "The recipe that other settings start from.", "recipe")
    epochs: int | None = setting(
        None,
        "Passes over the training images. Default: as many as the collection needs, or as fit into --max-time.",
        "recipe",
        panel="basic",
        within=COUNT,
        resumable=True,
    )
    max_time: float | None = setting(
        None,
        "Fit the complete run, or all its --folds, into this time: 90s, 30m, 1h30m, or seconds.",
        "recipe",
        panel="basic",
        within=_POSITIVE,
        resumable=True,
        unit="time",
        placeholder="TIME",
    )
    seed: int | None = setting(
        None,
        "Seed of weights, order, augmentation and splits. Default: drawn, and recorded.",
        "engine",
        panel="basic",
        within=Range("whole number", 0, 2**32 - 1, high_included=True),
        compared=False,
    )
    out: Path | None = setting(
        None,
        "The run folder. Default: a new one in runs/, named after data set, network and time.",
        "place",
        panel="basic",
        resumable=False,
    )
    unlabelled: Path | None = setting(
        None,
        "A folder of images without labels, which are used where they help: networks that learned from the labelled "
        "images label them, and the run learns from the labels that are likely right.",
        "data",
        panel="Data",
        placeholder="FOLDER",
    )
    limit: int | None = setting(
        None, "Use only this many of the training images, chosen at random.", "recipe", panel="Data", within=COUNT
    )
    val_fraction: float | None = setting(
        None,
        "Share of the training images set aside for validation. Default: 0.1, up to 0.2 if that is under 300 images.",
        "data",
        within=Range("share", 0, 1, low_included=False),
    )
    test: bool = setting(
        True, "Read the test images once, at the end; --no-test reports validation figures only.", "data"
    )
    folds: int | None = setting(
        None,
        "Cross-validate: cut the training images into this many parts and test on each of them in a separate run.",
        "data",
        panel="basic",
        within=Range("whole number", 2),
    )
    test_fold: int | None = setting(
        None, "Which of the folds the run is tested on, from 1 up.", "data", compared=False, option=False
    )
    image_size: int | None = setting(
        None,
        "Side in pixels. Default: the images' own; for image files what they show, from 16 to 32.",
        "data",
        within=COUNT,
    )
    crop: Crop = setting(
        "auto",
        "Crop images to their content: on, off, or auto (where it shows more and hides nothing).",
        "data",
        panel="basic",
    )
    channels: int | None = setting(
        None, "1 (grey) or 3 (RGB). Default: the images' own, grey for class folders.", "data", within=(1, 3)
    )
    on_error: OnError = setting(
        "skip",
        "Image files that cannot be read: skip them and list them in skipped.csv, or stop at the first.",
        "data",
        compared=False,
    )
    head: Head = setting(
        "softmax", "softmax (cross-entropy), or sigmoid (one-vs-rest, independent probabilities).", "recipe"
    )
    batch_size: int | None = setting(
        None,
        "Images per step. Default: 128, and fewer on small sets and in short times (--max-time).",
        "recipe",
        within=Range("whole number", 2, because="batch normalisation has no statistics of one image"),
    )
    optimizer: Optimizer = setting(
        "muon", "The optimiser: muon (weight matrices; AdamW for the rest), adamw or adam.", "recipe"
    )
    lr: float = setting(
        1e-2, "The highest learning rate; try 0.003 with --optimizer adamw.", "recipe", within=_POSITIVE
    )
    schedule: Schedule = setting("one-cycle", "How the learning rate changes over the run.", "recipe")
    weight_decay: float | None = setting(
        None,
        "Decoupled weight decay (as in AdamW). Default: 0.05, 0.2 where classes have few images.",
        "recipe",
        within=Range("number", 0),
    )
    dropout: float | None = setting(
        None,
        "Share of units dropped after hidden fully connected layers. Default: 0.3 before resnet-small's class layer.",
        "recipe",
        within=_SHARE,
    )
    label_smoothing: float | None = setting(
        None,
        "Share of the target that is spread evenly over all classes. Default: 0.05, 0.1 where classes have few images.",
        "recipe",
        within=_SHARE,
    )
    ema: float = setting(
        0.05,
        "Keep a moving average of the weights over this share of the steps so far; 0 keeps none.",
        "recipe",
        within=_SHARE,
    )
    patience: int | None = setting(
        None, "Stop after this many epochs without better validation accuracy.", "recipe", within=COUNT
    )
    init: str | None = setting(
        None, "Start from these weights: a released name, run folder or weight file; the rest is new.", "recipe"
    )
    init_sha256: str | None = setting(
        None, "The hash of the weight file that it started from.", "recipe", compared=False, option=False
    )
    sources_sha256: tuple[str, ...] = setting(
        (), "The hashes of the files of --distill and --class-weights.", "recipe", compared=False, option=False
    )
    freeze: Freeze | None = setting(
        None, "Freeze the first 1, 2 or 3 blocks of --init, or all of them (blocks).", "recipe"
    )
    class_weights: str = setting(
        "none",
        "Class weights in the loss: none, balanced, or a .json or .csv file of classes and weights.",
        "recipe",
    )
    sampler: Sampler = setting("uniform", "Show every image once per epoch, or every class equally often.", "recipe")
    select: Select = setting(
        "accuracy",
        "The validation metric that picks the epoch to keep; with --robust, its mean over clean and augmented images.",
        "recipe",
    )
    passes: int | None = setting(
        None,
        "Passes over the training images in an epoch. Default: 1, and more where a pass is only a few steps.",
        "recipe",
        within=COUNT,
    )
    tune: float | None = setting(
        None,
        "First try other learning rates, weight decays, label smoothings and strengths of augmentation for this time "
        "(10m, say), a part of --max-time; one that is better on the validation images by more than chance is used.",
        "recipe",
        within=_POSITIVE,
        unit="time",
        placeholder="TIME",
    )
    trials: int = setting(
        0,
        "How many short trainings were compared on the validation images before the run.",
        "recipe",
        within=Range("whole number", 0),
        compared=False,
        option=False,
    )
    choices: tuple[str, ...] = setting(
        (), "What was chosen where the settings left it open, and why.", "recipe", compared=False, option=False
    )
    distill: tuple[str, ...] = setting(
        (),
        "Also learn from this finished run's predictions (distillation); repeat to average several.",
        "recipe",
    )
    normalize: NormalizeChoice = setting(
        "auto",
        "Remove each image's background and contrast: stretch (even paper), ground (uneven light), none, or auto "
        "(ground where backgrounds vary).",
        "recipe",
        panel="basic",
    )
    augment: bool = setting(
        True, "Change each training image at random, as set by the following options.", "recipe", panel=_AUGMENTATION
    )
    deform: float | None = setting(
        None,
        "Bend images and change the thickness of strokes, by up to this share of the side. Default: 0.1 where classes "
        "have few images.",
        "augmentation",
        within=_SHARE,
    )
    shift: float | None = setting(
        None,
        "Largest shift, as a share of the side; whole pixels with --scale 0 --shear 0. Default: 0.05, 0.08 with "
        "--deform.",
        "augmentation",
        within=_SHARE,
    )
    scale: float | None = setting(
        None,
        "Largest relative change of width and of height. Default: 0.08, 0.15 with --deform.",
        "augmentation",
        within=_SHARE,
    )
    shear: float | None = setting(
        None,
        "Largest shear in either direction; both together turn an image by up to this many radians. Default: 0.12, "
        "0.2 with --deform.",
        "augmentation",
        within=_SHARE,
    )
    flip: Flip = setting(
        "auto",
        "Mirror images in every other epoch: on, off, or auto (where they keep their class).",
        "augmentation",
    )
    still_epochs: float = setting(
        2.0, "Epochs at the end without shift, scale, shear and flip.", "augmentation", within=Range("number", 0)
    )
    cutout: float = setting(
        0.0,
        "Side of a square blanked at a random place, as a share of the image's side.",
        "augmentation",
        within=_SHARE,
    )
    robust: float | Literal["auto"] = setting(
        0.0,
        "In the second half, add stains, uneven light, blur, noise and more to training images, up to this strength, "
        "from 0 to 1; auto keeps what costs at most a point of accuracy on clean ones.",
        "augmentation",
        panel="basic",
        within=Range("share", 0, 1, high_included=True),
    )
    compile: Compile = setting(
        "auto", "Compile the training step: auto (on a CPU, if the run is long enough), on or off.", "engine"
    )
    fuse: bool = setting(
        True,
        "Fuse batch norms into the convolutions, from 16 pixels per side up: the same result up to rounding, faster.",
        "engine",
    )
    deterministic: bool = setting(
        False, "Use only deterministic algorithms (CPU runs are repeatable without it).", "engine"
    )
    keep_epochs: bool = setting(
        False, "Keep the weights of every epoch, in the run folder's epochs/.", "engine", compared=False
    )
    keep_checkpoint: bool = setting(
        False, "Keep the checkpoints of a finished run, to raise --epochs later.", "engine", compared=False
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epochs is not None and self.passes is None:  # whoever counts epochs counts passes
            object.__setattr__(self, "passes", 1)
        if (self.folds is None) != (self.test_fold is None) or not 1 <= (self.test_fold or 1) <= (self.folds or 1):
            raise UsageError(f"A run is tested on one fold of several, got fold {self.test_fold} of {self.folds}.")
        self.check_processes(self.processes)
        if self.tune is not None:
            self._check_tuning(self.tune)
        if self.unlabelled is not None and (self.tune is not None or self.distill):
            raise SettingError("{unlabelled} trains without {tune} and {distill}; leave these out.")
        if self.freeze is not None and (self.init is None or self.arch not in ("auto", *LRNETS)):
            raise SettingError("{freeze} keeps blocks of LR-Net as they are in {init}; give that too, or leave it out.")

    def with_seed(self) -> "TrainConfig":
        """Return these settings with their seed, or with one that is drawn."""
        return self if self.seed is not None else replace(self, seed=secrets.randbelow(2**31))

    def check_processes(self, count: int) -> None:
        """Raise ``SettingError`` for what does not train in ``count`` processes."""
        if count < 2:
            return
        if not self.fuse:
            raise SettingError(
                "{no_fuse} trains in one process: only the fused network has the batch statistics of all."
            )
        if self.arch not in ("auto", *LRNETS):
            raise SettingError(
                "{arch} {name} trains in one process: only LR-Net has the batch statistics of all.", name=self.arch
            )
        for name in ("tune", "unlabelled"):
            if getattr(self, name) is not None:
                raise SettingError(f"{{{name}}} trains in one process; leave out {{gpus}} and {{procs}}.")

    def _check_tuning(self, seconds: float) -> None:
        if self.max_time is not None and seconds > self.max_time / 2:
            raise SettingError("{tune} is a part of {max_time} (of a run), and takes half of it at most.")
        if self.distill:
            raise SettingError("{tune} trains without {distill}, which may need other settings; choose one.")

    @property
    def robust_strength(self) -> float:
        """The strength of what ``robust`` adds in training and to a copy of the validation images."""
        if not self.augment:
            return 0.0
        return 1.0 if self.robust == "auto" else self.robust

    @property
    def two_stages(self) -> bool:
        """Whether images are first learned as they are, and then altered ones, taught by what was learned."""
        return self.robust_strength > 0 and not self.distill

    @classmethod
    def from_preset(cls, preset: str, **given: object) -> "TrainConfig":
        """Return the settings of ``preset`` and architecture, overridden by those in ``given`` that are not None."""
        SETTINGS["preset"].check(preset)
        recipe = {} if preset == "paper" else _RECIPES.get(str(given.get("arch", "auto")), {})
        settings = PRESETS[preset] | recipe | {name: value for name, value in given.items() if value is not None}
        if "max_time" in settings and given.get("epochs") is None:
            settings["epochs"] = None  # not a preset's
        return cls(preset=preset, **settings)  # type: ignore[arg-type]  # it has just been checked


SETTINGS = settings_of(TrainConfig)

BY_NUMBER_OF_IMAGES = (
    *("batch_size", "passes", "epochs"),
    *("deform", "shift", "scale", "shear", "weight_decay", "label_smoothing"),
)
"""The settings that a run chooses by how many images it trains on."""

RUNS = Setting(
    "Train this many times, with the seeds --seed, --seed + 1, …, and report the mean.",
    name="runs",
    kind=int,
    default=None,
    within=COUNT,
)
"""How many times a command trains; it is no setting of any of these runs."""
