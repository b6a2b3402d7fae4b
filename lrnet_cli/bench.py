"""How fast LR-Net runs on this machine: ``python -m lrnet_cli.bench``.

Every variant takes its turn in every round of one process, so that other load falls on all of them alike. Medians over
the rounds are set in relation to the plain network in float32, and to what this machine's matrix product reaches in the
same run.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

import torch
import typer
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lrnet_cli.cli import output
from lrnet_cli.data.augment import Augmentation, augment
from lrnet_cli.devices import describe_device, resolve_device
from lrnet_cli.engine import Engine, place
from lrnet_cli.inference import as_input
from lrnet_cli.models.folding import FoldedLRNet
from lrnet_cli.models.lrnet import LRNet

_MATRIX_SIDE = 2048


def bench(
    image_size: Annotated[int, typer.Option(help="Side of the pictures in pixels.")] = 28,
    batch_size: Annotated[int, typer.Option(help="Pictures a batch.")] = 128,
    rounds: Annotated[int, typer.Option(help="Rounds, after one that is not counted.")] = 5,
    bf16: Annotated[bool, typer.Option("--bf16", help="Also under bfloat16 autocast.")] = False,
    compiled: Annotated[bool, typer.Option("--compile", help="Also compiled, which takes minutes on a CPU.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Measure training steps and prediction of plain and folded LR-Net, interleaved in one process."""
    chosen = resolve_device(device)
    network = LRNet(1, image_size)
    place(network, chosen)
    images = torch.randint(256, (batch_size, 1, image_size, image_size), dtype=torch.uint8, device=chosen)
    labels = torch.randint(10, (batch_size,), device=chosen)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(as_input(images[:1]))
    forward_flop = counter.get_total_flops()

    works: dict[tuple[str, str, str, str], Callable[[], Any]] = {}
    products: dict[str, Callable[[], Any]] = {}
    precisions: list[Literal["fp32", "bf16"]] = ["fp32", "bf16"] if bf16 else ["fp32"]
    for precision in precisions:
        dtype = torch.float32 if precision == "fp32" else torch.bfloat16
        matrix = torch.rand(_MATRIX_SIDE, _MATRIX_SIDE, device=chosen, dtype=dtype)
        products[precision] = partial(torch.matmul, matrix, matrix)
        for form, shape in (("plain", network), ("folded", FoldedLRNet(network))):
            view = Engine(chosen, precision, fold=False).ready(shape)  # what is folded here is so at every size
            for mode in ["eager", "compiled"] if compiled else ["eager"]:
                ready: Any = torch.compile(view) if mode == "compiled" else view
                variant = (form, mode, precision)
                works[(*variant, "train")] = _training_step(ready, view, images, labels)
                works[(*variant, "predict")] = _prediction(ready, view, images)
    inputs = {
        "default augmentation": _input(images, Augmentation()),
        "all of it": _input(images, Augmentation(cutout=0.25, noise=0.1, blur=1.0)),
    }

    seconds: dict[Any, list[float]] = {name: [] for name in (*works, *products, *inputs)}
    for count in range(rounds + 1):
        for name, work in (*works.items(), *products.items(), *inputs.items()):
            duration = _timed(work, chosen)
            if count:
                seconds[name].append(duration)
    speeds = {name: batch_size / statistics.median(seconds[name]) for name in works}
    limits = {name: 2 * _MATRIX_SIDE**3 / statistics.median(seconds[name]) for name in products}
    rows = [
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
    ]
    fastest = batch_size / max(speed for (*_, kind), speed in speeds.items() if kind == "train")
    shares = {name: statistics.median(seconds[name]) / fastest for name in inputs}
    if json:
        output.print_json(
            {
                "schema": "lrnet.bench/1",
                "device": describe_device(chosen),
                "torch": torch.__version__,
                "image_size": image_size,
                "batch_size": batch_size,
                "rounds": rounds,
                "gflop_per_image": forward_flop / 1e9,
                "matrix_product_gflops": {name: limit / 1e9 for name, limit in limits.items()},
                "input_share_of_fastest_step": shares,
                "rows": rows,
            }
        )
        return
    print(
        f"{describe_device(chosen)}, PyTorch {torch.__version__}, batches of {batch_size} × {image_size}×{image_size}"
    )
    print(", ".join(f"matrix product {name} {limit / 1e9:.0f} GFLOP/s" for name, limit in limits.items()))
    print(
        "Input pipeline, as a share of the fastest training step: "
        + ", ".join(f"{share:.1%} ({name})" for name, share in shares.items())
    )
    columns = ("work", "form", "mode", "precision", "images/s", "× plain fp32", "of matrix product")
    output.print_table(
        columns,
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
            for row in sorted(rows, key=lambda row: str(row["work"]), reverse=True)
        ),
    )


def _training_step(ready: Any, view: nn.Module, images: Tensor, labels: Tensor) -> Callable[[], None]:
    def step() -> None:
        view.train()
        nn.functional.cross_entropy(ready(as_input(images)), labels).backward()
        view.zero_grad()

    return step


def _prediction(ready: Any, view: nn.Module, images: Tensor) -> Callable[[], None]:
    def predict() -> None:
        view.eval()
        with torch.no_grad():
            ready(as_input(images))

    return predict


def _input(images: Tensor, ranges: Augmentation) -> Callable[[], None]:
    """Return what brings a training batch to the network: picking it from 20 batches, copying and augmenting it."""
    stored = images.repeat(20, 1, 1, 1)

    def prepare() -> None:
        chosen = torch.randint(len(stored), (len(images),), device=images.device)
        augment(as_input(stored[chosen]), ranges, chosen % 2 == 1)

    return prepare


def _timed(work: Callable[[], Any], device: torch.device) -> float:
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    typer.run(bench)
