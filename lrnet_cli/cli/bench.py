"""``lrnet bench``: how fast LR-Net runs on this machine.

Every variant runs once per round, all in one process, so that other load on the machine affects them all alike. Medians
over the rounds are compared with the plain network in float32, and with the speed of this machine's matrix product in
the same run.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lrnet_cli.cli.options import Json
from lrnet_cli.cli.output import Output
from lrnet_cli.cli.settings import with_settings
from lrnet_cli.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

EXAMPLES = ("lrnet bench", "lrnet bench --bf16 --compile --rounds 3", "lrnet bench --device cuda --json")
_MATRIX_SIDE = 2048
_Work = Callable[[], Any]
_Precision = Literal["fp32", "bf16"]
_Variant = tuple[str, str, _Precision, str]  # form, mode, precision and kind of work


@with_settings("device")
def bench_command(
    given: dict[str, Any],
    image_size: Annotated[int, typer.Option(help="Side of the pictures in pixels.")] = 28,
    batch_size: Annotated[int, typer.Option(help="Pictures per batch.")] = 128,
    rounds: Annotated[int, typer.Option(help="Rounds to measure, after one warm-up round.")] = 5,
    bf16: Annotated[bool, typer.Option("--bf16", help="Also under bfloat16 autocast.")] = False,
    compiled: Annotated[bool, typer.Option("--compile", help="Also compiled, which takes minutes on a CPU.")] = False,
    json: Json = False,
) -> None:
    """Measure training steps and prediction of plain and fused LR-Net, interleaved in one process."""
    from lrnet_cli.devices import resolve_device

    if min(rounds, batch_size - 1) < 1:
        raise UsageError(f"--rounds takes 1 or more and --batch-size 2 or more, got {rounds} and {batch_size}.")
    out = Output(json)
    device = resolve_device(given.get("device", "auto"))
    document = _measure(device, image_size, batch_size, rounds, bf16, compiled)
    out.document(document)
    products = document["matrix_product_gflops"].items()
    out.line(f"{document['device']}, PyTorch {document['torch']}, batches of {batch_size} × {image_size}×{image_size}")
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
                f"{row['share_of_matrix_product']:.2f}",
            )
            for row in sorted(document["rows"], key=lambda row: str(row["work"]), reverse=True)
        ),
    )


def _measure(
    device: "torch.device", image_size: int, batch_size: int, rounds: int, bf16: bool, compiled: bool
) -> dict[str, Any]:
    """Return the document of schema ``lrnet.bench/1``."""
    import torch

    from lrnet_cli.devices import describe_device
    from lrnet_cli.models.engine import to_device
    from lrnet_cli.models.lrnet import LRNet
    from lrnet_cli.models.registry import summary_of
    from lrnet_cli.settings.config import TrainConfig

    network = to_device(LRNet(1, image_size), device)
    images = torch.randint(256, (batch_size, 1, image_size, image_size), dtype=torch.uint8, device=device)
    precisions: list[_Precision] = ["fp32", "bf16"] if bf16 else ["fp32"]
    works = _works(network, images, precisions, ["eager", "compiled"] if compiled else ["eager"])
    products = {precision: _product(precision, device) for precision in precisions}
    inputs = {
        "default augmentation": _input(images, TrainConfig()),
        "all of it": _input(images, TrainConfig(cutout=0.25, noise=0.1, blur=1.0, robust=1.0)),
    }
    timed: dict[Any, _Work] = {**works, **products, **inputs}
    seconds: dict[Any, list[float]] = {name: [] for name in timed}
    for count in range(rounds + 1):
        for name, work in timed.items():
            duration = _timed(work, device)
            if count:
                seconds[name].append(duration)
    forward_flop = 2 * summary_of("lrnet", 1, image_size, 10).multiply_adds
    speeds = {name: batch_size / statistics.median(seconds[name]) for name in works}
    limits = {name: 2 * _MATRIX_SIDE**3 / statistics.median(seconds[name]) for name in products}
    fastest = batch_size / max(speed for (*_, kind), speed in speeds.items() if kind == "train")
    return {
        "schema": "lrnet.bench/1",
        "device": describe_device(device),
        "torch": torch.__version__,
        "image_size": image_size,
        "batch_size": batch_size,
        "rounds": rounds,
        "gflop_per_image": forward_flop / 1e9,
        "matrix_product_gflops": {name: limit / 1e9 for name, limit in limits.items()},
        "input_share_of_fastest_step": {name: statistics.median(seconds[name]) / fastest for name in inputs},
        "rows": [
            {
                "form": form,
                "mode": mode,
                "precision": precision,
                "work": kind,
                "images_per_second": speed,
                "times_plain_fp32": speed / speeds["plain", "eager", "fp32", kind],
                # A training step is counted as three forward passes: forward, and backward to inputs and to weights.
                "share_of_matrix_product": speed * forward_flop * (3 if kind == "train" else 1) / limits[precision],
            }
            for (form, mode, precision, kind), speed in speeds.items()
        ],
    }


def _works(
    network: "nn.Module", images: "Tensor", precisions: list[_Precision], modes: list[str]
) -> dict[_Variant, _Work]:
    """Return the work of every variant."""
    import torch

    from lrnet_cli.models.engine import Engine, compiled
    from lrnet_cli.models.fused import FusedLRNet

    labels = torch.randint(10, (len(images),), device=images.device)
    works: dict[_Variant, _Work] = {}
    for precision in precisions:
        for form, shape in (("plain", network), ("fused", FusedLRNet(network))):  # type: ignore[arg-type]  # an LRNet
            view = Engine(images.device, precision, fuse=False).place(shape)  # the fused form is fused at every size
            for mode in modes:
                ready: Any = compiled(view) if mode == "compiled" else view
                works[form, mode, precision, "train"] = _training_step(ready, view, images, labels)
                works[form, mode, precision, "predict"] = _prediction(ready, view, images)
    return works


def _product(precision: str, device: "torch.device") -> _Work:
    import torch

    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    matrix = torch.rand(_MATRIX_SIDE, _MATRIX_SIDE, device=device, dtype=dtype)
    return partial(torch.matmul, matrix, matrix)


def _training_step(ready: Any, view: "nn.Module", images: "Tensor", labels: "Tensor") -> _Work:
    from lrnet_cli.models.heads import head_loss
    from lrnet_cli.models.logits import as_input

    def step() -> None:
        view.train()
        head_loss(ready(as_input(images)), labels, "softmax").backward()
        view.zero_grad()

    return step


def _prediction(ready: Any, view: "nn.Module", images: "Tensor") -> _Work:
    import torch

    from lrnet_cli.models.logits import as_input

    def predict() -> None:
        view.eval()
        with torch.no_grad():
            ready(as_input(images))

    return predict


def _input(images: "Tensor", settings: Any) -> _Work:
    """Return the work that precedes a training step: picking a batch from 20, copying and augmenting it."""
    import torch

    from lrnet_cli.models.logits import as_input
    from lrnet_cli.training.augment import augment

    stored = images.repeat(20, 1, 1, 1)

    def prepare() -> None:
        chosen = torch.randint(len(stored), (len(images),), device=images.device)
        augment(as_input(stored[chosen]), settings, chosen % 2 == 1)

    return prepare


def _timed(work: _Work, device: "torch.device") -> float:
    import torch

    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter() - start
