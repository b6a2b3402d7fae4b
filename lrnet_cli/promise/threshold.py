"""From which score on labels are accepted, so that at most a promised share of the accepted ones is wrong.

Selective classification with guaranteed risk (Geifman and El-Yaniv 2017, arXiv:1705.08500) by testing a fixed sequence
of thresholds, each with the exact binomial (Learn then Test, Angelopoulos et al. 2021, arXiv:2110.01052, section 4.3).
"""

import math
from dataclasses import dataclass

import numpy as np

from lrnet_cli.errors import UsageError
from lrnet_cli.promise.bound import images_needed
from lrnet_cli.promise.evidence import Booleans, Floats

_STEPS = 200  # of the sequence, at most
_START = 1.6  # times ln(1 / (1 - confidence)) / max_error labelled images are accepted by the first threshold
MOST_ERROR = 0.5


@dataclass(frozen=True)
class Aim:
    """At most the share ``max_error`` of the accepted labels is to be wrong, with this ``confidence``."""

    max_error: float
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not 0 < self.max_error < MOST_ERROR or not 0.5 <= self.confidence < 1:
            raise UsageError(
                f"A promise is of an error above 0 and below {MOST_ERROR:g}, with a confidence from 0.5 and below 1; "
                f"got {self.max_error:g} and {self.confidence:g}."
            )

    @property
    def least(self) -> int:
        """The smallest number of labelled images from which this can be promised, if none of them is wrong."""
        return images_needed(0, self.max_error, self.confidence)

    def start(self, images: int) -> float:
        """Return how many of the labelled ``images`` the first threshold is to accept."""
        usual = _START * math.log(1 / (1 - self.confidence)) / self.max_error
        return min(usual, (self.least + images) / 2)  # of few images, some are to be left out


@dataclass(frozen=True)
class Threshold:
    """The lowest score that is accepted; of the labelled images it accepts ``images``, of which ``errors`` are wrong.

    It is infinite, and nothing is accepted, if no threshold could be promised; the numbers are then those of the first
    one that was tried.
    """

    score: float
    images: int
    errors: int

    @property
    def is_kept(self) -> bool:
        """Whether anything can be promised."""
        return math.isfinite(self.score)


def sequence(stack: Floats, start: float) -> Floats:
    """Return thresholds from strict to loose, which accept from the share ``start`` of ``stack`` (N,) to all of it.

    They are scores of the images to be labelled, so that they do not depend on the labelled ones. Images of the score
    minus infinity are never accepted.
    """
    ordered = np.sort(stack)[::-1]
    shares = np.linspace(min(start, 1.0), 1.0, _STEPS)
    chosen = ordered[np.clip(np.ceil(shares * len(ordered)).astype(int) - 1, 0, None)] if len(ordered) else ordered
    distinct = np.unique(np.append(chosen, ordered[np.isfinite(ordered)][-1:]))[::-1]
    thresholds: Floats = distinct[np.isfinite(distinct)]
    return thresholds


def find_threshold(scores: Floats, wrong: Booleans, stack: Floats, aim: Aim) -> Threshold:
    """Return the loosest threshold of the sequence up to which every one keeps ``aim``.

    ``scores`` (N,) are those of labelled images, of which some are ``wrong`` (N,), and ``stack`` (M,) those of the
    images to be labelled.
    """
    from scipy.stats import binom

    thresholds = sequence(stack, aim.start(len(scores)) / max(len(scores), 1))
    order = np.argsort(-scores, kind="stable")
    images = np.searchsorted(-scores[order], -thresholds, side="right")
    errors = np.append(0, np.cumsum(wrong[order]))[images]
    fails = np.flatnonzero(binom.cdf(errors, images, aim.max_error) > 1 - aim.confidence)
    count = int(fails[0]) if len(fails) else len(thresholds)
    if not count:
        return Threshold(math.inf, int(images[0]) if len(images) else 0, int(errors[0]) if len(errors) else 0)
    return Threshold(float(thresholds[count - 1]), int(images[count - 1]), int(errors[count - 1]))
