"""What more training images would gain: a power law through the errors of networks that were trained on parts of a set.

An error falls as a power of the number of training images over wide ranges (Hestness et al. 2017, arXiv:1712.00409).
The intervals say how far the chance of the validation images reaches, which are drawn again 2,000 times; all networks
were measured on the same ones. They do not say how much another training differs, nor how far the law holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_FEWEST_POINTS = 3
_DRAWS, _SEED = 2000, 0
_CI95 = (2.5, 97.5)

Booleans = NDArray[np.bool_]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Gain:
    """What more images gain: the accuracy with twice as many, and how many times as many halve the error.

    Each has its 95% interval.
    """

    doubled_accuracy: float
    doubled_accuracy_ci95: Interval
    halving_factor: float
    halving_factor_ci95: Interval


def gain_of_more(images: Sequence[int], hits: Booleans) -> Gain:
    """Return what more than the last of ``images`` would gain.

    ``hits`` (points, N) says which of N validation images were answered right after training on each number of
    ``images``, of which the smallest comes first. Raises ``ValueError`` with a sentence if nothing can be said.
    """
    count = hits.shape[1]
    errors = 1 - hits.mean(1)
    if len(images) < _FEWEST_POINTS:
        raise ValueError(f"there are too few training images to train on parts of them as well ({images[-1]})")
    if not errors[-1]:
        raise ValueError(f"there is no mistake on {count} validation images")
    if not (np.diff(errors) < 0).all():
        raise ValueError("the accuracy does not rise with every doubling of the training images, so no law can be read")
    weights = np.random.default_rng(_SEED).multinomial(count, np.full(count, 1 / count), _DRAWS)
    drawn = np.maximum(weights @ (~hits).T / count, 0.5 / count)
    slopes, ahead = _line(np.log(images), np.log(drawn))
    low, high = np.percentile(slopes, _CI95)
    if high >= 0:
        raise ValueError(f"the accuracy rises by no more than chance on {count} validation images")
    slope, doubled = _line(np.log(images), np.log(errors[None]))
    best, worst = 1 - np.exp(np.percentile(ahead, _CI95))
    return Gain(
        doubled_accuracy=float(1 - np.exp(doubled[0])),
        doubled_accuracy_ci95=(float(worst), float(best)),
        halving_factor=_halving(slope[0]),
        halving_factor_ci95=(_halving(low), _halving(high)),
    )


def _halving(slope: float) -> float:
    """Return how many times as many images halve the error, up to a million."""
    return float(2 ** min(-1 / slope, 20.0))


def _line(images: NDArray[np.float64], errors: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the slopes (lines,) of the lines through ``errors`` (lines, points), and their values at the last doubled.

    All numbers are logarithms; the fit is by least squares.
    """
    apart = images - images.mean()
    slopes = errors @ apart / (apart @ apart)
    return slopes, errors.mean(1) + slopes * (apart[-1] + np.log(2))
