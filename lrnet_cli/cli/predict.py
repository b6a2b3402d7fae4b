"""``lrnet predict``."""

import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer
from rich.progress import MofNCompleteColumn

from lrnet_cli.cli import output
from lrnet_cli.cli.options import Device, Invert, Precision, Weights
from lrnet_cli.cli.rows import RowFile, RowFormat, row_writer
from lrnet_cli.errors import ImageError, UsageError

if TYPE_CHECKING:
    from lrnet_cli.inference import Prediction

Format = Literal["table", "json", "jsonl", "csv"]


def predict_command(
    inputs: Annotated[
        list[str], typer.Argument(help="Files, folders, globs, or - for a list of paths on stdin.", show_default=False)
    ],
    weights: Weights = None,
    top_k: Annotated[int, typer.Option(help="How many of the likeliest classes to tell.")] = 1,
    min_confidence: Annotated[
        float, typer.Option(help="Answer 'unknown' where the likeliest class has a lower probability than this.")
    ] = 0.0,
    invert: Invert = "auto",
    format: Annotated[
        Format | None,
        typer.Option(help="How to give the predictions.", show_default="table, or the suffix of --output"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    to: Annotated[
        Path | None,
        typer.Option("--output", help="Write csv or jsonl rows to this file, which appears once it is whole."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted --output.")] = False,
    save_inputs: Annotated[
        Path | None, typer.Option(help="Write what the network saw of each picture, as PNG files, to this folder.")
    ] = None,
    explain: Annotated[
        Path | None,
        typer.Option(
            help="Write to this folder, for each picture, a PNG of the pixels that spoke for its label (red) "
            "and against it (blue). Needs the extra 'explain'."
        ),
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Tell what pictures show: a label and its calibrated probability for each."""
    if top_k < 1:
        raise UsageError(f"--top-k takes a whole number from 1 up, got {top_k}.")
    if not 0 <= min_confidence <= 1:
        raise UsageError(f"--min-confidence takes a probability from 0 to 1, got {min_confidence:g}.")
    form = _form("json" if as_json else format, to, resume)
    from lrnet_cli.devices import resolve_device
    from lrnet_cli.inference import Classifier
    from lrnet_cli.weights import find_weights

    path = find_weights(weights)
    classifier = Classifier.load(path, device=device, precision=precision)
    output.message(f"Weights: {path}. Device: {classifier.runs_on}.")
    top_k = min(top_k, len(classifier.card.classes))
    pictures = [_inputs_saver(save_inputs)] if save_inputs is not None else []
    if explain is not None:
        from lrnet_cli.explain import Explainer

        pictures.append(_explanations_saver(explain, Explainer(path, resolve_device(device))))
    rows = None
    if to is not None:
        settings = [form, top_k, min_confidence, invert, str(save_inputs), str(explain)]
        digest = hashlib.sha256(path.read_bytes() + json.dumps(settings).encode())
        rows = RowFile(to, cast("RowFormat", form), top_k, digest.hexdigest()[:8], resume=resume)
        if rows.is_complete:
            output.message(f"{to} is whole already: there is nothing to go on with.")
            return
    done, failed = 0, 0
    is_quiet = form in ("csv", "jsonl") and to is None and sys.stdout.isatty()  # rows on the terminal are progress
    bar = output.progress(MofNCompleteColumn(), output.RateColumn())
    bar.disable |= is_quiet

    def records() -> Iterator[dict[str, Any]]:
        nonlocal done, failed
        task = bar.add_task("", total=None if bar.disable or "-" in inputs else sum(1 for _ in find_inputs(inputs)))
        found = _not_done(find_inputs(inputs), rows) if rows is not None else find_inputs(inputs)
        place = rows.done.total() if rows is not None else 0
        bar.update(task, completed=place)
        for source, outcome in classifier.stream(found, invert=invert, min_confidence=min_confidence):
            place += 1
            bar.advance(task)
            if isinstance(outcome, ImageError):
                failed += 1
                output.error(f"{shown(source)}: {outcome}.")
                yield {"path": shown(source), "error": str(outcome)}
                continue
            done += 1
            record = {
                "path": shown(source),
                "label": outcome.label,
                "index": outcome.index,
                "probability": outcome.probability,
                "top": [{"label": label, "probability": share} for label, share in outcome.top[:top_k]],
                "inverted": outcome.inverted,
            }
            for save in pictures:
                record |= save(place, source, outcome)
            yield record

    with bar if not bar.disable else nullcontext(), rows or nullcontext():
        if rows is not None:
            _write(records(), rows)
            done, failed = done + rows.done.total() - rows.failed, failed + rows.failed
        elif form == "json":
            output.print_json({"schema": "lrnet.predict/1", "weights": str(path), "predictions": list(records())})
        elif form == "table":
            _print_table(records(), top_k)
        else:
            write = row_writer(sys.stdout, form, top_k)
            for record in records():
                write(record)
    if failed:
        raise typer.Exit(3 if done else 1)


def find_inputs(inputs: Iterable[str]) -> Iterator[Path]:
    """Yield the picture files meant by ``inputs``, in order; what does not exist is yielded as it stands.

    Raises ``UsageError`` for a folder or pattern that gives no picture.
    """
    for text in inputs:
        if text == "-":
            lines = (line.rstrip("\n").rstrip("\r") for line in sys.stdin)
            yield from (Path(line) for line in lines if line)
            continue
        path = Path(text).expanduser()
        if path.is_dir():
            found = _pictures_below(path)
        elif not path.exists() and any(mark in text for mark in "*?["):
            anchor = Path(path.anchor or ".")
            found = iter(sorted(p for p in anchor.glob(str(path.relative_to(path.anchor))) if not p.is_dir()))
        else:
            yield path
            continue
        first = next(found, None)
        if first is None:
            from lrnet_cli.data.images import IMAGE_SUFFIXES

            raise UsageError(f"{text}: gives no picture ({', '.join(sorted(IMAGE_SUFFIXES))}).")
        yield first
        yield from found


def _pictures_below(folder: Path) -> Iterator[Path]:
    """Yield what is named like a picture in ``folder`` and below, sorted, holding one folder's names at a time.

    Links to folders are not followed. A folder that cannot be read is yielded itself, and so becomes an error's row.
    """
    from lrnet_cli.data.images import IMAGE_SUFFIXES

    try:
        with os.scandir(folder) as entries:
            listed = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    except OSError:
        yield folder
        return
    for name, is_folder in listed:
        if is_folder:
            yield from _pictures_below(folder / name)
        elif Path(name).suffix.lower() in IMAGE_SUFFIXES and not (folder / name).is_dir():
            yield folder / name


def shown(path: Path) -> str:
    r"""Return ``path`` as text; bytes that are no UTF-8 appear as ``\xNN``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _form(form: Format | None, to: Path | None, resume: bool) -> Format:
    if to is None:
        if resume:
            raise UsageError("--resume goes on with an interrupted --output; name that file.")
        return form or "table"
    form = form or cast("Format | None", {".csv": "csv", ".jsonl": "jsonl"}.get(to.suffix.lower()))
    if form not in ("csv", "jsonl"):
        raise UsageError(f"{to}: --output is written as csv or jsonl; name it so, or choose with --format.")
    return form


def _not_done(paths: Iterable[Path], rows: RowFile) -> Iterator[Path]:
    left = rows.done.copy()
    for path in paths:
        if left[shown(path)]:
            left[shown(path)] -= 1
        else:
            yield path


def _write(records: Iterator[dict[str, Any]], rows: RowFile) -> None:
    try:
        for record in records:
            rows.write(record)
        rows.finish()
    except KeyboardInterrupt:
        if rows.count:
            output.message(f"{rows.count} rows are in {rows.part}; go on with --resume.")
        raise


_Saver = Callable[[int, Path, "Prediction"], dict[str, str]]


def _inputs_saver(folder: Path) -> _Saver:
    from lrnet_cli.data.images import write_pixels

    return _saver(folder, "input", lambda target, prediction: write_pixels(target, prediction.pixels))


def _explanations_saver(folder: Path, explainer: Any) -> _Saver:
    from lrnet_cli.explain import write_overlay

    def save(target: Path, prediction: "Prediction") -> None:
        index = explainer.classes.index(prediction.top[0][0])
        write_overlay(target, prediction.pixels, explainer.attribute(prediction.pixels, index))

    return _saver(folder, "explanation", save)


def _saver(folder: Path, key: str, save: Callable[[Path, "Prediction"], None]) -> _Saver:
    """Return what saves a picture's PNG in ``folder``, under its place and name, and gives the record's entry."""

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


def _print_table(records: Iterator[dict[str, Any]], top_k: int) -> None:
    def cells(record: dict[str, Any]) -> list[str]:
        if "error" in record:
            return [record["path"], "error: " + record["error"], "", ""]
        top = ", ".join(f"{entry['label']} {entry['probability']:.4f}" for entry in record["top"][1:])
        return [
            record["path"],
            record["label"],
            f"{record['probability']:.4f}",
            "yes" if record["inverted"] else "no",
            top,
        ]

    columns = ["picture", "label", "probability", "inverted"] + (["next"] if top_k > 1 else [])
    output.print_table(columns, ([*cells(record), ""][: len(columns)] for record in records))
