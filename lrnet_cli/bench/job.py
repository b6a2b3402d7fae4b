"""Measuring how fast LR-Net runs on this machine.

Every variant runs once per round, all in one process, so that other load on the machine affects them all alike. Medians
over the rounds are compared with the plain network in float32, and with the speed of this machine's matrix product in
the same run.
"""

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import torch

from lrnet_cli import __version__
from lrnet_cli.bench.works import Variant, Work, input_of, int8_prediction, timed, works_of
from lrnet_cli.devices import describe_device
from lrnet_cli.errors import UsageError
from lrnet_cli.models.engine import Engine, matrix_product, to_device
from lrnet_cli.models.lrnet import LRNet
from lrnet_cli.models.registry import summary_of
from lrnet_cli.reporter import Reporter
from lrnet_cli.settings.place import Place
from lrnet_cli.settings.requests import BenchRequest
from lrnet_cli.threads import ForeignLoad, candidates, fastest_threads
from lrnet_cli.training.augment import Ranges


@dataclass(frozen=True)
class Row:
    """The speed of one variant; ``share_of_matrix_product`` is None where no product is in its precision."""

    form: str
    mode: str
    precision: str
    work: str
    images_per_second: float
    times_plain_fp32: float
    share_of_matrix_product: float | None


@dataclass(frozen=True)
class Benchmark:
    """What was measured, in medians over ``rounds`` complete rounds.

    ``matrix_product_gflops`` are by precision, ``input_share_of_fastest_step`` by augmentation.
    """

    device: str
    torch: str
    lrnet_cli: str
    date: str
    threads: int
    image_size: int
    batch_size: int
    rounds: int
    gflop_per_image: float
    matrix_product_gflops: Mapping[str, float]
    input_share_of_fastest_step: Mapping[str, float]
    rows: tuple[Row, ...]

    def document(self) -> dict[str, Any]:
        """Return the JSON document."""
        return {"schema": "lrnet.bench/1"} | asdict(self)


def run_benchmark(request: BenchRequest, reporter: Reporter) -> Benchmark:
    """Measure training steps and prediction of the plain and the fused LR-Net.

    Ctrl-C ends it early, with fewer rounds than ``request`` asks for; before one is complete it is passed on.

    Raises ``DeviceError`` or ``UsageError`` for a device that cannot be used, ``ExportError`` for int8 without the
    extra packages.
    """
    device = Engine.at(Place(device=request.device, threads=request.threads)).device
    if request.int8 and device.type != "cpu":
        raise UsageError("--int8 runs on the CPU; add --device cpu.")
    side, batch_size = request.image_size, request.batch_size
    network = LRNet(1, side)
    to_device(network, device)
    images = torch.randint(256, (batch_size, 1, side, side), dtype=torch.uint8, device=device)
    precisions: tuple[Literal["fp32", "bf16"], ...] = ("fp32", "bf16") if request.bf16 else ("fp32",)
    works = works_of(network, images, precisions, with_compiled=request.compile)
    if request.int8:
        works[Variant("exported", "ONNX Runtime", "int8", "predict")] = int8_prediction(network, images)
    products = {precision: matrix_product(precision, device) for precision in precisions}
    inputs = {
        "default augmentation": input_of(images, Ranges()),
        "all of it": input_of(images, Ranges(cutout=0.25, robust=1.0, deform=0.1)),
    }
    if device.type == "cpu":
        step = works[Variant("fused", "eager", precisions[-1], "train")]
        torch.set_num_threads(fastest_threads(step, candidates(), ForeignLoad.since_start.cores()).count)
    limiting = ((precision, product) for precision, (product, _) in products.items())
    every: dict[Variant | str, Work] = dict([*works.items(), *limiting, *inputs.items()])
    measured = _in_turns(every, device, request.rounds, reporter)
    seconds = {name: statistics.median(one_round[name] for one_round in measured) for name in every}
    forward_flop = 2 * summary_of("lrnet", 1, side, 10).multiply_adds
    limits: dict[str, float] = {
        precision: operations / seconds[precision] for precision, (_, operations) in products.items()
    }
    rows = _rows({variant: batch_size / seconds[variant] for variant in works}, forward_flop, limits)
    fastest = batch_size / max(row.images_per_second for row in rows if row.work == "train")
    return Benchmark(
        device=describe_device(device),
        torch=torch.__version__,
        lrnet_cli=__version__,
        date=datetime.now(UTC).date().isoformat(),
        threads=torch.get_num_threads(),
        image_size=side,
        batch_size=batch_size,
        rounds=len(measured),
        gflop_per_image=forward_flop / 1e9,
        matrix_product_gflops={precision: limit / 1e9 for precision, limit in limits.items()},
        input_share_of_fastest_step={name: seconds[name] / fastest for name in inputs},
        rows=rows,
    )


def _rows(speeds: Mapping[Variant, float], forward_flop: int, limits: Mapping[str, float]) -> tuple[Row, ...]:
    """Return the rows for images per second, beside ``limits`` in operations per second by precision."""

    def row(variant: Variant, speed: float) -> Row:
        # A training step is counted as three forward passes: forward, and backward to inputs and to weights.
        speed_of_operations = speed * forward_flop * (3 if variant.work == "train" else 1)
        limit = limits.get(variant.precision)
        return Row(
            *variant,
            images_per_second=speed,
            times_plain_fp32=speed / speeds[Variant("plain", "eager", "fp32", variant.work)],
            share_of_matrix_product=None if limit is None else speed_of_operations / limit,
        )

    return tuple(row(variant, speed) for variant, speed in speeds.items())


def _in_turns(
    works: Mapping[Variant | str, Work], device: torch.device, rounds: int, reporter: Reporter
) -> list[dict[Variant | str, float]]:
    """Return the seconds that each of ``works`` takes in each round after the first, which warms up."""
    measured: list[dict[Variant | str, float]] = []
    try:
        for count in range(rounds + 1):
            seconds = {}
            for number, (name, work) in enumerate(works.items()):
                reporter.work("measuring", count * len(works) + number, (rounds + 1) * len(works))
                seconds[name] = timed(work, device)
            if count:
                measured.append(seconds)
    except KeyboardInterrupt:
        if not measured:
            raise
        reporter.message(f"Interrupted: what follows are medians over {len(measured)} of {rounds} rounds.")
    return measured
