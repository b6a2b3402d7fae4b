"""What every export has: normalisation, network and probabilities in one, a card, and a file that appears complete."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from lrnet_cli import paths
from lrnet_cli.models.ensemble import Ensemble
from lrnet_cli.models.heads import probabilities
from lrnet_cli.models.normalize import normalize
from lrnet_cli.models.novelty import Novelty, described
from lrnet_cli.weights.card import WeightsCard


class Whole(nn.Module):
    """uint8 images (N, C, S, S) in, logits and calibrated probabilities (N, classes) out.

    With a ``card`` whose novelty needs a description, the novelty (N,) is a third output.
    """

    def __init__(self, network: nn.Module, card: WeightsCard) -> None:
        super().__init__()
        if isinstance(network, Ensemble):
            exact = [_NoveltyIn32(one) for one in network.novelties if isinstance(one, Novelty)]
            network = Ensemble(list(network.members), network.temperatures, network.head, exact)
        self.network = described(network) if card.needs_description else network
        self.temperature = card.temperature
        self.head = card.head
        self.normalize = card.preprocessing.normalize
        self.classes = len(card.classes)
        self.novelty = _NoveltyIn32(card.novelty) if card.novelty is not None and card.needs_description else None

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return logits and probabilities (N, classes), perhaps novelty (N,), of uint8 images (N, C, S, S)."""
        outputs = self.network(normalize(images.to(torch.float32) / 255, self.normalize))
        logits = outputs[:, : self.classes]
        both = logits, probabilities(logits / self.temperature, self.head)
        return both if self.novelty is None else (*both, self.novelty(outputs))


class _NoveltyIn32(nn.Module):
    """``novelty`` in single precision, which every runtime has."""

    def __init__(self, novelty: Novelty) -> None:
        super().__init__()
        self.axes = nn.Buffer(torch.tensor(novelty.axes) / novelty.threshold)
        self.centres = nn.Buffer(torch.tensor(novelty.centres) / novelty.threshold)

    def forward(self, outputs: Tensor) -> Tensor:
        """Return the novelty (N,) of outputs (N, outputs)."""
        distances = (outputs @ self.axes)[:, None] - self.centres
        return distances.square().sum(2).amin(1).sqrt()


@contextmanager
def writing(target: Path) -> Iterator[Path]:
    """Give a temporary file that becomes ``target`` unless the body fails; ``UsageError`` if it cannot be written."""
    with paths.write_errors(target, "choose another --to"), paths.replacing(target) as temporary:
        yield temporary
