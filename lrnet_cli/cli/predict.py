"""``lrnet predict``."""

import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast, get_args

import typer
from rich.progress import MofNCompleteColumn, Progress

from lrnet_cli.cli import output
from lrnet_cli.cli.inputs import find_inputs, shown
from lrnet_cli.cli.options import Invert, Spreadsheet, Weights
from lrnet_cli.cli.output import Data, Output
from lrnet_cli.cli.rows import RowFile, RowFormat, row_writer
from lrnet_cli.cli.settings import with_settings
from lrnet_cli.errors import ImageError, UsageError

if TYPE_CHECKING:
    from lrnet_cli.predict.classifier import Classifier, Prediction

_ENOUGH, _SIZED = 5, 20  # pictures: to judge polarity by; whose sizes are looked at
_LARGE = 12  # sides of the network's input
Format = Literal["table", "json", "jsonl", "csv"]
_Saver = Callable[[int, Path, "Prediction"], dict[str, str]]
EXAMPLES = (
    "lrnet predict photo.jpg",
    "lrnet predict scans/ --weights runs/stamps --output labels.csv",
    "find scans -name '*.png' | lrnet predict - --format jsonl",
)


@with_settings("device", "precision", spreadsheet=Spreadsheet)
def predict_command(
    given: dict[str, Any],
    inputs: Annotated[
        list[str], typer.Argument(help="Files, folders, globs, or - for a list of paths on stdin.", show_default=False)
    ],
    weights: Weights = None,
    top_k: Annotated[int, typer.Option(help="How many of the most likely classes to show.")] = 1,
    min_confidence: Annotated[
        float, typer.Option(help="Answer 'unknown' where the most likely class has a lower probability.")
    ] = 0.0,
    max_novelty: Annotated[
        float,
        typer.Option(
            help="Answer 'unknown' where a picture is more foreign than this; inf never. 1 lets 99 % of the "
            "validation pictures pass."
        ),
    ] = 1.0,
    invert: Invert = "auto",
    format: Annotated[
        Format | None,
        typer.Option(help="The format of the predictions.", show_default="table, or the suffix of --output"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    to: Annotated[
        Path | None,
        typer.Option("--output", help="Write csv or jsonl rows to this file, which appears once it is complete."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume an interrupted --output.")] = False,
    save_inputs: Annotated[
        Path | None, typer.Option(help="Write each picture as the network saw it, as a PNG file, to this folder.")
    ] = None,
    explain: Annotated[
        Path | None,
        typer.Option(
            help="Write to this folder, for each picture, a PNG of the pixels that count for its label (red) "
            "and against it (blue). Needs the extra 'explain'."
        ),
    ] = None,
) -> None:
    """Classify pictures: a label and its calibrated probability for each."""
    _check(top_k, min_confidence, max_novelty)
    form = _form(format, as_json, to, resume, given.pop("spreadsheet"))
    from lrnet_cli.predict.classifier import Classifier
    from lrnet_cli.weights.find import find_weights, fingerprint_of

    path = find_weights(weights)
    classifier = Classifier.load(path, **given)
    output.message(f"Weights: {path}. Device: {classifier.runs_on}.")
    top_k = min(top_k, len(classifier.card.classes))
    savers = _savers(path, given.get("device", "auto"), save_inputs, explain)
    rows = None
    if to is not None:
        settings = [form, top_k, min_confidence, max_novelty, invert, str(save_inputs), str(explain)]
        digest = hashlib.sha256((fingerprint_of(path) + json.dumps(settings)).encode())
        rows = RowFile(to, cast("RowFormat", form), top_k, digest.hexdigest()[:8], resume=resume)
        if rows.is_complete:
            output.message(f"{to} is already complete: there is nothing to resume.")
            return
    bar = output.progress(MofNCompleteColumn(), output.RateColumn())
    # Rows on the terminal show the progress.
    bar.disable |= form in get_args(RowFormat) and to is None and sys.stdout.isatty()
    asked: dict[str, Any] = {"invert": invert, "min_confidence": min_confidence, "max_novelty": max_novelty}
    work = _Work(classifier, inputs, asked, top_k, savers, rows, bar)
    with bar if not bar.disable else nullcontext(), rows or nullcontext():
        _render(work, path, form)
    work.remark()
    if work.failed:
        raise typer.Exit(3 if work.done else 1)


@dataclass
class _Work:
    """The current prediction, by the settings ``asked`` of the classifier.

    ``done`` and ``failed`` count pictures, including those of an interrupted output.
    """

    classifier: "Classifier"
    inputs: list[str]
    asked: dict[str, Any]
    top_k: int
    savers: list[_Saver]
    rows: RowFile | None
    bar: Progress
    done: int = 0
    failed: int = 0
    unknown: int = 0  # of those of this process, as the next ones
    inverted: int = 0
    sides: list[int] = field(default_factory=list)

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield one record per picture, as it is predicted."""
        found, rows, place = find_inputs(self.inputs), self.rows, 0
        if rows is not None:
            place, self.failed = rows.count, rows.failed
            self.done = place - self.failed
            found = (path for path in found if rows.lacks(shown(path)))
        is_unknown = self.bar.disable or "-" in self.inputs
        task = self.bar.add_task("", total=None if is_unknown else sum(1 for _ in find_inputs(self.inputs)))
        self.bar.update(task, completed=place)
        for source, outcome in self.classifier.stream(found, **self.asked):
            place += 1
            self.bar.advance(task)
            yield self._record(place, source, outcome)

    def remark(self) -> None:
        """Say what became of the pictures, and where they are, as a whole, foreign to the weights."""
        if self.rows is not None:
            output.message(f"{self.done} pictures have a row, {self.unknown} as unknown; {self.failed} cannot be read.")
        preprocessing = self.classifier.card.preprocessing
        if self.done >= _ENOUGH and self.inverted > self.done / 2:
            output.message(
                f"{self.inverted} of {self.done} pictures were inverted, since the weights know "
                f"{preprocessing.polarity} ones; if the labels look wrong, try --invert no."
            )
        if self.sides and median(self.sides) > _LARGE * preprocessing.image_size:
            output.message(
                f"The pictures are about {median(self.sides):.0f} pixels wide or high, and the weights see "
                f"{preprocessing.image_size}: fine detail is lost."
            )

    def _record(self, place: int, source: Path, outcome: "Prediction | ImageError") -> dict[str, Any]:
        if isinstance(outcome, ImageError):
            self.failed += 1
            output.error(f"{shown(source)}: {outcome}.")
            return {"path": shown(source), "error": str(outcome)}
        self.done += 1
        self.unknown += outcome.index is None
        self.inverted += outcome.inverted
        if len(self.sides) < _SIZED:
            from lrnet_cli.data.images import longer_side  # loads Pillow

            self.sides.append(longer_side(source))
        record = {
            "path": shown(source),
            "label": outcome.label,
            "index": outcome.index,
            "probability": outcome.probability,
            "top": [{"label": label, "probability": share} for label, share in outcome.top[: self.top_k]],
            "novelty": None if outcome.novelty is None else round(outcome.novelty, 4),
            "inverted": outcome.inverted,
        }
        for save in self.savers:
            record |= save(place, source, outcome)
        return record


def _check(top_k: int, min_confidence: float, max_novelty: float) -> None:
    """Raise ``UsageError`` for a number that cannot be used, before PyTorch is loaded."""
    if top_k < 1:
        raise UsageError(f"--top-k takes a whole number from 1 up, got {top_k}.")
    if not 0 <= min_confidence <= 1:
        raise UsageError(f"--min-confidence takes a probability from 0 to 1, got {min_confidence:g}.")
    if not max_novelty > 0:
        raise UsageError(f"--max-novelty takes a number above 0, got {max_novelty:g}.")


def _render(work: _Work, weights: Path, form: Format | RowFormat) -> None:
    if work.rows is not None:
        _write(work.records(), work.rows)
    elif form == "json":
        predictions = list(work.records())
        document = {"schema": "lrnet.predict/1", "weights": str(weights), "predictions": predictions}
        Output(as_json=True).document(document)
    elif form == "table":
        _show_table(work.records(), work.top_k)
    else:
        write = row_writer(Data(), form, work.top_k)
        for record in work.records():
            write(record)


def _form(format: Format | None, as_json: bool, to: Path | None, resume: bool, spreadsheet: bool) -> Format | RowFormat:
    form = _written_form(format, as_json, to, resume)
    if spreadsheet and form != "csv":
        raise UsageError(f"--spreadsheet is for csv, not for {form}; add --format csv.")
    return "spreadsheet" if spreadsheet else form


def _written_form(form: Format | None, as_json: bool, to: Path | None, resume: bool) -> Format:
    if as_json and form not in (None, "json"):
        raise UsageError(f"--json means --format json, which contradicts --format {form}; give one of them.")
    form = "json" if as_json else form
    if to is None:
        if resume:
            raise UsageError("--resume resumes an interrupted --output; name that file.")
        return form or "table"
    form = form or cast("Format | None", {".csv": "csv", ".jsonl": "jsonl"}.get(to.suffix.lower()))
    if form not in ("csv", "jsonl"):
        raise UsageError(f"{to}: --output is written as csv or jsonl; change the suffix, or choose with --format.")
    return form


def _write(records: Iterator[dict[str, Any]], rows: RowFile) -> None:
    try:
        for record in records:
            rows.write(record)
        rows.finish()
    except KeyboardInterrupt:
        if rows.count:
            output.message(f"{rows.count} rows are in {rows.part}; continue with --resume.")
        raise


def _savers(weights: Path, device: str, save_inputs: Path | None, explain: Path | None) -> list[_Saver]:
    savers = []
    if save_inputs is not None:
        from lrnet_cli.data.images import write_pixels

        savers.append(_saver(save_inputs, "input", lambda target, prediction: write_pixels(target, prediction.pixels)))
    if explain is not None:
        from lrnet_cli.devices import resolve_device
        from lrnet_cli.predict.explain import Explainer, write_overlay

        explainer = Explainer(weights, resolve_device(device))

        def save(target: Path, prediction: "Prediction") -> None:
            index = explainer.classes.index(prediction.top[0][0])
            write_overlay(target, prediction.pixels, explainer.attribute(prediction.pixels, index))

        savers.append(_saver(explain, "explanation", save))
    return savers


def _saver(folder: Path, key: str, save: Callable[[Path, "Prediction"], None]) -> _Saver:
    """Return a function that saves a picture's PNG in ``folder``, named by place and name, and gives its entry."""

    def saved(place: int, source: Path, prediction: "Prediction") -> dict[str, str]:
        name = re.sub(r"[^\w.-]", "_", shown(Path(source.stem)))[:80]
        target = folder / f"{place:06}-{name}.png"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            save(target, prediction)
        except OSError as error:
            raise UsageError(f"{target}: cannot be written ({error.strerror or error}).") from error
        return {key: str(target)}

    return saved


def _show_table(records: Iterator[dict[str, Any]], top_k: int) -> None:
    def cells(record: dict[str, Any]) -> list[str]:
        if "error" in record:
            return [record["path"], "error: " + record["error"], "", "", ""]
        top = ", ".join(f"{entry['label']} {entry['probability']:.4f}" for entry in record["top"][1:])
        return [
            record["path"],
            record["label"],
            f"{record['probability']:.4f}",
            "" if record["novelty"] is None else f"{record['novelty']:.2f}",
            "yes" if record["inverted"] else "no",
            top,
        ]

    columns = ["picture", "label", "probability", "novelty", "inverted"] + (["next"] if top_k > 1 else [])
    Output(as_json=False).table(columns, ([*cells(record), ""][: len(columns)] for record in records))
