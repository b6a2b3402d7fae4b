"""How well a network tells foreign images, such as those of other data sets, from those that it knows."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lrnet_cli.evaluation.intervals import effective_images, interval, roc_area


@dataclass(frozen=True)
class ForeignImages:
    """How ``n`` foreign images are told from known ones.

    ``auroc`` is the probability that a foreign image is the more novel of the two, with its 95% interval;
    ``unknown`` is the share of them above a novelty of 1, which ``lrnet predict`` calls unknown.
    """

    dataset: str
    n: int
    auroc: float
    auroc_ci95: tuple[float, float]
    unknown: float


@dataclass(frozen=True)
class MeasuredNovelty:
    """The share ``unknown`` of the evaluated images, whose novelty is above 1, and how ``foreign`` ones are told."""

    unknown: float
    foreign: tuple[ForeignImages, ...]


def measure_foreign(dataset: str, foreign: Tensor, known: Tensor) -> ForeignImages:
    """Return how images with the novelty ``foreign`` are told from those with the novelty ``known``."""
    is_foreign = np.arange(len(known) + len(foreign)) >= len(known)
    area, influence = roc_area(torch.cat([known, foreign]).double().numpy(), is_foreign)
    most = effective_images(np.array([len(known), len(foreign)], np.float64))
    unknown = float((foreign > 1).float().mean())
    return ForeignImages(dataset, len(foreign), area, interval(area, influence, most), unknown)
