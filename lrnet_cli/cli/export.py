"""``lrnet export``."""

from pathlib import Path
from typing import Annotated

import typer

from lrnet_cli.cli import output
from lrnet_cli.cli.options import Json, Weights
from lrnet_cli.cli.output import Output

EXAMPLES = ("lrnet export --to digits.onnx --weights digits", "lrnet export --to model.pt2 --weights runs/stamps")


def export_command(
    to: Annotated[
        Path,
        typer.Option("--to", help="The file to write: .onnx (needs the extra 'export') or .pt2.", show_default=False),
    ],
    weights: Weights = None,
    json: Json = False,
) -> None:
    """Write a network for other runtimes, and check it against PyTorch on real pictures."""
    from lrnet_cli.weights.export import export_weights
    from lrnet_cli.weights.find import find_weights

    path = find_weights(weights)
    output.message(f"Weights: {path}.")
    exported = export_weights(path, to)
    out = Output(json)
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
