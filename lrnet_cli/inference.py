"""Weights and pictures in, labelled probabilities out."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lrnet_cli.choices import Head
from lrnet_cli.data.images import Invert, prepare
from lrnet_cli.engine import Engine
from lrnet_cli.errors import ImageError
from lrnet_cli.weights import WeightsCard, load_weights

BATCH_SIZE = 256


@dataclass(frozen=True)
class Prediction:
    """The answer for one picture: every class with its probability in [0, 1], the likeliest first.

    ``index`` is the position of ``label`` in the class list; ``inverted`` tells whether light and dark were swapped.
    """

    label: str
    index: int
    probability: float
    top: tuple[tuple[str, float], ...]
    inverted: bool


class Classifier:
    """A trained network that labels picture files."""

    def __init__(self, model: nn.Module, card: WeightsCard, engine: Engine) -> None:
        self.model = engine.ready(model)
        self.card = card
        self.device = engine.device

    @classmethod
    def load(cls, weights: Path, engine: Engine) -> "Classifier":
        """Return the classifier of a weight file; raises ``WeightsError`` for one that cannot be used."""
        model, card = load_weights(weights)
        return cls(model, card, engine)

    def predict(self, paths: Iterable[Path], invert: Invert = "auto") -> Iterator[tuple[Path, Prediction | ImageError]]:
        """Yield, in order, each path with its prediction, or with the error that kept it from being read.

        Memory holds one batch of pictures at a time.
        """
        remaining = iter(paths)
        while batch := list(islice(remaining, BATCH_SIZE)):
            inputs: list[NDArray[np.uint8]] = []
            outcomes: list[bool | ImageError] = []
            for path in batch:
                try:
                    pixels, inverted = prepare(path, self.card.preprocessing, invert)
                    inputs.append(pixels)
                    outcomes.append(inverted)
                except ImageError as error:
                    outcomes.append(error)
            rows = iter(self._probabilities(inputs))
            for path, outcome in zip(batch, outcomes, strict=True):
                yield path, outcome if isinstance(outcome, ImageError) else self._label(next(rows), outcome)

    def _probabilities(self, inputs: list[NDArray[np.uint8]]) -> Tensor:
        if not inputs:
            return torch.empty(0, len(self.card.classes))
        images = torch.from_numpy(np.stack(inputs)).to(self.device)
        return probabilities(predict_logits(self.model, images), self.card.head)

    def _label(self, row: Tensor, inverted: bool) -> Prediction:
        values, order = row.sort(descending=True, stable=True)
        top = tuple((self.card.classes[i], p) for i, p in zip(order.tolist(), values.tolist(), strict=True))
        return Prediction(top[0][0], int(order[0]), top[0][1], top, inverted)


def as_input(images: Tensor) -> Tensor:
    """Return uint8 pictures (N, C, S, S) as the network's floats in [0, 1], channels last."""
    return images.to(torch.float32, memory_format=torch.channels_last).div_(255)


@torch.inference_mode()
def predict_logits(model: nn.Module, images: Tensor) -> Tensor:
    """Return the logits, float32 (N, classes) on the CPU, of uint8 pictures (N, C, S, S), in batches.

    ``model`` must be in evaluation mode and on the device of ``images``.
    """
    return torch.cat([model(as_input(batch)).float() for batch in images.split(BATCH_SIZE)]).cpu()


def probabilities(logits: Tensor, head: Head) -> Tensor:
    """Return the probabilities in [0, 1] of logits (N, classes): their softmax, or independent ones for ``sigmoid``."""
    return logits.softmax(1) if head == "softmax" else logits.sigmoid()
