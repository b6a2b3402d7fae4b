"""Figures in which every class counts the same, however many images it has, with their intervals."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lrnet_cli.evaluation.intervals import Floats, effective_images, interval, roc_area


@dataclass(frozen=True)
class ClassAverages:
    """Means over the classes with images, each with a 95% interval; see ``evaluation.intervals``.

    ``balanced_accuracy`` is the mean recall, ``macro_f1`` the mean F1 (over classes that are predicted, too), ``auc``
    the mean area under the ROC curve of each class against the rest, MedMNIST's measure; None if only one class occurs.
    """

    balanced_accuracy: float
    balanced_accuracy_ci95: tuple[float, float]
    macro_f1: float
    macro_f1_ci95: tuple[float, float]
    auc: float | None
    auc_ci95: tuple[float, float] | None


def class_averages(scores: Tensor, labels: Tensor) -> ClassAverages:
    """Return the averages for probabilities (N, classes) against labels (N,), N ≥ 1."""
    values, truth = scores.double().numpy(), labels.numpy()
    predicted, classes = values.argmax(1), values.shape[1]
    right = truth == predicted
    true, called, hit = (
        np.bincount(part, minlength=classes).astype(np.float64) for part in (truth, predicted, truth[right])
    )
    present, seen = true > 0, true + called > 0
    most = effective_images(true[present])

    recall = np.divide(hit, true, out=np.zeros(classes), where=present)
    balanced = float(recall[present].mean())
    of_balanced = (right - recall[truth]) / true[truth] / present.sum()

    # An image counts for the class that it is of, and for the one that it is taken for.
    f1 = np.divide(2 * hit, true + called, out=np.zeros(classes), where=seen)
    share = np.divide(f1, true + called, out=np.zeros(classes), where=seen)
    macro_f1 = float(f1[seen].mean())
    of_f1 = (2 * right / (true + called)[truth] - share[truth] - share[predicted]) / seen.sum()

    auc, auc_interval = _auc(values, truth, true)
    return ClassAverages(
        balanced,
        interval(balanced, of_balanced, most),
        macro_f1,
        interval(macro_f1, of_f1, most),
        auc,
        auc_interval,
    )


def _auc(values: Floats, truth: NDArray[np.int64], true: Floats) -> tuple[float | None, tuple[float, float] | None]:
    present = np.flatnonzero(true)
    if len(present) < 2:
        return None, None
    areas, influences = zip(*(roc_area(values[:, label], truth == label) for label in present), strict=True)
    auc = float(np.mean(areas))
    own = true[present]
    of_each = np.array([effective_images(np.array([count, len(truth) - count])) for count in own])
    # Of two classes, either area is that of the other: there is one less to average than there are classes.
    most = effective_images(of_each) * (len(present) - 1) / len(present)
    return auc, interval(auc, np.sum(influences, 0) / len(present), most)
