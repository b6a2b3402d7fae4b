"""What every export has: normalisation, network and probabilities in one, a card, and a file that appears complete."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from lrnet_cli import paths
from lrnet_cli.models.heads import probabilities
from lrnet_cli.models.normalize import normalize
from lrnet_cli.weights.card import WeightsCard


class Whole(nn.Module):
    """uint8 images (N, C, S, S) in, logits and calibrated probabilities (N, classes) out."""

    def __init__(self, network: nn.Module, card: WeightsCard) -> None:
        super().__init__()
        self.network = network
        self.temperature = card.temperature
        self.head = card.head
        self.normalize = card.preprocessing.normalize

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and calibrated probabilities (N, classes) of uint8 images (N, C, S, S)."""
        logits = self.network(normalize(images.to(torch.float32) / 255, self.normalize))
        return logits, probabilities(logits / self.temperature, self.head)


def as_exported(card: WeightsCard) -> WeightsCard:
    """Return the card for an export: other runtimes give logits and probabilities, and no description for a novelty."""
    return replace(card, novelty=None) if card.needs_description else card


@contextmanager
def writing(target: Path) -> Iterator[Path]:
    """Give a temporary file that becomes ``target`` unless the body fails; ``UsageError`` if it cannot be written."""
    with paths.write_errors(target, "choose another --to"), paths.replacing(target) as temporary:
        yield temporary
