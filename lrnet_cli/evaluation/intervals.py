"""Intervals of 95% for figures in [0, 1], honest for few images and without mistakes too.

Wilson's score interval (1927); for figures that are no plain share with an effective number of images, that of a plain
share with the figure's variance: as for shares from unequally weighted samples (Korn and Graubard 1998, Survey
Methodology 24:193-201). Without mistakes there is no variance to see, and the sizes of the classes alone limit that
number (Kish 1965).
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Z = 1.959963984540054  # between minus and plus this many deviations lie 95% of a normal distribution


def wilson_interval(successes: float, n: float) -> tuple[float, float]:
    """Return the interval of a share, without continuity correction; neither number need be whole."""
    share = successes / n
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z * math.sqrt(max(share * (1 - share), 0) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)
    return min(max(centre - half, 0.0), share), max(min(centre + half, 1.0), share)  # despite rounding


def interval(value: float, influence: Floats, most: float) -> tuple[float, float]:
    """Return the interval of a figure whose error is the sum of ``influence`` (N,), one summand per image.

    ``most`` limits the effective number of images.
    """
    variance = float(np.square(influence).sum())
    spread = value * (1 - value)
    n = min(most, spread / variance) if variance > 0 and spread > 0 else most
    return wilson_interval(value * n, n)


def effective_images(counts: Floats) -> float:
    """Return the number of images for which a mean over classes with ``counts`` images counts (Kish 1965)."""
    return float(len(counts) ** 2 / (1 / counts).sum())


def roc_area(scores: Floats, own: NDArray[np.bool_]) -> tuple[float, Floats]:
    """Return the area under the ROC curve of ``scores`` (N,) for ``own`` (N,) against the rest, and its influence (N,).

    The area is the share of pairs in which the own one has the higher score, of equal ones half; the squares of the
    influence, one summand of its error per image, sum up to the variance of DeLong et al. 1988, Biometrics 44:837-845.
    """
    from scipy.stats import rankdata

    ranks: Any = rankdata(scores)
    positives, negatives = int(own.sum()), int((~own).sum())
    placements = np.empty(len(scores))
    placements[own] = (ranks[own] - rankdata(scores[own])) / negatives
    placements[~own] = 1 - (ranks[~own] - rankdata(scores[~own])) / positives
    area = float(placements[own].mean())
    return area, (placements - area) / np.where(own, positives, negatives)
