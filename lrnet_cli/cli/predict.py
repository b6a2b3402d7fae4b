"""``lrnet predict``."""

import hashlib
import json
import math
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer
from rich.progress import MofNCompleteColumn

from lrnet_cli import ranks
from lrnet_cli.cli import output
from lrnet_cli.cli.inputs import shown
from lrnet_cli.cli.launch import among, launch_if_asked, note_way_on
from lrnet_cli.cli.output import Data, Output
from lrnet_cli.cli.records import Saver, Work
from lrnet_cli.cli.rows import RowFile, RowFormat, row_writer
from lrnet_cli.cli.settings import with_request
from lrnet_cli.errors import UsageError
from lrnet_cli.settings.requests import Format, PredictRequest

if TYPE_CHECKING:
    from lrnet_cli.predict.classifier import Prediction

_MAX_NOVELTY = 1.0
_PLACE = ("device", "precision", "gpus", "procs", "threads")
# What to do if a process is lost, without and with --output.
_WAY_ON = ("Run the command again.", "The rows so far are kept; continue with --resume.")
EXAMPLES = (
    "lrnet predict photo.jpg",
    "lrnet predict scans/ --weights runs/stamps --output labels.csv",
    "find scans -name '*.png' | lrnet predict - --format jsonl",
)


@with_request(PredictRequest)
def predict_command(
    request: PredictRequest,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Classify images: a label and its calibrated probability for each."""
    chosen, to, resume, spreadsheet = request.format, request.output, request.resume, request.spreadsheet
    invert, min_confidence, max_novelty = request.invert, request.min_confidence, request.max_novelty
    weights, inputs, top_k = request.weights, list(request.inputs), request.top_k
    save_inputs, explain = request.save_inputs, request.explain
    given: dict[str, Any] = {name: getattr(request, name) for name in _PLACE}
    form = _form(chosen, as_json, to, resume, spreadsheet)
    launch_if_asked(request)
    asked: dict[str, Any] = {"invert": invert, "min_confidence": min_confidence, "max_novelty": max_novelty}
    work = _predict(given, weights, inputs, asked, top_k, form, to, resume, save_inputs, explain)
    if work.failed and ranks.is_first():
        raise typer.Exit(3 if work.done else 1)


def _predict(
    place: dict[str, Any],
    weights: str | None,
    inputs: list[str],
    asked: dict[str, Any],
    top_k: int,
    form: Format | RowFormat,
    to: Path | None,
    resume: bool,
    save_inputs: Path | None,
    explain: Path | None,
) -> Work:
    """Predict at ``place`` and return the work, which all processes share and whose rows the first one writes."""
    from lrnet_cli.models.engine import Engine
    from lrnet_cli.predict.classifier import Classifier
    from lrnet_cli.processes import joined, loss_named
    from lrnet_cli.weights.find import find_weights, fingerprint_of

    path, way_on = find_weights(weights), _WAY_ON[to is not None]
    with joined(Engine.choose(**place).device) as processes, loss_named(processes, lambda: way_on):
        classifier = Classifier.load(path, **place)
        top_k, rows = min(top_k, len(classifier.card.classes)), None
        output.message(f"Weights: {path}. Device: {classifier.runs_on}{among(processes)}.")
        if classifier.card.novelty is None and asked["max_novelty"] not in (_MAX_NOVELTY, math.inf):
            output.message(f"{path}: these weights cannot tell foreign images, so --max-novelty has no effect.")
        if processes.is_first:
            note_way_on(way_on)
        if processes.is_first and to is not None:
            thresholds = asked["min_confidence"], asked["max_novelty"]
            settings = [form, top_k, *thresholds, asked["invert"], str(save_inputs), str(explain)]
            digest = hashlib.sha256((fingerprint_of(path) + json.dumps(settings)).encode())
            rows = RowFile(to, cast("RowFormat", form), top_k, digest.hexdigest()[:8], resume=resume)
        bar = output.progress(MofNCompleteColumn(), output.RateColumn())
        # Rows on the terminal show the progress.
        bar.disable |= form in get_args(RowFormat) and to is None and sys.stdout.isatty()
        savers = _savers(path, place.get("device", "auto"), save_inputs, explain)
        work = Work(classifier, processes, inputs, asked, top_k, savers, rows, bar)
        with bar if not bar.disable else nullcontext(), rows or nullcontext():
            _render(work, path, form)
        work.remark()
    return work


def _render(work: Work, weights: Path, form: Format | RowFormat) -> None:
    if not work.processes.is_first:
        for _ in work.records():  # the first process shows them
            pass
    elif work.rows is not None:
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
        if not rows.added:
            output.message(f"{rows.path} already has a row for each input; none was added.")
    except KeyboardInterrupt:
        if rows.count:
            output.message(f"{rows.count} rows are in {rows.part}; continue with --resume.")
        raise


def _savers(weights: Path, device: str, save_inputs: Path | None, explain: Path | None) -> list[Saver]:
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


def _saver(folder: Path, key: str, save: Callable[[Path, "Prediction"], None]) -> Saver:
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
