"""Trained networks for other runtimes, checked against PyTorch on real pictures."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from lrnet_cli import paths
from lrnet_cli.data.datasets import load_dataset
from lrnet_cli.errors import ExportError, UsageError
from lrnet_cli.models.ensemble import Ensemble
from lrnet_cli.models.fused import FusedLRNet
from lrnet_cli.models.heads import probabilities
from lrnet_cli.models.logits import predict_logits
from lrnet_cli.models.lrnet import LRNet
from lrnet_cli.models.normalize import Normalized, normalize
from lrnet_cli.weights import onnx, pt2
from lrnet_cli.weights.card import WeightsCard
from lrnet_cli.weights.file import load_weights

_Run = Callable[[Tensor], Sequence[Tensor]]
TOLERANCE = 1e-4  # of logits and probabilities
# By suffix: the function that makes the file's content, and the one that runs the file.
_FORMS: dict[str, tuple[Callable[[nn.Module, WeightsCard, Tensor], bytes], Callable[[Path], _Run]]] = {
    ".onnx": (onnx.to_bytes, onnx.OnnxNetwork),
    ".pt2": (pt2.to_bytes, pt2.open_program),
}


@dataclass(frozen=True)
class Exported:
    """An export: the largest difference from PyTorch in any logit or probability over ``pictures`` real pictures."""

    path: Path
    difference: float
    pictures: int


class Whole(nn.Module):
    """uint8 pictures (N, C, S, S) in, logits and calibrated probabilities (N, classes) out."""

    def __init__(self, network: nn.Module, card: WeightsCard) -> None:
        super().__init__()
        self.network = network
        self.temperature = card.temperature
        self.head = card.head
        self.normalize = card.preprocessing.normalize

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and calibrated probabilities (N, classes) of uint8 pictures (N, C, S, S)."""
        logits = self.network(normalize(images.to(torch.float32) / 255, self.normalize))
        return logits, probabilities(logits / self.temperature, self.head)


def export_weights(weights: Path, target: Path) -> Exported:
    """Write the network of a weight file to ``target``, an ``.onnx`` or ``.pt2`` file, and check it on real pictures.

    The exported network takes uint8 pictures (N, C, S, S) for any N ≥ 1 and gives ``logits`` and ``probabilities``
    (N, classes), float32; the card of the weights is in its metadata, without a novelty that needs more than logits. It
    is compared with the plain network of the weight file on the embedded scans of digits, resized for the network.

    Raises ``ExportError`` if any value differs by more than 1e-4, or without the extra packages; ``WeightsError`` for
    weights that cannot be used; ``UsageError`` for another suffix or a path that cannot be written.
    """
    if target.suffix not in _FORMS:
        raise UsageError(f"{target}: the format follows from the suffix, which must be one of: {', '.join(_FORMS)}.")
    model, card = load_weights(weights)
    card = as_exported(card)
    whole = Whole(_fused(model), card).eval()
    pictures = load_dataset(
        "optdigits", image_size=card.preprocessing.image_size, channels=card.preprocessing.channels
    ).test.images
    with writing(target) as temporary:
        to_bytes, run = _FORMS[target.suffix]
        temporary.write_bytes(to_bytes(whole, card, pictures[:2]))
        difference = _difference(run(temporary), model, card, pictures)
        if not difference <= TOLERANCE:
            raise ExportError(
                f"{target}: not written, because the exported network differs from PyTorch's by {difference:.1e} "
                f"on {len(pictures)} real pictures (allowed: {TOLERANCE:g}); please report this."
            )
    return Exported(target, difference, len(pictures))


def as_exported(card: WeightsCard) -> WeightsCard:
    """Return the card for an export: other runtimes give logits and probabilities, and no description for a novelty."""
    return replace(card, novelty=None) if card.needs_description else card


@contextmanager
def writing(target: Path) -> Iterator[Path]:
    """Give a temporary file that becomes ``target`` unless the body fails; ``UsageError`` if it cannot be written."""
    try:
        with paths.replacing(target) as temporary:
            yield temporary
    except OSError as error:
        raise UsageError(f"{target}: cannot be written ({error.strerror or error}); choose another --to.") from error


def _fused(model: nn.Module) -> nn.Module:
    """Return ``model`` fused at any size: exported, its weights are constants."""
    if isinstance(model, Ensemble):
        return model.each(_fused)
    return FusedLRNet(model) if isinstance(model, LRNet) else model


@torch.inference_mode()
def _difference(run: _Run, model: nn.Module, card: WeightsCard, pictures: Tensor) -> float:
    """Return the largest difference between ``run`` and ``model``, for a single picture and for many."""
    logits = predict_logits(Normalized(model, card.preprocessing.normalize), pictures)
    wanted = logits, probabilities(logits / card.temperature, card.head)
    found = [torch.cat(parts) for parts in zip(run(pictures[:1]), run(pictures[1:]), strict=True)]
    return max(float((one - other).abs().max()) for one, other in zip(wanted, found, strict=True))
