"""Which labels of a stack are accepted: one threshold for all, or one for each class."""

from dataclasses import dataclass

import numpy as np

from lrnet_cli.promise.evidence import Booleans, Floats, Indices
from lrnet_cli.promise.threshold import Aim, Threshold, find_threshold


@dataclass(frozen=True)
class Ranked:
    """Scores (N,) of images and their most likely classes (N,); of the score minus infinity none is accepted."""

    scores: Floats
    predicted: Indices


@dataclass(frozen=True)
class Decision:
    """The threshold of each class that has one, by its index, or that of all classes: None.

    A class without one has no image in the stack.
    """

    thresholds: dict[int | None, Threshold]

    def accepts(self, score: float, predicted: int) -> bool:
        """Return whether a label is accepted."""
        threshold = self.thresholds.get(predicted, self.thresholds.get(None))
        return threshold is not None and score >= threshold.score

    def accepted(self, stack: Ranked) -> Booleans:
        """Return which labels of ``stack`` (N,) are accepted."""
        answers = zip(stack.scores.tolist(), stack.predicted.tolist(), strict=True)
        return np.fromiter((self.accepts(*answer) for answer in answers), np.bool_, len(stack.scores))

    @property
    def refused(self) -> tuple[int | None, ...]:
        """The classes for which nothing can be promised, by too few labelled images or too many errors; None is all."""
        return tuple(index for index, threshold in self.thresholds.items() if not threshold.is_kept)


def decide(
    labelled: Ranked, wrong: Booleans, stack: Ranked, aim: Aim, *, by_class: bool, long_run: bool = False
) -> Decision:
    """Return what is accepted of ``stack``, from ``labelled`` images of which some are ``wrong`` (N,).

    With ``by_class``, each most likely class has a promise of its own, from the labelled images that are taken for it.
    ``long_run`` is as in ``find_threshold``.
    """
    if not by_class:
        return Decision({None: find_threshold(labelled.scores, wrong, stack.scores, aim, long_run=long_run)})
    thresholds: dict[int | None, Threshold] = {}
    for index in np.unique(np.append(stack.predicted, labelled.predicted)).tolist():
        own, further = labelled.predicted == index, stack.predicted == index
        thresholds[index] = find_threshold(
            labelled.scores[own], wrong[own], stack.scores[further], aim, long_run=long_run
        )
    return Decision(thresholds)
