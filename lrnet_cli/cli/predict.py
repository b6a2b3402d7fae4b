"""``lrnet predict``."""

import csv
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from lrnet_cli.cli import output
from lrnet_cli.cli.options import Device, Invert, Precision, Weights
from lrnet_cli.errors import ImageError, UsageError

Format = Literal["table", "json", "jsonl", "csv"]


def predict_command(
    inputs: Annotated[
        list[str], typer.Argument(help="Files, folders, globs, or - for a list of paths on stdin.", show_default=False)
    ],
    weights: Weights = None,
    top_k: Annotated[int, typer.Option(help="How many of the likeliest classes to tell.")] = 1,
    invert: Invert = "auto",
    format: Annotated[Format, typer.Option(help="How to print the predictions.")] = "table",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Tell what pictures show: a label and its probability for each."""
    if top_k < 1:
        raise UsageError(f"--top-k takes a whole number from 1 up, got {top_k}.")
    from lrnet_cli.engine import Engine
    from lrnet_cli.inference import Classifier
    from lrnet_cli.weights import find_weights

    engine = Engine.choose(device, precision)
    path = find_weights(weights)
    classifier = Classifier.load(path, engine)
    output.message(f"Weights: {path}. Device: {engine}.")
    top_k = min(top_k, len(classifier.card.classes))
    counts = {"done": 0, "failed": 0}

    def records() -> Iterator[dict[str, Any]]:
        for source, outcome in classifier.predict(find_inputs(inputs), invert):
            shown = os.fsencode(source).decode("utf-8", "backslashreplace")
            if isinstance(outcome, ImageError):
                counts["failed"] += 1
                output.error(f"{shown}: {outcome}.")
                yield {"path": shown, "error": str(outcome)}
                continue
            counts["done"] += 1
            yield {
                "path": shown,
                "label": outcome.label,
                "index": outcome.index,
                "probability": outcome.probability,
                "top": [{"label": label, "probability": share} for label, share in outcome.top[:top_k]],
                "inverted": outcome.inverted,
            }

    if as_json or format == "json":
        output.print_json({"schema": "lrnet.predict/1", "weights": str(path), "predictions": list(records())})
    elif format == "jsonl":
        for record in records():
            print(json.dumps(record, ensure_ascii=False), flush=True)
    elif format == "csv":
        _print_csv(records(), top_k)
    else:
        _print_table(records(), top_k)
    if counts["failed"]:
        raise typer.Exit(3 if counts["done"] else 1)


def find_inputs(inputs: Iterable[str]) -> Iterator[Path]:
    """Yield the picture files meant by ``inputs``, in order; what does not exist is yielded as it stands.

    Raises ``UsageError`` for a folder or pattern that gives no picture.
    """
    from lrnet_cli.data.images import IMAGE_SUFFIXES

    for text in inputs:
        if text == "-":
            lines = (line.rstrip("\n").rstrip("\r") for line in sys.stdin)
            yield from (Path(line) for line in lines if line)
            continue
        path = Path(text).expanduser()
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
        elif not path.exists() and any(mark in text for mark in "*?["):
            anchor = Path(path.anchor or ".")
            found = sorted(p for p in anchor.glob(str(path.relative_to(path.anchor))) if p.is_file())
        else:
            yield path
            continue
        if not found:
            raise UsageError(f"{text}: gives no picture ({', '.join(sorted(IMAGE_SUFFIXES))}).")
        yield from found


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


def _print_csv(records: Iterator[dict[str, Any]], top_k: int) -> None:
    places = [f"{name}_{place}" for place in range(2, top_k + 1) for name in ("label", "probability")]
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["path", "label", "index", "probability", "inverted", "error", *places])
    for record in records:
        if "error" in record:
            table.writerow([record["path"], "", "", "", "", record["error"], *("" for _ in places)])
        else:
            following = [value for entry in record["top"][1:] for value in (entry["label"], entry["probability"])]
            own = [record[key] for key in ("path", "label", "index", "probability", "inverted")]
            table.writerow([*own, "", *following])
