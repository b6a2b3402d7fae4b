"""``lrnet export``."""

from typing import TYPE_CHECKING

from lrnet_cli.cli import output
from lrnet_cli.cli.options import Json
from lrnet_cli.cli.output import Output
from lrnet_cli.cli.settings import with_request
from lrnet_cli.settings.requests import ExportRequest

if TYPE_CHECKING:
    from lrnet_cli.export.int8 import Int8Export

EXAMPLES = (
    "lrnet export --to digits.onnx --weights digits",
    "lrnet export --to stamps.onnx --int8 --weights runs/stamps --dataset stamps/",
    "lrnet export --to model.pt2 --weights runs/stamps",
)


@with_request(ExportRequest)
def export_command(request: ExportRequest, json: Json = False) -> None:
    """Write a network for other runtimes, and check it against PyTorch on real images."""
    from lrnet_cli.export.float32 import Float32Export
    from lrnet_cli.export.job import export_weights

    with output.LoadBars() as bars:
        exported = export_weights(request, bars)
    out = Output(json)
    out.document(exported.document())
    if isinstance(exported, Float32Export):
        checked = f"within {exported.difference:.1e} of PyTorch on {exported.images} real images"
        out.line(f"Wrote {exported.path}: {checked}")
    else:
        _show_int8(exported, out)


def _show_int8(exported: "Int8Export", out: Output) -> None:
    agreement = f"the same label as in float32 for {exported.agreement:.2%} of {exported.images} images"
    out.line(f"Wrote {exported.path}: {agreement}")
    out.line(f"  evaluated on       {exported.evaluated_on}; {exported.calibrated} others calibrated")
    out.line(f"  accuracy           {exported.accuracy:.4f} (float32: {exported.accuracy_before:.4f})")
    out.line(f"  calibration error  {exported.ece:.4f} (float32: {exported.ece_before:.4f})")
