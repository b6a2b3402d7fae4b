"""``lrnet bench``."""

from typing import TYPE_CHECKING

import typer

from lrnet_cli.cli import output
from lrnet_cli.cli.options import Json
from lrnet_cli.cli.output import Output
from lrnet_cli.cli.settings import with_request
from lrnet_cli.settings.requests import BenchRequest

if TYPE_CHECKING:
    from lrnet_cli.bench.job import Benchmark

EXAMPLES = ("lrnet bench", "lrnet bench --bf16 --compile --int8", "lrnet bench --device cuda --bf16 --json")


@with_request(BenchRequest)
def bench_command(request: BenchRequest, json: Json = False) -> None:
    """Measure training steps and prediction of plain and fused LR-Net, interleaved in one process."""
    from lrnet_cli.bench.job import run_benchmark

    with output.LoadBars() as bars:
        benchmark = run_benchmark(request, bars)
    out = Output(json)
    out.document(benchmark.document())
    _show(benchmark, out)
    if benchmark.rounds < request.rounds:
        raise typer.Exit(130)  # as after any Ctrl-C


def _show(benchmark: "Benchmark", out: Output) -> None:
    size, products = benchmark.image_size, benchmark.matrix_product_gflops.items()
    out.line(f"{benchmark.device}, PyTorch {benchmark.torch}, batches of {benchmark.batch_size} × {size}×{size}")
    out.line(", ".join(f"matrix product {name} {limit:.0f} GFLOP/s" for name, limit in products))
    shares = benchmark.input_share_of_fastest_step.items()
    listed = ", ".join(f"{share:.1%} ({name})" for name, share in shares)
    out.line(f"Input pipeline, as a share of the fastest training step: {listed}")
    out.table(
        ("work", "form", "mode", "precision", "images/s", "× plain fp32", "of matrix product"),
        (
            (
                row.work,
                row.form,
                row.mode,
                row.precision,
                f"{row.images_per_second:.0f}",
                f"{row.times_plain_fp32:.2f}",
                "" if row.share_of_matrix_product is None else f"{row.share_of_matrix_product:.2f}",
            )
            for row in sorted(benchmark.rows, key=lambda row: row.work, reverse=True)
        ),
    )
