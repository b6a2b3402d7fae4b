"""``lrnet predict``."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from lrnet_cli import ranks
from lrnet_cli.cli import output
from lrnet_cli.cli.launch import launch_if_asked, note_recovery_hint
from lrnet_cli.cli.output import Data, Output
from lrnet_cli.cli.settings import with_request
from lrnet_cli.data import reader
from lrnet_cli.errors import UsageError
from lrnet_cli.settings.requests import PredictRequest

if TYPE_CHECKING:
    from lrnet_cli.predict.job import PredictionJob
    from lrnet_cli.predict.record import Record

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
    if as_json:
        if request.format not in (None, "json"):
            raise UsageError(
                f"--json means --format json, which contradicts --format {request.format}; give one of them."
            )
        request = replace(request, format="json")
    launch_if_asked(request)
    reader.set_idle(reader.Reader())  # which starts while PyTorch is imported
    from lrnet_cli.predict.job import predict_files, recovery_hint

    # Rows on the terminal show the progress.
    hidden = request.row_format is not None and request.output is None and sys.stdout.isatty()
    with output.LoadBars(output.RateColumn(), hidden=hidden) as bars, predict_files(request, bars) as job:
        if ranks.is_first():
            note_recovery_hint(recovery_hint(request))
        _show(job)
    if job.summary.failed and ranks.is_first():
        raise typer.Exit(3 if job.summary.done else 1)


def _show(job: "PredictionJob") -> None:
    from lrnet_cli.predict.rows import RowStyle, row_writer

    request, top_k = job.recorder.request, job.recorder.top_k
    if request.output is not None or not ranks.is_first():  # the job writes them, or the first process shows them
        for _ in _with_errors_shown(job):
            pass
    elif request.row_format is not None:
        style = RowStyle(request.row_format, top_k, request.label_set is not None, bool(request.merge))
        write = row_writer(Data(), style)
        for record in _with_errors_shown(job):
            write(record)
    elif request.format == "json":
        predictions = list(_with_errors_shown(job))
        document: dict[str, object] = {
            "schema": "lrnet.predict/1",
            "weights": str(job.recorder.weights),
            "predictions": predictions,
        }
        if (promise := job.recorder.promise) is not None and job.outcome is not None:
            document["promise"] = promise.document(job.outcome)
        Output(as_json=True).document(document)
    else:
        columns = ["image", "label", "probability", "novelty", "inverted"]
        columns += ["next"] * (top_k > 1) + ["label set"] * (request.label_set is not None)
        rows = (_cells(record, columns) for record in _with_errors_shown(job))
        Output(as_json=False).table(columns, rows)


def _with_errors_shown(records: Iterable["Record"]) -> Iterator["Record"]:
    for record in records:
        if "error" in record and ranks.is_first():
            output.error(f"{record['path']}: {record['error']}.")
        yield record


def _cells(record: "Record", columns: list[str]) -> list[str]:
    if "error" in record:
        return [record["path"], "error: " + record["error"], *[""] * (len(columns) - 2)]
    cells = {
        "image": record["path"],
        "label": record["label"],
        "probability": f"{record['probability']:.4f}",
        "novelty": "" if record["novelty"] is None else f"{record['novelty']:.2f}",
        "inverted": "yes" if record["inverted"] else "no",
        "next": ", ".join(f"{entry['label']} {entry['probability']:.4f}" for entry in record["top"][1:]),
        "label set": ", ".join(record.get("label_set", [])),
    }
    return [cells[name] for name in columns]
