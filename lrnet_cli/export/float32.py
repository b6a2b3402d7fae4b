"""Exporting a network as it is, checked against PyTorch on real images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lrnet_cli.data.datasets import load_dataset
from lrnet_cli.data.images import ImageOptions
from lrnet_cli.errors import ExportError, UsageError
from lrnet_cli.export import onnx, pt2
from lrnet_cli.export.whole import Whole, writing
from lrnet_cli.models.ensemble import Ensemble
from lrnet_cli.models.fused import FusedLRNet
from lrnet_cli.models.lrnet import LRNet
from lrnet_cli.weights.card import WeightsCard
from lrnet_cli.weights.file import load_weights
from lrnet_cli.weights.onnx import OnnxNetwork

_Run = Callable[[Tensor], Sequence[Tensor]]
TOLERANCE = 1e-4  # of logits, probabilities and novelty
_BATCH = 32  # images at a time
# By suffix: the function that makes the file's content, and the one that runs the file.
_FORMS: dict[str, tuple[Callable[[nn.Module, WeightsCard, Tensor], bytes], Callable[[Path], _Run]]] = {
    ".onnx": (onnx.to_bytes, OnnxNetwork),
    ".pt2": (pt2.to_bytes, pt2.open_program),
}


@dataclass(frozen=True)
class Float32Export:
    """An export: the largest difference from PyTorch in any logit, probability or novelty over ``images`` real ones."""

    weights: Path
    path: Path
    difference: float
    images: int

    def document(self) -> dict[str, Any]:
        """Return the JSON document."""
        return {
            "schema": "lrnet.export/3",
            "weights": str(self.weights),
            "path": str(self.path),
            "largest_difference": self.difference,
            "images": self.images,
        }


def export_float32(weights: Path, target: Path) -> Float32Export:
    """Write the network of a weight file to ``target``, and check it on the embedded scans of digits."""
    if target.suffix not in _FORMS:
        raise UsageError(f"{target}: the format follows from the suffix, which must be one of: {', '.join(_FORMS)}.")
    model, card = load_weights(weights)
    whole = Whole(_fused(model), card).eval()
    size = ImageOptions(card.preprocessing.image_size, card.preprocessing.channels)
    images = load_dataset("optdigits", size).test.images
    with writing(target) as temporary:
        to_bytes, run = _FORMS[target.suffix]
        temporary.write_bytes(to_bytes(whole, card, images[:2]))
        difference = _difference(run(temporary), model, card, images)
        if not difference <= TOLERANCE:
            raise ExportError(
                f"{target}: not written, because the exported network differs from PyTorch's by {difference:.1e} "
                f"on {len(images)} real images (allowed: {TOLERANCE:g}); please report this."
            )
    return Float32Export(weights, target, difference, len(images))


def _fused(model: nn.Module) -> nn.Module:
    """Return ``model`` fused at any size: exported, its weights are constants."""
    if isinstance(model, Ensemble):
        return model.each(_fused)
    return FusedLRNet(model) if isinstance(model, LRNet) else model


@torch.inference_mode()
def _difference(run: _Run, model: nn.Module, card: WeightsCard, images: Tensor) -> float:
    """Return the largest difference between ``run`` and ``model``, for a single image and for many."""
    whole = Whole(model, card).eval()
    expected = [torch.cat(parts) for parts in zip(*map(whole, images.split(_BATCH)), strict=True)]
    exported = [torch.cat(parts) for parts in zip(run(images[:1]), run(images[1:]), strict=True)]
    return max(float((one - other).abs().max()) for one, other in zip(expected, exported, strict=True))
