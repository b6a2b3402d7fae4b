"""What a benchmark times."""

import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from lrnet_cli.data.images import Preprocessing
from lrnet_cli.export.onnx import with_card
from lrnet_cli.export.quantize import quantized
from lrnet_cli.models.engine import Engine, compiled
from lrnet_cli.models.fused import FusedLRNet
from lrnet_cli.models.heads import head_loss
from lrnet_cli.models.logits import as_input, predict_logits
from lrnet_cli.models.lrnet import LRNet
from lrnet_cli.training.augment import Ranges, augment
from lrnet_cli.training.captured import recorded
from lrnet_cli.weights.card import WeightsCard
from lrnet_cli.weights.onnx import OnnxNetwork

Work = Callable[[], object]
_Forward = Callable[[Tensor], Tensor]
_CALIBRATION = 8  # images; what they show does not matter here


class Variant(NamedTuple):
    """A ``form`` of the network, the ``mode`` and ``precision`` it runs in, and the ``work``: train or predict."""

    form: str
    mode: str
    precision: str
    work: str


def works_of(
    network: LRNet, images: Tensor, precisions: Sequence[Literal["fp32", "bf16"]], *, with_compiled: bool = False
) -> dict[Variant, Work]:
    """Return the work of every variant."""
    labels = torch.randint(10, (len(images),), device=images.device)
    works: dict[Variant, Work] = {}
    for precision in precisions:
        for form, shape in (("plain", network), ("fused", FusedLRNet(network))):
            view = Engine(images.device, precision, fuse=False).place(shape)  # the fused form is fused at every size
            for mode in ("eager", "compiled") if with_compiled else ("eager",):
                ready: _Forward = compiled(view) if mode == "compiled" else view
                works[Variant(form, mode, precision, "train")] = _training_step(ready, view, images, labels)
                shared = form == "fused" and mode == "eager"  # as lrnet predict does it
                works[Variant(form, mode, precision, "predict")] = _prediction(ready, view, images, shared=shared)
            if images.device.type == "cuda":  # as lrnet train does it there
                step = _training_step(view, view, images, labels)
                works[Variant(form, "graph", precision, "train")] = _recorded(step, images.device)
    return works


def _training_step(ready: _Forward, view: nn.Module, images: Tensor, labels: Tensor) -> Callable[[], None]:
    def step() -> None:
        view.train()
        head_loss(ready(as_input(images)), labels, "softmax").backward()
        view.zero_grad()

    return step


def _recorded(work: Callable[[], None], device: torch.device) -> Work:
    """Return ``work`` as a CUDA graph."""
    for _ in range(3):  # what is kept from the first times exists then
        work()
    return recorded(work, device).replay


def _prediction(ready: _Forward, view: nn.Module, images: Tensor, *, shared: bool) -> Work:
    def predict() -> None:
        view.eval()
        if shared:
            predict_logits(view, images)
            return
        with torch.no_grad():
            ready(as_input(images))

    return predict


def input_of(images: Tensor, ranges: Ranges) -> Work:
    """Return the work that precedes a training step: picking a batch from 20, copying and augmenting it."""
    stored = images.repeat(20, 1, 1, 1)

    def prepare() -> None:
        chosen = torch.randint(len(stored), (len(images),), device=images.device)
        augment(as_input(stored[chosen]), ranges, chosen % 2 == 1)

    return _recorded(prepare, images.device) if images.device.type == "cuda" else prepare


def timed(work: Work, device: torch.device) -> float:
    """Return the seconds that ``work`` takes on ``device``."""
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter() - start


def int8_prediction(network: nn.Module, images: Tensor) -> Work:
    """Return the prediction of ``images`` by ``network`` as ``lrnet export --int8`` would write it."""
    channels, side = images.shape[1:3]
    card = WeightsCard(
        arch="lrnet",
        arch_args={"in_channels": channels, "image_size": side, "num_classes": 10},
        classes=tuple("0123456789"),
        head="softmax",
        preprocessing=Preprocessing(side, channels, "light-on-dark"),
        seed=0,
    )
    network.eval()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        path.write_bytes(with_card(quantized(network, card, images[:_CALIBRATION]), card))
        run = OnnxNetwork(path)
    return partial(run, images)
