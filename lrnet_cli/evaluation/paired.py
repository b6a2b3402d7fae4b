"""Two networks on the same images: is one better than the other?"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lrnet_cli.errors import DataError
from lrnet_cli.evaluation.evaluate import Evaluation
from lrnet_cli.evaluation.intervals import Z

BEYOND_CHANCE = 1.645
"""Standard errors of a gain, which chance alone exceeds once in twenty times."""


@dataclass(frozen=True)
class Disagreement:
    """An image to which two networks give different labels: its position in the split and its file, if it has one."""

    index: int
    path: str | None
    true: str
    first: str
    second: str


@dataclass(frozen=True)
class PairedComparison:
    """Counts of images by which of two networks is right, and the statistics computed from them.

    ``difference`` is the first's accuracy minus the second's, with its 95% interval (Wald's, for paired shares);
    ``p_value`` is that of McNemar's exact test of equal accuracy.
    """

    both_right: int
    only_first: int
    only_second: int
    both_wrong: int
    difference: float
    difference_ci95: tuple[float, float]
    p_value: float
    disagreements: tuple[Disagreement, ...]


def gain_of(hits: Tensor, before: Tensor) -> tuple[float, float]:
    """Return by how much more is right in ``hits`` than ``before``, bool (N,), as a share, and its standard error.

    Both are of the same images, so that only those count that one of them gets right and the other wrong.
    """
    differences = hits.double() - before.double()
    return float(differences.mean()), float(differences.std(correction=0)) / math.sqrt(len(differences))


def compare_paired(first: Evaluation, second: Evaluation) -> PairedComparison:
    """Return how two evaluations on the same images compare; raises ``DataError`` if the images differ."""
    from scipy.stats import binomtest

    truth, other_truth = ([one.classes[i] for i in one.labels.tolist()] for one in (first, second))
    if truth != other_truth:
        raise DataError(f"{first.dataset}: the two weights were not evaluated on the same images.")
    ours, theirs = ([one.classes[i] for i in one.probabilities.argmax(1).tolist()] for one in (first, second))
    n = len(truth)
    pairs = [(a == true, b == true) for true, a, b in zip(truth, ours, theirs, strict=True)]
    both, only_first, only_second = (pairs.count(kind) for kind in ((True, True), (True, False), (False, True)))
    apart = only_first + only_second
    difference, error = gain_of(*torch.tensor(pairs, dtype=torch.bool).unbind(1))
    reach = Z * error
    return PairedComparison(
        both_right=both,
        only_first=only_first,
        only_second=only_second,
        both_wrong=n - both - apart,
        difference=difference,
        difference_ci95=(difference - reach, difference + reach),
        p_value=float(binomtest(only_first, apart).pvalue) if apart else 1.0,
        disagreements=tuple(
            Disagreement(index, first.paths[index] if first.paths is not None else None, true, a, b)
            for index, (true, a, b) in enumerate(zip(truth, ours, theirs, strict=True))
            if a != b
        ),
    )
