"""Whether images differ from those that a promise was made from, so that it should not be trusted.

Two-sample tests of what the network says and of how the images look, with Bonferroni's correction: all together they
give a false alarm in at most three of a hundred stacks that are drawn like the validation images (compare Rabanser et
al. 2019, arXiv:1810.11953).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lrnet_cli.promise.evidence import Evidence, Floats, Indices

FALSE_ALARMS = 0.03
_TAIL = 0.95  # of the validation images are at most as novel, or as unsure, as what counts as a tail
_LEAST = 20  # images, of which a class with fewer counts with the rest


@dataclass(frozen=True)
class Stack:
    """What is known of the images to be labelled (N,), as in ``Evidence``; measures that are missing are empty."""

    scores: Floats
    predicted: Indices
    novelty: Floats
    grounds: Floats
    contrasts: Floats


@dataclass(frozen=True)
class Difference:
    """In ``what`` the images differ, and the probability of so large a difference if they were drawn alike."""

    what: str
    p_value: float


def differences(stack: Stack, evidence: Evidence) -> list[Difference]:
    """Return in what the images of ``stack`` differ from the labelled ones, the clearest first; empty if in nothing."""
    tests = list(_tests(stack, evidence)) if len(stack.scores) else []
    significant = [test for test in tests if test.p_value < FALSE_ALARMS / len(tests)]
    return sorted(significant, key=lambda test: test.p_value)


def _tests(stack: Stack, evidence: Evidence) -> Iterator[Difference]:
    from scipy.stats import ks_2samp

    yield Difference("classes", _classes_differ(stack.predicted, np.array(evidence.predicted)))
    known = np.array(evidence.scores)
    yield Difference("confidence", float(ks_2samp(stack.scores, known, method="asymp").pvalue))
    yield Difference("confidence", _tail_is_heavier(-stack.scores, -known))
    for what, values, labelled in (
        ("novelty", stack.novelty, evidence.novelty),
        ("background", stack.grounds, evidence.grounds),
        ("contrast", stack.contrasts, evidence.contrasts),
    ):
        if len(values) and len(labelled):
            yield Difference(what, float(ks_2samp(values, np.array(labelled), method="asymp").pvalue))
            if what == "novelty":
                yield Difference(what, _tail_is_heavier(values, np.array(labelled)))


def _tail_is_heavier(values: Floats, known: Floats) -> float:
    """Return the p-value of Fisher's exact test that more of ``values`` are beyond what is rare among ``known``."""
    from scipy.stats import fisher_exact

    bound = np.quantile(known, _TAIL, method="higher")
    beyond, usual = int((values > bound).sum()), int((known > bound).sum())
    table = [[beyond, len(values) - beyond], [usual, len(known) - usual]]
    return float(fisher_exact(table, alternative="greater").pvalue)


def _classes_differ(predicted: Indices, known: Indices) -> float:
    """Return the p-value of the chi-squared test that two lists of classes have the same shares."""
    from scipy.stats import chi2_contingency

    size = int(max(predicted.max(), known.max())) + 1
    table = np.stack([np.bincount(predicted, minlength=size), np.bincount(known, minlength=size)])
    rare = table.sum(0) < _LEAST
    table = np.column_stack([table[:, ~rare], table[:, rare].sum(1)])
    table = table[:, table.sum(0) > 0]
    return 1.0 if table.shape[1] < 2 else float(chi2_contingency(table).pvalue)
