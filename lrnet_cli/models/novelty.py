"""How foreign a picture is to a network: the distance of its logits from those of known pictures.

A Mahalanobis distance to the nearest class, with one covariance for all classes (Lee et al. 2018, arXiv:1807.03888),
over logits, which every form of a network gives, where theirs is over hidden features.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_PASSING = 0.99  # of the validation pictures
_RIDGE = 1e-3  # of the mean variance, added to that of every direction
_MOST_AXES = 64  # LR-Net's logits have no more: its last layer has so many inputs
_DIGITS = 6  # that are stored


@dataclass(frozen=True)
class Novelty:
    """The centres of known classes (K, A) along ``axes`` (classes, A), on which logits of one class vary by one.

    Distances are divided by ``threshold``, so that a novelty of 1 is exceeded by one in a hundred known pictures.
    """

    axes: tuple[tuple[float, ...], ...]
    centres: tuple[tuple[float, ...], ...]
    threshold: float

    def __post_init__(self) -> None:
        axes, centres = torch.tensor(self.axes), torch.tensor(self.centres)
        if axes.ndim != 2 or centres.ndim != 2 or axes.shape[1] != centres.shape[1] or not centres.numel():
            raise ValueError("the axes and centres of the novelty do not fit together")
        if not (axes.isfinite().all() and centres.isfinite().all() and 0 < self.threshold < float("inf")):
            raise ValueError("the novelty has numbers that are not finite, or a threshold not above 0")

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the novelty (N,) of logits (N, classes); above 1, a picture is unlike those that are known."""
        return _distances(logits, torch.tensor(self.axes), torch.tensor(self.centres)) / self.threshold


def fit_novelty(logits: Tensor, labels: Tensor, known: Tensor) -> Novelty:
    """Return the novelty by logits (N, classes) of training pictures with ``labels`` (N,).

    The threshold lets 99 % of the validation pictures with the logits ``known`` pass.
    """
    exact = logits.double()
    seen = labels.unique()
    means = torch.stack([exact[labels == label].mean(0) for label in seen])
    within = exact - means[torch.searchsorted(seen, labels)]
    variances, directions = torch.linalg.eigh(within.T @ within / len(within))
    ridge = max(_RIDGE * float(variances.mean()), 1e-12)
    axes = (directions / (variances.clamp(min=0) + ridge).sqrt())[:, -_MOST_AXES:]
    centres = means @ axes
    threshold = float(_distances(known.double(), axes, centres).quantile(_PASSING))
    return Novelty(_rounded(axes), _rounded(centres), max(threshold, 1e-6))


def _distances(logits: Tensor, axes: Tensor, centres: Tensor) -> Tensor:
    return torch.cdist(logits.to(axes.dtype) @ axes, centres).min(1).values


def _rounded(values: Tensor) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(f"{value:.{_DIGITS}g}") for value in row) for row in values.tolist())
