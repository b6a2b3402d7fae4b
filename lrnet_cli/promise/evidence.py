"""What a network answered for labelled images that it did not learn from, without the images."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]
Indices = NDArray[np.int64]
_DIGITS = 4  # behind the point, that are stored
_MOST = 60.0  # log-odds; a probability nearer to 1 cannot be told from it


@dataclass(frozen=True)
class Evidence:
    """A network's answers for labelled images (N,): what a promise is computed from.

    ``scores`` are the log-odds of the most likely class, before calibration, and ``truths`` those of the right class.
    Their order does not depend on any label, as that of calibrated probabilities would: the temperature is fitted to
    the same images. ``predicted`` and ``labels`` are class indices. ``novelty``, and each image's ``grounds`` and
    ``contrasts`` (0 to 1, as ``tones`` gives them), are empty if they were not measured. ``origin`` says whether one
    network answered for its validation images, or each network of a cross-validation for the fold it did not see; of
    these, ``losses`` are the sums over the images if the calibrated logits are divided by each of ``temperatures``.
    """

    scores: tuple[float, ...]
    truths: tuple[float, ...]
    predicted: tuple[int, ...]
    labels: tuple[int, ...]
    novelty: tuple[float, ...] = ()
    grounds: tuple[float, ...] = ()
    contrasts: tuple[float, ...] = ()
    origin: Literal["validation", "out-of-fold"] = "validation"
    temperatures: tuple[float, ...] = ()
    losses: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not {len(self.truths), len(self.predicted), len(self.labels)} == {len(self.scores)} != {0}:
            raise ValueError("the answers for validation images are of different numbers of images")
        measures = self.novelty, self.grounds, self.contrasts
        if any(len(values) not in (0, len(self.scores)) for values in measures):
            raise ValueError("the measures of validation images are of different numbers of images")
        if len(self.losses) != len(self.temperatures) or not all(value > 0 for value in self.temperatures):
            raise ValueError("the losses are not those of as many temperatures above 0")
        numbers = self.scores, self.truths, self.temperatures, self.losses, *measures
        if not all(np.isfinite(values).all() for values in numbers):
            raise ValueError("the answers for validation images hold numbers that are not finite")

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def temperature(self) -> float:
        """The temperature with the lowest loss of all folds; 1 where there are none."""
        return self.temperatures[int(np.argmin(self.losses))] if self.losses else 1.0

    @cached_property
    def wrong(self) -> Booleans:
        """Whether the most likely class is not the right one (N,)."""
        wrong: Booleans = np.array(self.predicted) != np.array(self.labels)
        return wrong

    def ranked(self, max_novelty: float, *, yes_or_no: bool) -> Floats:
        """Return the scores (N,), minus infinity for images that are unknown whatever their score.

        These are above ``max_novelty`` or, of a network that says ``yes_or_no`` to each class, have no yes.
        """
        scores = np.array(self.scores)
        barred = np.array(self.novelty) > max_novelty if self.novelty else np.zeros(len(scores), np.bool_)
        return np.where(barred | (yes_or_no & (scores < 0)), -np.inf, scores)


def log_odds(logits: Floats, *, yes_or_no: bool) -> Floats:
    """Return the log-odds of each class (N, classes), as exact near certainty as near doubt.

    Of a softmax, a class has odds against all others together; of independent ``yes_or_no`` outputs, the logits are it.
    """
    odds: Floats
    if yes_or_no:
        odds = np.clip(logits, -_MOST, _MOST)
        return odds
    exact = logits - logits.max(1, keepdims=True)
    powers, rows, first = np.exp(exact), np.arange(len(logits)), logits.argmax(1)
    others = powers.sum(1, keepdims=True) - powers
    # As a difference, what is left beside a near certainty would be rounding.
    powers[rows, first] = 0.0
    others[rows, first] = powers.sum(1)
    with np.errstate(divide="ignore"):
        odds = np.clip(exact - np.log(others), -_MOST, _MOST)
    return odds


def rounded(values: Floats) -> Floats:
    """Return ``values`` as they are stored: new ones are compared with these, and many images share some values."""
    return values.astype(np.float64).round(_DIGITS)


def tones(images: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Return ground and contrast (N,), from 0 to 1, of uint8 images (N, C, S, S).

    The ground is the median of the outermost pixels, the contrast the range of the middle nine tenths of all.
    """
    grey = images.mean(1) / 255
    border = np.concatenate([grey[:, 0], grey[:, -1], grey[:, 1:-1, 0], grey[:, 1:-1, -1]], 1)
    low, high = np.quantile(grey.reshape(len(grey), -1), (0.05, 0.95), axis=1)
    return rounded(np.median(border, axis=1)), rounded(high - low)


def evidence_of(odds: Floats, labels: Indices, *, novelty: Floats, grounds: Floats, contrasts: Floats) -> Evidence:
    """Return the evidence of log-odds (N, classes) for images with ``labels`` (N,)."""
    predicted, rows = odds.argmax(1), np.arange(len(odds))
    return Evidence(
        scores=_stored(odds[rows, predicted]),
        truths=_stored(odds[rows, labels]),
        predicted=tuple(predicted.tolist()),
        labels=tuple(labels.tolist()),
        novelty=_stored(novelty),
        grounds=_stored(grounds),
        contrasts=_stored(contrasts),
    )


def _stored(values: Floats) -> tuple[float, ...]:
    return tuple(rounded(values).tolist())
