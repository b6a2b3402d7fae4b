"""Metrics of a classifier from its logits, most of them scikit-learn's."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lrnet_cli.evaluation.intervals import wilson_interval
from lrnet_cli.models.heads import head_loss, probabilities
from lrnet_cli.settings.words import Head

CALIBRATION_BINS = 15  # Guo et al. 2017, arXiv:1706.04599, section 5
_TOP_K = (2, 3, 5)


@dataclass(frozen=True)
class ClassMetrics:
    """Precision, recall and F1 in [0, 1] of one class (0 where undefined) and its number of images."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class ReliabilityBin:
    """The ``count`` images whose confidence lies above ``low`` and up to ``high``.

    ``confidence`` is the mean of their probabilities, ``accuracy`` the share that was right; both in [0, 1].
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Metrics:
    """Metrics over ``n`` images.

    ``accuracy`` has its 95% Wilson interval in ``accuracy_ci95``; ``top_k_accuracy`` is the share whose class is among
    the k most likely, for some k; ``loss`` is the head's own log loss, the mean per image, in nats; ``ece`` is
    the expected calibration error of the most likely class in 15 equal bins, of which ``reliability`` has those that
    hold images; ``confusion_matrix`` has the true class as row and the predicted class as column.
    """

    n: int
    accuracy: float
    accuracy_ci95: tuple[float, float]
    top_k_accuracy: dict[int, float]
    loss: float
    ece: float
    reliability: tuple[ReliabilityBin, ...]
    per_class: tuple[ClassMetrics, ...]
    confusion_matrix: tuple[tuple[int, ...], ...]


def compute_metrics(logits: Tensor, labels: Tensor, classes: tuple[str, ...], head: Head) -> Metrics:
    """Return the metrics of logits (N, classes) against labels (N,), N ≥ 1."""
    from sklearn.metrics import (  # takes a second
        confusion_matrix,
        precision_recall_fscore_support,
        top_k_accuracy_score,
    )

    scores = probabilities(logits.double(), head)
    predicted = scores.argmax(1).numpy()
    truth = labels.numpy()
    correct = int((predicted == truth).sum())
    indices = np.arange(len(classes))
    table = precision_recall_fscore_support(truth, predicted, labels=indices, zero_division=0.0)
    reliability = reliability_bins(scores, labels)
    return Metrics(
        n=len(truth),
        accuracy=correct / len(truth),
        accuracy_ci95=wilson_interval(correct, len(truth)),
        top_k_accuracy={
            k: float(top_k_accuracy_score(truth, scores.numpy(), k=k, labels=indices))
            for k in _TOP_K
            if k < len(classes)
        },
        loss=float(head_loss(logits.double(), labels, head)),
        ece=calibration_error(reliability),
        reliability=reliability,
        per_class=tuple(
            ClassMetrics(name, float(precision), float(recall), float(f1), int(support))
            for name, precision, recall, f1, support in zip(classes, *table, strict=True)
        ),
        confusion_matrix=tuple(tuple(map(int, row)) for row in confusion_matrix(truth, predicted, labels=indices)),
    )


def reliability_bins(scores: Tensor, labels: Tensor) -> tuple[ReliabilityBin, ...]:
    """Return the bins of the confidence, of 15 equal ones, that hold any of the probabilities (N, classes)."""
    from sklearn.calibration import calibration_curve

    highest, predicted = scores.max(1)
    confidence: NDArray[np.float64] = highest.double().clamp(max=1.0).numpy()  # a softmax may exceed 1 by rounding
    correct = (predicted == labels).numpy().astype(np.int64)
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    accuracies, claimed = calibration_curve(correct, confidence, n_bins=CALIBRATION_BINS)
    counts = np.bincount(np.searchsorted(edges[1:-1], confidence), minlength=CALIBRATION_BINS)
    return tuple(
        ReliabilityBin(float(edges[index]), float(edges[index + 1]), int(counts[index]), float(claim), float(accuracy))
        for index, claim, accuracy in zip(np.flatnonzero(counts), claimed, accuracies, strict=True)
    )


def calibration_error(reliability: tuple[ReliabilityBin, ...]) -> float:
    """Return the expected calibration error: the bins' mean gap between confidence and accuracy, weighted by count."""
    gaps = sum(part.count * abs(part.confidence - part.accuracy) for part in reliability)
    return gaps / sum(part.count for part in reliability)
