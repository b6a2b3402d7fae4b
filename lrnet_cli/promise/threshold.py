"""From which score on labels are accepted, so that at most a promised share of the accepted ones is wrong.

Selective classification with guaranteed risk (Geifman and El-Yaniv 2017, arXiv:1705.08500) by testing a fixed sequence
of thresholds from several starts (Learn then Test, Angelopoulos et al. 2021, arXiv:2110.01052, section 4.3). A start
that is reached from the one before takes over its share of the allowed failures (Wiens 2003, "A fixed sequence
Bonferroni procedure for testing multiple endpoints").
"""

import math
from dataclasses import dataclass

import numpy as np

from lrnet_cli.errors import UsageError
from lrnet_cli.promise.bound import images_needed
from lrnet_cli.promise.evidence import Booleans, Floats, Indices

_STEPS = 200  # of the sequence, at most
_START = 1.6  # times ln(1 / (1 - confidence)) / max_error labelled images are accepted by the first threshold
_SECOND_START = 0.5  # of the stack: where a few sure errors end the sequence early, it goes on from here
_ROOM = 10  # errors; a stack that may have fewer would have to be nearly free of them to be sure of its own error
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

    @property
    def least_stack(self) -> int:
        """The smallest number of images to be labelled whose own error is promised, not that of the long run."""
        return math.ceil(round(_ROOM / self.max_error, 9))

    def start(self, images: int) -> float:
        """Return how many of the labelled ``images`` the first threshold is to accept."""
        usual = _START * math.log(1 / (1 - self.confidence)) / self.max_error
        return min(usual, (self.least + images) / 2)  # of few images, some are to be left out


@dataclass(frozen=True)
class Threshold:
    """The lowest score that is accepted; of the labelled images it accepts ``images``, of which ``errors`` are wrong.

    It is infinite, and nothing is accepted, if no threshold could be promised; the numbers are then those of the first
    one that was tried. ``is_of_stack`` says whether the promise is of the images to be labelled themselves, or of the
    long run of images like them, around which the error of a small stack varies.
    """

    score: float
    images: int
    errors: int
    is_of_stack: bool

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


def find_threshold(scores: Floats, wrong: Booleans, stack: Floats, aim: Aim, *, long_run: bool = False) -> Threshold:
    """Return the loosest threshold of the sequence that keeps ``aim``.

    ``scores`` (N,) are those of labelled images, of which some are ``wrong`` (N,), and ``stack`` (M,) those of the
    images to be labelled. The promise is of the stack itself if that is large enough and ``long_run`` is false.
    """
    thresholds = sequence(stack, aim.start(len(scores)) / max(len(scores), 1))
    is_of_stack = not long_run and int(np.isfinite(stack).sum()) >= aim.least_stack
    if not len(thresholds):
        return Threshold(math.inf, 0, 0, is_of_stack)
    images, order = _above(scores, thresholds), np.argsort(-scores, kind="stable")
    errors = np.append(0, np.cumsum(wrong[order]))[images]
    further = _above(stack, thresholds)
    p_values = _p_values(errors, images, aim.max_error, further if is_of_stack else None)
    allowed = np.zeros(len(thresholds))
    for first in (0, min(int(np.searchsorted(further, _SECOND_START * len(stack))), len(thresholds) - 1)):
        allowed[first] += (1 - aim.confidence) / 2
    loosest, level = None, 0.0
    for number, p_value in enumerate(p_values.tolist()):
        level += float(allowed[number])
        if p_value <= level:
            loosest = number
        else:
            level = 0.0
    if loosest is None:
        return Threshold(math.inf, int(images[0]), int(errors[0]), is_of_stack)
    return Threshold(float(thresholds[loosest]), int(images[loosest]), int(errors[loosest]), is_of_stack)


def _above(scores: Floats, thresholds: Floats) -> Indices:
    """Return how many of ``scores`` (N,) each of the falling ``thresholds`` accepts."""
    counts: Indices = np.searchsorted(-np.sort(scores)[::-1], -thresholds, side="right")
    return counts


def _p_values(errors: Indices, images: Indices, max_error: float, further: Indices | None) -> Floats:
    """Return how probable it is at most to see so few ``errors`` of ``images`` (N,) if ``max_error`` is exceeded.

    It is exceeded in the long run or, where these are given, in ``further`` images (N,) that are accepted: these then
    have at least one error more than they may, and all errors together fall to either side by chance, since which of
    the images were labelled is one.
    """
    from scipy.stats import binom, hypergeom

    values: Floats
    if further is None:
        values = binom.cdf(errors, images, max_error)
    else:
        too_many = np.floor(np.round(max_error * further, 9)).astype(np.int64) + 1
        values = hypergeom.cdf(errors, images + further, errors + too_many, images)
    return values
