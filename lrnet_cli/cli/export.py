"""``lrnet export``."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from lrnet_cli.cli import output
from lrnet_cli.cli.options import Calibrating, Json, Weights
from lrnet_cli.cli.output import Output
from lrnet_cli.cli.settings import with_settings
from lrnet_cli.errors import UsageError

EXAMPLES = (
    "lrnet export --to digits.onnx --weights digits",
    "lrnet export --to stamps.onnx --int8 --weights runs/stamps --dataset stamps/",
    "lrnet export --to model.pt2 --weights runs/stamps",
)


@with_settings("mirror", "data_dir")
def export_command(
    given: dict[str, Any],
    to: Annotated[
        Path,
        typer.Option("--to", help="The file to write: .onnx (needs the extra 'export') or .pt2.", show_default=False),
    ],
    weights: Weights = None,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8", help="Compute in eight-bit integers, several times as fast: an LR-Net, as .onnx, calibrated."
        ),
    ] = False,
    dataset: Calibrating = None,
    max_loss: Annotated[
        float | None,
        typer.Option(help="With --int8: refuse if more points of accuracy than this are lost.", show_default="0.1"),
    ] = None,
    json: Json = False,
) -> None:
    """Write a network for other runtimes, and check it against PyTorch on real pictures."""
    if not int8 and (dataset is not None or max_loss is not None):
        raise UsageError("--dataset and --max-loss are for --int8; add it.")
    if max_loss is not None and not 0 <= max_loss <= 100:
        raise UsageError(f"--max-loss takes points of accuracy from 0 to 100, got {max_loss:g}.")
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
