"""What every job but training is asked to do: a dataclass of declared settings each, as ``TrainConfig`` is.

Options, checks and help are derived from these fields. Nothing here imports PyTorch.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lrnet_cli.errors import SettingError
from lrnet_cli.settings.place import Cache, Device, Place, Source
from lrnet_cli.settings.setting import COUNT, Range, Request, setting
from lrnet_cli.settings.words import Arch, Invert

Split = Literal["test", "train", "val"]
Format = Literal["table", "json", "jsonl", "csv"]
RowFormat = Literal["csv", "spreadsheet", "jsonl"]
"""How rows are written; a spreadsheet is CSV in which no text is a formula."""
_ROW_FORMATS: dict[str, RowFormat] = {"csv": "csv", "jsonl": "jsonl"}
_WEIGHTS = "A weight file, a run folder, or a released network: digits, fashion or fashion-clean."
_NEWEST = "the newest run of this user, else digits"
_THEIR_OWN = "the data set that the weights were trained on"
_INVERT = "Swap light and dark: yes, no, or auto: decided for each image by the polarity of the training images."
_SPREADSHEET = "Write CSV for a spreadsheet: with an apostrophe before any text that it would read as a formula."


@dataclass(frozen=True, kw_only=True)
class EvalRequest(Place, Source):
    """What to evaluate, on which images, and where to write the results."""

    weights: str | None = setting(None, _WEIGHTS, default_text=_NEWEST)
    dataset: str | None = setting(None, "A known data set or a path.", default_text=_THEIR_OWN)
    split: Split = setting("test", "The split: test, train or val.")
    limit: int | None = setting(None, "Use only this many images of the split, chosen at random.", within=COUNT)
    tta: bool = setting(False, "Average over views of each image: shifted by a pixel, and mirrored if training did so.")
    against: str | None = setting(None, "Compare with these weights, image by image (McNemar's test).")
    corruptions: bool = setting(False, "Measure the accuracy under 24 corruptions, each at 5 severities.")
    foreign: tuple[str, ...] = setting(
        (), "Measure how well images of this other data set are recognised as unfamiliar; repeat for more."
    )
    plot: Path | None = setting(None, "Plot the accuracies under --corruptions to this PNG file.")
    report: Path | None = setting(None, "Write a report, one self-contained HTML file.")
    predictions: Path | None = setting(None, "Write the prediction for every image to this CSV file.")
    probabilities: bool = setting(False, "Add the probability of every class to --predictions.")
    spreadsheet: bool = setting(False, _SPREADSHEET)
    invert: Invert = setting("no", _INVERT)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.probabilities and self.predictions is None:
            raise SettingError("{probabilities} adds columns to {predictions}; give both.")
        if self.spreadsheet and self.predictions is None:
            raise SettingError("{spreadsheet} is for the file of {predictions}; give both.")
        if self.plot is not None and not self.corruptions:
            raise SettingError("{plot} shows the accuracies under {corruptions}; give both.")


@dataclass(frozen=True, kw_only=True)
class PredictRequest(Place):
    """Which image files to predict, with which weights, and where the predictions go."""

    inputs: tuple[str, ...] = setting(
        ..., "Files, folders, globs, - for a list of paths on stdin, or samples for included ones.", argument=True
    )
    weights: str | None = setting(None, _WEIGHTS, default_text=_NEWEST)
    top_k: int = setting(1, "How many of the most likely classes to show.", within=COUNT)
    min_confidence: float = setting(
        0.0,
        "Answer 'unknown' where the most likely class has a lower probability.",
        within=Range("share", 0, 1, high_included=True),
    )
    max_novelty: float = setting(
        1.0,
        "Answer 'unknown' above this novelty. At 1, 99% of the validation images are accepted; inf turns this off.",
        within=Range("number", 0, low_included=False, high_included=True),
    )
    max_error: float | None = setting(
        None,
        "Accept as many labels as possible so that at most this share of them is wrong, for images like the "
        "validation images; answer 'unknown' for the others.",
        panel="Promise",
        within=Range("share", 0, 0.5, low_included=False),
    )
    confidence: float = setting(0.95, "The confidence of --max-error.", panel="Promise", within=Range("share", 0.5, 1))
    by_class: bool = setting(False, "Promise --max-error for each predicted class by itself.", panel="Promise")
    label_set: float | None = setting(
        None,
        "Add the set of labels that holds the right one with this probability, for images like the validation images.",
        panel="Promise",
        within=Range("share", 0.5, 1),
    )
    invert: Invert = setting("auto", _INVERT)
    format: Format | None = setting(
        None, "Write a table, json, jsonl or csv.", default_text="table, or the suffix of --output"
    )
    output: Path | None = setting(None, "Write csv or jsonl rows to this file, which appears once it is complete.")
    resume: bool = setting(False, "Add rows to --output for the inputs that have none, or an error.")
    spreadsheet: bool = setting(False, _SPREADSHEET)
    merge: tuple[str, ...] = setting(
        (), "Let the answers in this list, which lrnet review saved, stand before the network's; repeat it for more."
    )
    save_inputs: Path | None = setting(None, "Write each image as the network saw it, as a PNG file, to this folder.")
    explain: Path | None = setting(
        None,
        "Write to this folder, for each image, a PNG of the pixels that count for its label (red) and against it "
        "(blue). Needs the extra 'explain'.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.resume and self.output is None:
            raise SettingError("{resume} resumes an interrupted {output}; name that file.")
        if self.output is not None and self._format not in _ROW_FORMATS:
            raise SettingError(
                "{path}: {output} is written as csv or jsonl; change the suffix, or choose with {format}.",
                path=self.output,
            )
        if self.max_error is None and (self.by_class or self.confidence != PredictRequest.confidence):
            raise SettingError("{confidence} and {by_class} are for the promise of {max_error}; give that too.")
        if self.max_error is not None and self.min_confidence:
            raise SettingError("{max_error} finds the least confidence itself; leave out {min_confidence}.")
        if self.spreadsheet and self._format != "csv":
            raise SettingError("{spreadsheet} is for csv, not for {word}; add {format} csv.", word=self._format)

    @property
    def row_format(self) -> RowFormat | None:
        """How rows are written; None for a table or one JSON document."""
        return "spreadsheet" if self.spreadsheet else _ROW_FORMATS.get(self._format)

    @property
    def _format(self) -> str:
        if self.format is not None or self.output is None:
            return self.format or "table"
        return self.output.suffix.lower().removeprefix(".")


@dataclass(frozen=True, kw_only=True)
class AuditRequest(Request):
    """Which labels a person checks at random, or has checked."""

    labels: Path = setting(..., "The csv or jsonl file that lrnet predict wrote.", argument=True)
    n: int = setting(300, "How many accepted labels to draw.", within=COUNT)
    output: Path | None = setting(None, "Write the drawn images to this CSV file.", default_text="LABELS-audit.csv")
    answers: Path | None = setting(
        None, "Read back the checked list, a CSV file with file_name, label, reviewed and previous."
    )
    max_error: float | None = setting(
        None,
        "With --answers: the error that was promised; above it the exit code is 3.",
        default_text="that of LABELS",
        within=Range("share", 0, 1, low_included=False),
    )
    confidence: float = setting(0.95, "The confidence of the interval.", within=Range("share", 0.5, 1))
    seed: int | None = setting(None, "Seed of the draw.", within=Range("whole number", 0), default_text="drawn")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.answers is None and self.max_error is not None:
            raise SettingError("{max_error} is compared with what {answers} say; give both.")
        usual = {"output": None, "seed": None, "n": type(self).n}
        drawing = [name for name, default in usual.items() if getattr(self, name) != default]
        if self.answers is not None and drawing:
            raise SettingError(f"{{{drawing[0]}}} is for a new draw, not for {{answers}}; leave one of them out.")


@dataclass(frozen=True, kw_only=True)
class ExportRequest(Source):
    """Which weights to export, to which file."""

    to: Path = setting(..., "The file to write: .onnx (needs the extra 'export') or .pt2.")
    weights: str | None = setting(None, _WEIGHTS, default_text=_NEWEST)
    int8: bool = setting(False, "Quantise to int8, several times as fast (LR-Net and .onnx only).")
    dataset: str | None = setting(
        None,
        "With --int8: the data set whose validation images are used, half to calibrate and half to measure the loss.",
        default_text=_THEIR_OWN,
    )
    max_loss: float | None = setting(
        None,
        "With --int8: refuse if more points of accuracy than this are lost.",
        default_text="0.1",
        within=Range("number", 0, 100, high_included=True),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.int8 and (self.dataset is not None or self.max_loss is not None):
            raise SettingError("{dataset} and {max_loss} are for {int8}; add it.")


@dataclass(frozen=True, kw_only=True)
class CheckRequest(Device, Source):
    """Which data set to check, and whether training on it is tried."""

    dataset: str = setting(..., "A known data set or a path.", argument=True)
    try_: float | None = setting(
        None,
        "Also train for about this time on a quarter, a half and all of the training images, and say what accuracy to "
        "expect and what more images would gain: 2m, 10m, or seconds.",
        within=Range("number", 0, low_included=False),
        unit="time",
        placeholder="TIME",
    )
    report: Path | None = setting(None, "Write a page with a contact sheet, one HTML file.")


@dataclass(frozen=True, kw_only=True)
class SelectRequest(Device):
    """From which images to select those that a person labels first."""

    inputs: tuple[str, ...] = setting(..., "Files, folders, globs, or - for a list of paths on stdin.", argument=True)
    n: int = setting(200, "How many images to select, a tenth of them at random.", within=Range("whole number", 10))
    weights: str | None = setting(
        None,
        "A network that compares the images, too; if it knows the labels of --answers, its doubt decides.",
    )
    answers: tuple[str, ...] = setting(
        (), "What is labelled already, a list that a review page saved; repeat it for more."
    )
    output: Path = setting(Path("selected.csv"), "Write the selected images to this list, with earlier answers.")
    seed: int = setting(
        0,
        "Seed of the clusters and of the random tenth.",
        within=Range("whole number", 0, 2**32 - 1, high_included=True),
    )


@dataclass(frozen=True, kw_only=True)
class ReviewRequest(Device):
    """Which labels to show to a person, and where the page is written."""

    source: Path = setting(
        ...,
        "Predictions or a list of labels (.csv, .jsonl, .parquet), a folder of images, or a run with folds, for its "
        "suspects.",
        argument=True,
    )
    output: Path | None = setting(
        None,
        "The page to write; or a .csv file, for the list with the answers so far.",
        default_text="SOURCE-review.html, here",
    )
    weights: str | None = setting(
        None,
        "Show what this network saw, too; it also labels images without a label, and says how likely other labels are.",
    )
    answers: tuple[str, ...] = setting(
        (), "Answers that a page saved before, a list; they stand, and are not asked again. Repeat it for more."
    )
    audit: bool = setting(False, "Show the images as one group without their labels, each to be answered afresh.")
    from_folders: bool = setting(False, "Take the name of the folder that an image lies in as its label.")
    select: int | None = setting(
        None,
        "Show only this many images of a folder, those to label first, as lrnet select does.",
        within=Range("whole number", 10),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.audit and self.from_folders:
            raise SettingError("{audit} hides the labels that {from_folders} takes; choose one.")
        if self.select is not None and (self.audit or self.from_folders):
            raise SettingError("{select} is for images without labels; leave out {audit} and {from_folders}.")


@dataclass(frozen=True, kw_only=True)
class InfoRequest(Cache):
    """What to describe: this installation, a network or a weight file."""

    arch: Literal[Arch, "all"] | None = setting(
        None,
        "Show the layers of this network instead, with their costs; all: the costs of each network.",
    )
    image_size: int | None = setting(
        None, "With --arch: the side of the images in pixels.", within=COUNT, default_text="28"
    )
    channels: int | None = setting(None, "With --arch: 1 (grey) or 3 (RGB).", within=(1, 3), default_text="1")
    classes: int | None = setting(None, "With --arch: the number of classes.", within=COUNT, default_text="10")
    weights: str | None = setting(None, "Show the metadata of these weights instead: a file, run folder or name.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.arch is not None and self.weights is not None:
            raise SettingError("{arch} shows a network and {weights} a weight file; choose one.")
        if self.arch is None and (self.image_size, self.channels, self.classes) != (None, None, None):
            raise SettingError("{image_size}, {channels} and {classes} are for the network of {arch}; name one.")


@dataclass(frozen=True, kw_only=True)
class BenchRequest(Device):
    """What to measure the speed of."""

    image_size: int = setting(28, "Side of the images in pixels.", within=Range("whole number", 8))
    batch_size: int = setting(128, "Images per batch.", within=Range("whole number", 2))
    rounds: int = setting(5, "Rounds to measure, after one warm-up round.", within=COUNT)
    bf16: bool = setting(False, "Also under bfloat16 autocast.")
    compile: bool = setting(False, "Also compiled, which takes minutes on a CPU.")
    int8: bool = setting(False, "Also as exported in int8, on the CPU; needs the extra 'export'.")
