"""Metrics of a classifier from its logits."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lrnet_cli.choices import Head
from lrnet_cli.inference import probabilities

CALIBRATION_BINS = 15  # Guo et al. 2017, arXiv:1706.04599, section 5


@dataclass(frozen=True)
class ClassMetrics:
    """Precision, recall and F1 in [0, 1] of one class (0 where undefined) and its number of pictures."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Metrics:
    """Metrics over ``n`` pictures.

    ``accuracy`` has its 95 % Wilson interval in ``accuracy_ci95``; ``loss`` is the head's own, the mean a picture, in
    nats; ``ece`` is the expected calibration error of the likeliest class in 15 equal bins; ``confusion_matrix`` has
    the true class as row and the predicted class as column.
    """

    n: int
    accuracy: float
    accuracy_ci95: tuple[float, float]
    loss: float
    ece: float
    per_class: tuple[ClassMetrics, ...]
    confusion_matrix: tuple[tuple[int, ...], ...]


def head_loss(logits: Tensor, labels: Tensor, head: Head, smoothing: float = 0.0) -> Tensor:
    """Return the mean loss of logits (N, classes) against labels (N,), a scalar in nats.

    Softmax: cross-entropy. Sigmoid: binary cross-entropy of each class against the rest, summed over the classes.
    ``smoothing`` is the share of the target that is spread evenly: over the classes, or over yes and no.
    """
    if head == "softmax":
        return nn.functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    targets = nn.functional.one_hot(labels, logits.shape[1]).to(logits.dtype)
    targets = targets * (1 - smoothing) + smoothing / 2
    return nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / len(labels)


def compute_metrics(logits: Tensor, labels: Tensor, classes: tuple[str, ...], head: Head) -> Metrics:
    """Return the metrics of logits (N, classes) against labels (N,), N ≥ 1."""
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support  # takes a second

    scores = probabilities(logits.double(), head)
    confidence, predicted = (tensor.numpy() for tensor in scores.max(1))
    truth = labels.numpy()
    correct = int((predicted == truth).sum())
    indices = np.arange(len(classes))
    table = precision_recall_fscore_support(truth, predicted, labels=indices, zero_division=0.0)
    return Metrics(
        n=len(truth),
        accuracy=correct / len(truth),
        accuracy_ci95=wilson_interval(correct, len(truth)),
        loss=float(head_loss(logits.double(), labels, head)),
        ece=_expected_calibration_error(confidence, (predicted == truth).astype(np.float64)),
        per_class=tuple(
            ClassMetrics(name, float(precision), float(recall), float(f1), int(support))
            for name, precision, recall, f1, support in zip(classes, *table, strict=True)
        ),
        confusion_matrix=tuple(tuple(map(int, row)) for row in confusion_matrix(truth, predicted, labels=indices)),
    )


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a share, without continuity correction (Wilson 1927)."""
    from scipy.stats import binomtest

    interval = binomtest(successes, n).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def accuracy_of(logits: Tensor, labels: Tensor) -> float:
    """Return the share of labels (N,) that the largest of logits (N, classes) hits."""
    return float((logits.argmax(1) == labels).to(torch.float64).mean())


def _expected_calibration_error(confidence: NDArray[np.float64], correct: NDArray[np.float64]) -> float:
    bins = np.linspace(0, 1, CALIBRATION_BINS + 1)
    expected, _ = np.histogram(confidence, bins, weights=confidence)
    observed, _ = np.histogram(confidence, bins, weights=correct)
    return float(np.abs(observed - expected).sum() / len(confidence))
