"""``lrnet bench``: how fast LR-Net runs on this machine.

Every variant runs once per round, all in one process, so that other load on the machine affects them all alike. Medians
over the rounds are compared with the plain network in float32, and with the speed of this machine's matrix product in
the same run.
"""

import json as json_module
import os
import statistics
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import MofNCompleteColumn

from lrnet_cli import __version__
from lrnet_cli.cli.bench_works import (
    Precision,
    Variant,
    Work,
    files_per_second,
    input_of,
    int8_prediction,
    profile_of,
    start_up_seconds,
    timed,
    works_of,
)
from lrnet_cli.cli.options import Json
from lrnet_cli.cli.output import Output, message, progress
from lrnet_cli.cli.settings import with_request
from lrnet_cli.errors import UsageError
from lrnet_cli.settings.requests import BenchRequest

if TYPE_CHECKING:
    import torch

EXAMPLES = ("lrnet bench", "lrnet bench --all --log bench.jsonl", "lrnet bench --device cuda --bf16 --json")
# What has to be the same for two lines of a log to be compared.
_CONDITIONS = ("device", "threads", "image_size", "batch_size")


@dataclass(frozen=True)
class _Wanted:
    bf16: bool
    compiled: bool
    int8: bool
    everything: bool


@with_request(BenchRequest)
def bench_command(
    request: BenchRequest,
    everything: Annotated[
        bool,
        typer.Option(
            "--all",
            help="All of these where they can run, where the time goes, the start-up of a prediction, and how fast "
            "picture files are loaded.",
        ),
    ] = False,
    log: Annotated[
        Path | None,
        typer.Option(help="Add a line to this JSON Lines file, and compare it with the one before of this machine."),
    ] = None,
    json: Json = False,
) -> None:
    """Measure training steps and prediction of plain and fused LR-Net, interleaved in one process."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or the profiler reports to its developers, once torch is loaded
    from importlib.util import find_spec

    from lrnet_cli.models.engine import Engine, multiplies_bfloat16

    image_size, batch_size, rounds = request.image_size, request.batch_size, request.rounds
    bf16, compiled, int8 = request.bf16, request.compile, request.int8
    out = Output(json)
    device = Engine.choose(request.device, threads=request.threads).device
    if int8 and device.type != "cpu":
        raise UsageError("--int8 runs on the CPU; add --device cpu.")
    exports = device.type == "cpu" and all(find_spec(name) for name in ("onnx", "onnxruntime", "onnxscript"))
    wanted = _Wanted(
        bf16=bf16 or (everything and multiplies_bfloat16(device)),
        compiled=compiled or everything,
        int8=int8 or (everything and exports),
        everything=everything,
    )
    document = _measure(device, image_size, batch_size, rounds, wanted)
    before = None if log is None else _logged(log, document)
    out.document(document)
    _show(document, out)
    if before is not None:
        _show_change(before, document, out)
    if document["rounds"] < rounds:
        raise typer.Exit(130)  # as after any Ctrl-C


def _show(document: dict[str, Any], out: Output) -> None:
    products = document["matrix_product_gflops"].items()
    size = document["image_size"]
    out.line(f"{document['device']}, PyTorch {document['torch']}, batches of {document['batch_size']} × {size}×{size}")
    out.line(", ".join(f"matrix product {name} {limit:.0f} GFLOP/s" for name, limit in products))
    shares = document["input_share_of_fastest_step"].items()
    out.line(
        "Input pipeline, as a share of the fastest training step: "
        + ", ".join(f"{share:.1%} ({name})" for name, share in shares)
    )
    out.table(
        ("work", "form", "mode", "precision", "images/s", "× plain fp32", "of matrix product"),
        (
            (
                row["work"],
                row["form"],
                row["mode"],
                row["precision"],
                f"{row['images_per_second']:.0f}",
                f"{row['times_plain_fp32']:.2f}",
                "" if row["share_of_matrix_product"] is None else f"{row['share_of_matrix_product']:.2f}",
            )
            for row in sorted(document["rows"], key=lambda row: str(row["work"]), reverse=True)
        ),
    )
    for work, shares in document.get("where_the_time_goes", {}).items():
        listed = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
        out.line(f"Where the time of {work} goes: {listed}")
    if "start_up_seconds" in document:
        out.line(f"A prediction of one picture, from start to end: {document['start_up_seconds']:.1f} s")
        out.line(f"Picture files loaded from class folders: {document['files_per_second']:.0f} per second")


def _also(works: dict[Variant, Work], precision: str, image_size: int) -> dict[str, Any]:
    """Return what else there is to measure, of the fused network in eager mode and of whole commands."""
    return {
        "where_the_time_goes": {
            title: profile_of(works["fused", "eager", precision, kind])
            for kind, title in (("train", "a training step"), ("predict", "a prediction"))
        },
        "start_up_seconds": start_up_seconds(),
        "files_per_second": files_per_second(image_size),
    }


def _logged(log: Path, document: dict[str, Any]) -> dict[str, Any] | None:
    """Add ``document`` to the file ``log``; return the last line before it that was measured under the same conditions.

    Raises ``UsageError`` for a file that is not such a log or cannot be written.
    """
    try:
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        earlier = [json_module.loads(line) for line in lines]
        alike = [one for one in earlier if all(one[name] == document[name] for name in _CONDITIONS)]
        with log.open("a", encoding="utf-8") as file:
            file.write(json_module.dumps(document) + "\n")
    except OSError as error:
        raise UsageError(f"{log}: cannot be used ({error.strerror or error}); choose another --log.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{log}: is not a file that lrnet bench wrote; choose another --log.") from error
    return alike[-1] if alike else None


def _show_change(before: dict[str, Any], now: dict[str, Any], out: Output) -> None:
    old, new = _figures(before), _figures(now)
    out.table(
        ("measured", "before", "now"),
        ((name, f"{old[name]:.2f}", f"{new[name]:.2f}") for name in new if name in old),
        title=f"Since {before['date']}, lrnet {before['lrnet_cli']}, PyTorch {before['torch']}",
    )


def _figures(document: dict[str, Any]) -> dict[str, float]:
    """Return what can be compared over time: of the network multiples of the plain one, which load affects alike."""
    figures = {
        f"{row['work']} {row['form']} {row['mode']} {row['precision']}, × plain fp32": row["times_plain_fp32"]
        for row in document["rows"]
        if (row["form"], row["mode"], row["precision"]) != ("plain", "eager", "fp32")
    }
    names = {"start_up_seconds": "start-up, seconds", "files_per_second": "files loaded per second"}
    return figures | {names[name]: document[name] for name in names if name in document}


def _in_turns(works: dict[Any, Work], device: "torch.device", rounds: int) -> list[dict[Any, float]]:
    """Return the seconds that each of ``works`` takes in each round after the first, which warms up.

    Ctrl-C ends it early, once a round is complete.
    """
    measured: list[dict[Any, float]] = []
    with progress(MofNCompleteColumn()) as bar:
        task = bar.add_task("measuring", total=(rounds + 1) * len(works))
        try:
            for count in range(rounds + 1):
                seconds = {}
                for name, work in works.items():
                    seconds[name] = timed(work, device)
                    bar.advance(task)
                if count:
                    measured.append(seconds)
        except KeyboardInterrupt:
            if not measured:
                raise
            message(f"Interrupted: what follows are medians over {len(measured)} of {rounds} rounds.")
    return measured


def _measure(device: "torch.device", image_size: int, batch_size: int, rounds: int, wanted: _Wanted) -> dict[str, Any]:
    """Return the document of schema ``lrnet.bench/1``."""
    import torch

    from lrnet_cli.devices import describe_device
    from lrnet_cli.models.engine import matrix_product, to_device
    from lrnet_cli.models.lrnet import LRNet
    from lrnet_cli.models.registry import summary_of
    from lrnet_cli.settings.config import TrainConfig
    from lrnet_cli.threads import ForeignLoad, candidates, fastest_threads

    network = to_device(LRNet(1, image_size), device)
    images = torch.randint(256, (batch_size, 1, image_size, image_size), dtype=torch.uint8, device=device)
    precisions: list[Precision] = ["fp32", "bf16"] if wanted.bf16 else ["fp32"]
    modes = ["eager", "compiled"] if wanted.compiled else ["eager"]
    works = works_of(network, images, precisions, modes)
    if wanted.int8:
        works["exported", "ONNX Runtime", "int8", "predict"] = int8_prediction(network, images)
    products = {precision: matrix_product(precision, device) for precision in precisions}
    inputs = {
        "default augmentation": input_of(images, TrainConfig()),
        "all of it": input_of(images, TrainConfig(cutout=0.25, robust=1.0)),
    }
    everything: dict[Any, Work] = {**works, **{name: work for name, (work, _) in products.items()}, **inputs}
    if device.type == "cpu":
        step = works["fused", "eager", precisions[-1], "train"]
        torch.set_num_threads(fastest_threads(step, candidates(), ForeignLoad.since_start.cores()).count)
    measured = _in_turns(everything, device, rounds)
    seconds = {name: statistics.median(one_round[name] for one_round in measured) for name in everything}
    forward_flop = 2 * summary_of("lrnet", 1, image_size, 10).multiply_adds
    speeds = {name: batch_size / seconds[name] for name in works}
    limits = {name: operations / seconds[name] for name, (_, operations) in products.items()}
    fastest = batch_size / max(speed for (*_, kind), speed in speeds.items() if kind == "train")
    return {
        "schema": "lrnet.bench/1",
        "device": describe_device(device),
        "torch": torch.__version__,
        "lrnet_cli": __version__,
        "date": datetime.now(UTC).date().isoformat(),
        "threads": torch.get_num_threads(),
        "image_size": image_size,
        "batch_size": batch_size,
        "rounds": len(measured),
        "gflop_per_image": forward_flop / 1e9,
        "matrix_product_gflops": {name: limit / 1e9 for name, limit in limits.items()},
        "input_share_of_fastest_step": {name: seconds[name] / fastest for name in inputs},
        "rows": [
            {
                "form": form,
                "mode": mode,
                "precision": precision,
                "work": kind,
                "images_per_second": speed,
                "times_plain_fp32": speed / speeds["plain", "eager", "fp32", kind],
                # A training step is counted as three forward passes: forward, and backward to inputs and to weights.
                "share_of_matrix_product": speed * forward_flop * (3 if kind == "train" else 1) / limits[precision]
                if precision in limits
                else None,
            }
            for (form, mode, precision, kind), speed in speeds.items()
        ],
        **(_also(works, precisions[-1], image_size) if wanted.everything and len(measured) == rounds else {}),
    }
