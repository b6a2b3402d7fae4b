"""``lrnet export``."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from lrnet_cli.cli import output
from lrnet_cli.cli.options import Json
from lrnet_cli.cli.output import Output
from lrnet_cli.cli.settings import with_request
from lrnet_cli.settings.requests import ExportRequest

EXAMPLES = (
    "lrnet export --to digits.onnx --weights digits",
    "lrnet export --to stamps.onnx --int8 --weights runs/stamps --dataset stamps/",
    "lrnet export --to model.pt2 --weights runs/stamps",
)


@with_request(ExportRequest)
def export_command(request: ExportRequest, json: Json = False) -> None:
    """Write a network for other runtimes, and check it against PyTorch on real images."""
    weights, to, int8, dataset, max_loss = request.weights, request.to, request.int8, request.dataset, request.max_loss
    given = {"mirror": request.mirror, "data_dir": request.data_dir}
    from lrnet_cli.weights.find import find_weights

    path = find_weights(weights)
    output.message(f"Weights: {path}.")
    if int8:
        _export_int8(path, to, dataset, Output(json), **({} if max_loss is None else {"max_loss": max_loss}), **given)
    else:
        _export(path, to, Output(json))


def _export(path: Path, to: Path, out: Output) -> None:
    from lrnet_cli.weights.export import export_weights

    exported = export_weights(path, to)
    out.document(
        {
            "schema": "lrnet.export/1",
            "weights": str(path),
            "path": str(exported.path),
            "largest_difference": exported.difference,
            "pictures": exported.pictures,
        }
    )
    out.line(f"Wrote {exported.path}: within {exported.difference:.1e} of PyTorch on {exported.pictures} real pictures")


def _export_int8(path: Path, to: Path, dataset: str | None, out: Output, **settings: Any) -> None:
    from lrnet_cli.evaluation.int8 import export_int8

    with output.LoadBars() as bars:
        found = export_int8(
            path,
            to,
            dataset,
            on_progress=bars.download,
            on_pictures=bars.pictures,
            on_message=output.message,
            **settings,
        )
    out.document({"schema": "lrnet.export/1", "weights": str(path), **asdict(found), "path": str(found.path)})
    out.line(f"Wrote {found.path}: the same label as in float32 for {found.agreement:.2%} of {found.judged} pictures")
    out.line(f"  judged on          {found.judged_on}; {found.calibrated} others calibrated")
    out.line(f"  accuracy           {found.accuracy:.4f} (float32: {found.accuracy_before:.4f})")
    out.line(f"  calibration error  {found.ece:.4f} (float32: {found.ece_before:.4f})")
