"""How well a network tells foreign pictures, such as those of other data sets, from those that it knows."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class ForeignPictures:
    """How ``n`` foreign pictures are told from known ones.

    ``auroc`` is the probability that a foreign picture is the more novel of the two, with its 95 % interval;
    ``unknown`` is the share of them above a novelty of 1, which ``lrnet predict`` calls unknown.
    """

    dataset: str
    n: int
    auroc: float
    auroc_ci95: tuple[float, float]
    unknown: float


def measure_foreign(dataset: str, foreign: Tensor, known: Tensor) -> ForeignPictures:
    """Return how pictures with the novelty ``foreign`` are told from those with the novelty ``known``.

    The interval is Hanley and McNeil's (1982).
    """
    from sklearn.metrics import roc_auc_score  # takes a second

    truth = np.concatenate([np.zeros(len(known)), np.ones(len(foreign))])
    area = float(roc_auc_score(truth, torch.cat([known, foreign]).numpy()))
    first, second = area / (2 - area), 2 * area * area / (1 + area)
    spread = (len(foreign) - 1) * (first - area**2) + (len(known) - 1) * (second - area**2)
    half = 1.96 * math.sqrt(max(area * (1 - area) + spread, 0) / (len(known) * len(foreign)))
    interval = (max(area - half, 0.0), min(area + half, 1.0))
    return ForeignPictures(dataset, len(foreign), area, interval, float((foreign > 1).float().mean()))
