"""What ``lrnet bench`` times."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Work = Callable[[], Any]
Precision = Literal["fp32", "bf16"]
Variant = tuple[str, str, str, str]  # form, mode, precision and kind of work
_OPERATORS = 5  # shown of a profile; the others are added up
_FILES, _CLASSES = 2000, 10  # of the folder that is loaded
_STARTS = 3
_CALIBRATION = 8  # pictures; what they show does not matter here


def works_of(
    network: "nn.Module", images: "Tensor", precisions: list[Precision], modes: list[str]
) -> dict[Variant, Work]:
    """Return the work of every variant."""
    import torch

    from lrnet_cli.models.engine import Engine, compiled
    from lrnet_cli.models.fused import FusedLRNet

    labels = torch.randint(10, (len(images),), device=images.device)
    works: dict[Variant, Work] = {}
    for precision in precisions:
        for form, shape in (("plain", network), ("fused", FusedLRNet(network))):  # type: ignore[arg-type]  # an LRNet
            view = Engine(images.device, precision, fuse=False).place(shape)  # the fused form is fused at every size
            for mode in modes:
                ready: Any = compiled(view) if mode == "compiled" else view
                works[form, mode, precision, "train"] = _training_step(ready, view, images, labels)
                shared = form == "fused" and mode == "eager"  # as lrnet predict does it
                works[form, mode, precision, "predict"] = _prediction(ready, view, images, shared=shared)
            if images.device.type == "cuda":  # as lrnet train does it there
                step = _training_step(view, view, images, labels)
                works[form, "graph", precision, "train"] = _recorded(step, images.device)
    return works


def _training_step(ready: Any, view: "nn.Module", images: "Tensor", labels: "Tensor") -> Work:
    from lrnet_cli.models.heads import head_loss
    from lrnet_cli.models.logits import as_input

    def step() -> None:
        view.train()
        head_loss(ready(as_input(images)), labels, "softmax").backward()
        view.zero_grad()

    return step


def _recorded(work: Work, device: "torch.device") -> Work:
    """Return ``work`` as a CUDA graph."""
    from lrnet_cli.training.captured import recorded

    for _ in range(3):  # what is kept from the first times exists then
        work()
    return recorded(work, device).replay


def _prediction(ready: Any, view: "nn.Module", images: "Tensor", *, shared: bool) -> Work:
    import torch

    from lrnet_cli.models.logits import as_input, predict_logits

    def predict() -> None:
        view.eval()
        if shared:
            predict_logits(view, images)
            return
        with torch.no_grad():
            ready(as_input(images))

    return predict


def input_of(images: "Tensor", settings: Any) -> Work:
    """Return the work that precedes a training step: picking a batch from 20, copying and augmenting it."""
    import torch

    from lrnet_cli.models.logits import as_input
    from lrnet_cli.training.augment import augment

    stored = images.repeat(20, 1, 1, 1)

    def prepare() -> None:
        chosen = torch.randint(len(stored), (len(images),), device=images.device)
        augment(as_input(stored[chosen]), settings, chosen % 2 == 1)

    return _recorded(prepare, images.device) if images.device.type == "cuda" else prepare


def timed(work: Work, device: "torch.device") -> float:
    """Return the seconds that ``work`` takes on ``device``."""
    import torch

    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter() - start


def int8_prediction(network: "nn.Module", images: "Tensor") -> Work:
    """Return the prediction of ``images`` by ``network`` as ``lrnet export --int8`` would write it."""
    from lrnet_cli.data.images import Preprocessing
    from lrnet_cli.export.onnx import with_card
    from lrnet_cli.export.quantize import quantized
    from lrnet_cli.weights.card import WeightsCard
    from lrnet_cli.weights.onnx import OnnxNetwork

    channels, side = images.shape[1:3]
    card = WeightsCard(
        arch="lrnet",
        arch_args={"in_channels": channels, "image_size": side, "num_classes": 10},
        classes=tuple("0123456789"),
        head="softmax",
        preprocessing=Preprocessing(side, channels, "light-on-dark"),
        seed=0,
    )
    chosen = images[:_CALIBRATION]
    network.eval()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        path.write_bytes(with_card(quantized(network, card, chosen), card))
        run = OnnxNetwork(path)
    return partial(run, images)


def profile_of(work: Work) -> dict[str, float]:
    """Return the share of the time of ``work`` that each of its slowest operators takes, and all others together."""
    from torch.profiler import profile

    work()
    with profile() as record:
        work()
    spent = {event.key: event.self_device_time_total for event in record.key_averages()}
    if not any(spent.values()):  # on a CPU
        spent = {event.key: event.self_cpu_time_total for event in record.key_averages()}
    total = sum(spent.values())
    slowest = sorted(spent, key=lambda name: -spent[name])[:_OPERATORS]
    shares = {name.removeprefix("aten::"): spent[name] / total for name in slowest}
    return shares | {"all others": 1 - sum(shares.values())}


def start_up_seconds() -> float:
    """Return how long a process takes, from start to end, that predicts a single picture."""
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "picture.png"
        Image.new("L", (28, 28)).save(picture)
        command = [sys.executable, "-P", "-m", "lrnet_cli", "predict", str(picture), "--weights", "digits"]
        seconds = []
        for _ in range(_STARTS):
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)  # noqa: S603  # this tool itself
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def files_per_second(image_size: int) -> float:
    """Return how many small PNG files a second are loaded from class folders, which are made first."""
    import numpy as np
    from PIL import Image

    from lrnet_cli.data.datasets import load_dataset

    generator = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for number, pixels in enumerate(generator.integers(256, size=(_FILES, image_size, image_size), dtype=np.uint8)):
            place = Path(folder) / "scans" / str(number % _CLASSES)
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(place / f"{number}.png")
        start = time.perf_counter()
        load_dataset(f"{folder}/scans", image_size=image_size, data_dir=Path(folder))
        return _FILES / (time.perf_counter() - start)
