"""ONNX files whose convolutions compute in eight-bit integers.

The network's part is in ``models.quantizable``; the graph is rewritten by ONNX Runtime's own quantiser. Activations are
unsigned with one step per tensor, weights signed with one per output channel. Some stays in float32, a fiftieth of the
work: the normalisation of images, the three convolutions that read it, and the fully connected layers. Normalised
images lie between the 256 grey values, and rounding them changes the logits more than everything else does.
"""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from lrnet_cli.export.onnx import quiet, to_bytes
from lrnet_cli.export.whole import Whole
from lrnet_cli.models.ensemble import Ensemble
from lrnet_cli.models.logits import as_input
from lrnet_cli.models.lrnet import LRNet
from lrnet_cli.models.normalize import normalize
from lrnet_cli.models.quantizable import FIRST, QuantizableLRNet
from lrnet_cli.settings.words import Normalize
from lrnet_cli.weights.card import WeightsCard
from lrnet_cli.weights.onnx import INPUT, needed_packages

if TYPE_CHECKING:
    from onnx import ModelProto

_QUANTIZED = ("Conv", "Relu", "Clip", "Concat", "MaxPool")
_FIRST = re.compile(rf"blocks\.0\.convs\.({'|'.join(FIRST)})\.weight$")
_PIXELS = 400_000  # of all calibration images together; more make no difference, and activations fill memory
_LEAST_RANGE = 1 / 255  # of images that may all be blank
_BATCH_SIZE = 64


def calibration_images(images: Tensor) -> Tensor:
    """Return as many of ``images``, uint8 (N, C, S, S), as calibration can use; at least one."""
    return images[: max(1, _PIXELS // images[0, 0].numel())]


def quantizable(model: nn.Module, how: Normalize, images: Tensor) -> nn.Module:
    """Return ``model``, an LR-Net or several, in the form that eight bits can hold, calibrated on ``images``."""
    if isinstance(model, Ensemble):
        return model.each(lambda member: quantizable(member, how, images))
    assert isinstance(model, LRNet)
    images = normalize(as_input(images), how)
    low = min(0.0, float(images.min()))
    network = QuantizableLRNet(model, low, max(float(images.max()), low + _LEAST_RANGE)).eval()
    network.equalize_channels(images)
    network.gptq_round(images)
    return network


def quantized(model: nn.Module, card: WeightsCard, images: Tensor) -> "ModelProto":
    """Return ``model``, an LR-Net or several, as an ONNX model whose convolutions are in integers.

    Weights and steps follow from ``images``, uint8 (N, C, S, S).
    """
    whole = Whole(quantizable(model, card.preprocessing.normalize, images), card).eval()
    content = to_bytes(whole, card, images[[0, -1]])
    with needed_packages(), quiet(), tempfile.TemporaryDirectory() as folder:
        import onnx
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

        class Reader(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime is untyped
            def __init__(self) -> None:
                self.batches: Iterator[Tensor] = iter(images.split(_BATCH_SIZE))

            def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
                batch = next(self.batches, None)
                return None if batch is None else {INPUT: batch.numpy()}

        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(content)
        graph = onnx.load_from_string(content).graph
        convolutions = [index for index, node in enumerate(graph.node) if node.op_type == "Conv"]
        inner = graph.node[convolutions[0] : convolutions[-1] + 2]
        quantize_static(
            source,
            target,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_QUANTIZED),
            nodes_to_quantize=[node.name for node in inner if not any(map(_FIRST.search, node.input))],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(target)
