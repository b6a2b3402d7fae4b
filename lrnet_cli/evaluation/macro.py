"""Figures in which every class counts the same, however many pictures it has, with bootstrap intervals."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

_RESAMPLES, _FEWEST_RESAMPLES = 1000, 50
_SEED = 0  # fixed, so that the same predictions have the same interval
_MOST_WORK = 500_000_000  # numbers that the resamples of an AUC may go through

_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ClassAverages:
    """Means over the classes with pictures, each with a 95 % interval, the percentiles of a seeded bootstrap.

    ``balanced_accuracy`` is the mean recall, ``macro_f1`` the mean F1 (over classes that are predicted, too), ``auc``
    the mean area under the ROC curve of each class against the rest, MedMNIST's measure; None if only one class occurs.
    """

    balanced_accuracy: float
    balanced_accuracy_ci95: tuple[float, float]
    macro_f1: float
    macro_f1_ci95: tuple[float, float]
    auc: float | None
    auc_ci95: tuple[float, float] | None

    def named(self) -> dict[str, tuple[float, tuple[float, float]]]:
        """Return what there is, with its interval, by what people call it."""
        found = {
            "balanced accuracy": (self.balanced_accuracy, self.balanced_accuracy_ci95),
            "macro F1": (self.macro_f1, self.macro_f1_ci95),
        }
        if self.auc is not None and self.auc_ci95 is not None:
            found["AUC, one vs rest"] = (self.auc, self.auc_ci95)
        return found


def class_averages(scores: Tensor, labels: Tensor) -> ClassAverages:
    """Return the averages for probabilities (N, classes) against labels (N,), N ≥ 1."""
    values, truth = scores.double().numpy(), labels.numpy()
    classes = values.shape[1]
    cells, counts = np.unique(truth * classes + values.argmax(1), return_counts=True)
    # To draw pictures again is to draw cells of the confusion matrix again.
    generator = np.random.default_rng(_SEED)
    drawn = generator.multinomial(len(truth), counts / len(truth), _RESAMPLES)
    rows, columns = cells // classes, cells % classes

    def estimate(statistic: Callable[[_Floats], float]) -> tuple[float, tuple[float, float]]:
        resampled = [statistic(row.astype(np.float64)) for row in drawn]
        return statistic(counts.astype(np.float64)), _interval(resampled)

    def sums(weights: _Floats) -> tuple[_Floats, _Floats, _Floats]:
        right = np.bincount(rows, weights * (rows == columns), classes)
        true, predicted = (np.bincount(places, weights, classes) for places in (rows, columns))
        return right.astype(np.float64), true.astype(np.float64), predicted.astype(np.float64)

    def recall(weights: _Floats) -> float:
        right, true, _ = sums(weights)
        return float((right[true > 0] / true[true > 0]).mean())

    def f1(weights: _Floats) -> float:
        right, true, predicted = sums(weights)
        seen = true + predicted > 0
        return float((2 * right[seen] / (true + predicted)[seen]).mean())

    auc, auc_interval = _auc(values, truth)
    return ClassAverages(*estimate(recall), *estimate(f1), auc, auc_interval)


def _auc(values: _Floats, truth: NDArray[np.int64]) -> tuple[float | None, tuple[float, float] | None]:
    from scipy.stats import rankdata

    n, classes = values.shape
    resamples = int(min(_RESAMPLES, max(_FEWEST_RESAMPLES, _MOST_WORK // (n * classes))))
    weights = np.random.default_rng(_SEED).multinomial(n, np.full(n, 1 / n), resamples).astype(np.float32)
    areas, resampled = [], []
    for label in np.unique(truth):
        own = truth == label
        positives = int(own.sum())
        if positives == n:
            return None, None
        ranks = rankdata(values[:, label])
        areas.append((ranks[own].sum() - positives * (positives + 1) / 2) / (positives * (n - positives)))
        order = np.argsort(values[:, label], kind="stable")
        ordered, is_own = weights[:, order], own[order]
        below = np.cumsum(np.where(is_own, 0, ordered), 1)
        wins = (below * np.where(is_own, ordered, 0)).sum(1)
        with np.errstate(invalid="ignore"):  # a class may be missing from a resample
            resampled.append(wins / (ordered[:, is_own].sum(1) * below[:, -1]))
    drawn = np.stack(resampled)
    drawn = drawn[:, ~np.isnan(drawn).all(0)]  # a resample of a single class has no area
    return float(np.mean(areas)), _interval(np.nanmean(drawn, 0))


def _interval(resampled: object) -> tuple[float, float]:
    low, high = np.percentile(np.asarray(resampled, np.float64), [2.5, 97.5])
    return float(low), float(high)
