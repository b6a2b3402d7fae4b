"""Opening weights of any form as a network to run: a weight file, the folder of several runs, an exported ``.onnx``."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from lrnet_cli.errors import UsageError, WeightsError
from lrnet_cli.memory import excess
from lrnet_cli.models.engine import Engine
from lrnet_cli.models.logits import BATCH_SIZE
from lrnet_cli.settings.place import Place
from lrnet_cli.weights.card import WeightsCard
from lrnet_cli.weights.file import load_weights
from lrnet_cli.weights.onnx import PixelNetwork, load_onnx


@dataclass(frozen=True)
class OpenNetwork:
    """A network that is ready to run, with the card of its weights.

    ``network``, on ``device``, takes floats (N, C, S, S) in [0, 1] and returns float32 logits (N, classes);
    ``described`` returns them followed by a description if the novelty needs one. ``runs_on`` describes, for people,
    the device and the ``precision``: fp32, bf16 or int8.
    """

    card: WeightsCard
    network: nn.Module
    described: nn.Module
    device: torch.device
    precision: str
    runs_on: str


def is_onnx(path: Path) -> bool:
    """Return whether the weights at ``path`` are an ONNX file, which runs on the CPU and has no gradients."""
    return path.suffix == ".onnx"


def engine_for(place: Place, *paths: Path) -> Engine:
    """Return the engine of ``place``; ``auto`` is a device on which the weights at all ``paths`` run."""
    if any(map(is_onnx, paths)) and place.device == "auto" and place.gpus is None:
        place = replace(place, device="cpu")
    return Engine.at(place)


def open_network(path: Path, place: Place | Engine) -> OpenNetwork:
    """Return the network of the weights at ``path``, as ``find_weights`` gives it, at a place or with its engine.

    Raises ``WeightsError`` for weights that cannot be used, ``ExportError`` for an ONNX file without ONNX Runtime, and
    ``DeviceError`` or ``UsageError`` for a device that is missing or on which the weights do not run.
    """
    if is_onnx(path):
        return _open_onnx(path, place)
    engine = place if isinstance(place, Engine) else Engine.at(place)
    model, card = load_weights(path)
    _refuse_excess(path, card)
    how = card.preprocessing.normalize
    network = engine.place(model, how)
    described = engine.place(model, how, with_description=True) if card.needs_description else network
    return OpenNetwork(card, network, described, engine.device, engine.precision, str(engine))


def _refuse_excess(path: Path, card: WeightsCard) -> None:
    """Raise ``WeightsError`` if a batch of images, as bytes and as floats, does not fit into memory."""
    side = card.preprocessing.image_size
    if problem := excess(BATCH_SIZE * card.preprocessing.channels * side**2 * 5):
        raise WeightsError(f"{path}: a batch of images of {side} pixels per side {problem}.")


def _open_onnx(path: Path, place: Place | Engine) -> OpenNetwork:
    run, card = load_onnx(path)
    _refuse_excess(path, card)
    precision = "int8" if card.is_int8 else "fp32"
    if isinstance(place, Engine):  # its precision is that of other weights
        is_possible = place.device.type == "cpu"
    else:
        is_possible = place.device in ("auto", "cpu") and place.gpus is None and place.precision != "bf16"
    if not is_possible:
        raise UsageError(
            f"{path}: an ONNX file runs on the CPU, in {precision}; leave out --device, --gpus and --precision."
        )
    device = place.device if isinstance(place, Engine) else engine_for(place, path).device
    network = PixelNetwork(run, len(card.classes)).eval()
    described = PixelNetwork(run).eval() if card.needs_description else network
    return OpenNetwork(card, network, described, device, precision, f"ONNX Runtime, {device}, {precision}")
