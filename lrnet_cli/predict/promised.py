"""A promised error rate: from what weights say of their validation images to the labels that are accepted."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np

from lrnet_cli.data.reading import listed
from lrnet_cli.errors import SettingError, UsageError
from lrnet_cli.promise.bound import images_needed
from lrnet_cli.promise.decision import Decision, Ranked, decide
from lrnet_cli.promise.evidence import Evidence, rounded
from lrnet_cli.promise.shift import Difference, Stack, differences
from lrnet_cli.promise.threshold import Aim
from lrnet_cli.weights.card import WeightsCard


class Seen(TypedDict):
    """What is kept of the answer for an image until its stack is complete, as in ``Prediction``.

    ``is_class`` says whether the answer is a class whatever the promise. ``ground`` and ``contrast`` are as in
    ``Evidence``.
    """

    score: float
    predicted: int
    is_class: bool
    probability: float
    novelty: float | None
    ground: float
    contrast: float


@dataclass(frozen=True)
class Outcome:
    """What is promised of a stack of ``images``, of which ``accepted`` have a label, and whether to trust it.

    ``expected_accuracy`` is the mean of the calibrated probabilities of the accepted labels, None without any.
    """

    decision: Decision
    images: int
    accepted: int
    expected_accuracy: float | None
    differences: tuple[Difference, ...]

    def accepts(self, score: float, index: int | None) -> bool:
        """Return whether the answer ``index`` is accepted, None being none of the classes."""
        return index is not None and self.decision.accepts(score, index)


def evidence_in(card: WeightsCard, weights: str) -> Evidence:
    """Return the answers for validation images that ``weights`` hold; raises ``UsageError`` if these are not theirs."""
    if card.is_int8:
        raise UsageError(
            f"{weights}: an export in int8 answers a little differently from the network whose answers for validation "
            "images it holds; use the weights that it was made from."
        )
    if card.evidence is None:
        raise UsageError(
            f"{weights}: holds no answers for validation images, from which error rates and sets of labels are "
            "promised; train again with this version."
        )
    return card.evidence


class Promise:
    """At most ``aim.max_error`` of the accepted labels are wrong, for images like those in the card's evidence.

    Raises ``UsageError`` where the evidence is missing or too little; ``weights`` names the weights in messages.
    """

    def __init__(
        self, weights: str, card: WeightsCard, aim: Aim, max_novelty: float, *, by_class: bool = False
    ) -> None:
        self.aim, self.classes, self.by_class = aim, card.classes, by_class
        self.evidence = evidence_in(card, weights)
        # What cannot tell foreign images bars none of the labelled ones either.
        bound = math.inf if card.novelty is None else max_novelty
        self._labelled = Ranked(
            self.evidence.ranked(bound, yes_or_no=card.head == "sigmoid"), np.array(self.evidence.predicted)
        )
        if not by_class and len(self.evidence) < aim.least:
            raise SettingError(f"{{weights}}: {self._too_few}", weights=weights)
        # On images like these it is expected to accept what it accepts of these: only said, and never used.
        plan = self.decide(self._labelled, long_run=True)
        self.expected_share = float(plan.accepted(self._labelled).mean())
        if not self.expected_share:
            first = max(plan.thresholds.values(), key=lambda threshold: threshold.images)
            raise SettingError(
                f"{{weights}}: {first.errors} of the {first.images} surest answers for {len(self.evidence)} validation "
                f"images are wrong, too many for {{max_error}} {aim.max_error:g}; {self._needs}.",
                weights=weights,
            )

    @property
    def _needs(self) -> str:
        counts = [images_needed(errors, self.aim.max_error, self.aim.confidence) for errors in range(3)]
        return "it needs {} accepted ones without an error, {} with one, or {} with two".format(*counts)

    @property
    def _too_few(self) -> str:
        return (
            f"were validated on {len(self.evidence)} images, too few to promise {{max_error}} "
            f"{self.aim.max_error:g} with {100 * self.aim.confidence:g}% confidence: {self._needs}. Train with more "
            "images or with {folds}, or promise less."
        )

    def decide(self, stack: Ranked, *, long_run: bool = False) -> Decision:
        """Return which labels of ``stack`` are accepted, by a promise of the stack itself or of the ``long_run``."""
        wrong = self.evidence.wrong
        return decide(self._labelled, wrong, stack, self.aim, by_class=self.by_class, long_run=long_run)

    def outcome(self, answers: Iterable[Seen]) -> Outcome:
        """Return what is promised of the images with these answers."""
        seen = list(answers)
        scores = np.array([answer["score"] for answer in seen])
        predicted = np.array([answer["predicted"] for answer in seen], np.int64)
        ranked = np.where([answer["is_class"] for answer in seen], scores, -np.inf)
        decision = self.decide(Ranked(ranked, predicted))
        accepted = decision.accepted(Ranked(ranked, predicted))
        novelty = rounded(np.array([answer["novelty"] for answer in seen if answer["novelty"] is not None]))
        stack = Stack(
            scores,
            predicted,
            novelty,
            np.array([answer["ground"] for answer in seen]),
            np.array([answer["contrast"] for answer in seen]),
        )
        shares = np.array([answer["probability"] for answer in seen])[accepted]
        expected = float(shares.mean()) if len(shares) else None
        differing = tuple(differences(stack, self.evidence))
        return Outcome(decision, len(seen), int(accepted.sum()), expected, differing)

    def announcement(self) -> str:
        """Return what is promised, from how many images, and how much is expected to be accepted."""
        which = "validation images of these weights"
        if self.evidence.origin == "out-of-fold":
            which = "images of a cross-validation, each answered by a network that did not see it"
        each = " of each class" if self.by_class else ""
        return (
            f"Promise: with {100 * self.aim.confidence:g}% confidence, at most {100 * self.aim.max_error:g}% of the "
            f"accepted labels{each} are wrong, for images like the {len(self.evidence)} {which}. Of such images "
            f"about {100 * self.expected_share:.0f}% are accepted."
        )

    def remarks(self, outcome: Outcome) -> Iterator[str]:
        """Yield what came of a stack, and why the promise may not hold."""
        yield f"{outcome.accepted} of {outcome.images} labels are accepted, the others are unknown."
        if outcome.expected_accuracy is not None:
            yield (
                f"By their own probabilities {100 * outcome.expected_accuracy:.2f}% of the accepted labels are right; "
                "that too holds only for images like those of the validation."
            )
        if self.evidence.origin == "out-of-fold":
            yield (
                "The promise is measured on single networks and used for the mean of all, which is usually right more "
                "often and less sure: an approximation, usually on the safe side, but without a proof."
            )
        if any(one.is_kept and not one.is_of_stack for one in outcome.decision.thresholds.values()):
            few = "Some classes have" if self.by_class else "These are"
            yield (
                f"{few} fewer than {self.aim.least_stack} images, in whose error chance counts: the promise is of the "
                "long run of such images, not of these alone."
            )
        if None in outcome.decision.refused and outcome.images:
            yield "No share of these images can be accepted under this promise; check them by hand, or promise less."
        refused = [self.classes[index] for index in outcome.decision.refused if index is not None]
        if refused:
            classes = f"{len(refused)} classes ({listed(refused)})"
            yield f"Nothing is promised, so nothing accepted, for {classes}: {self._needs}."
        if outcome.differences:
            what = " and ".join(dict.fromkeys(difference.what for difference in outcome.differences))
            yield (
                f"Do not trust this promise without an audit (lrnet audit): in {what} these images differ from the "
                f"validation images more than chance explains (p = {outcome.differences[0].p_value:.1g})."
            )

    def document(self, outcome: Outcome) -> dict[str, Any]:
        """Return the JSON document of what is promised of a stack."""
        thresholds = [
            {
                "class": None if index is None else self.classes[index],
                "score": threshold.score if threshold.is_kept else None,
                "labelled_images": threshold.images,
                "labelled_errors": threshold.errors,
                "is_of_stack": threshold.is_of_stack,
            }
            for index, threshold in outcome.decision.thresholds.items()
        ]
        return {
            "max_error": self.aim.max_error,
            "confidence": self.aim.confidence,
            "by_class": self.by_class,
            "origin": self.evidence.origin,
            "labelled_images": len(self.evidence),
            "expected_share": self.expected_share,
            "images": outcome.images,
            "accepted": outcome.accepted,
            "expected_accuracy": outcome.expected_accuracy,
            "thresholds": thresholds,
            "differences": [{"what": one.what, "p_value": one.p_value} for one in outcome.differences],
            "is_doubtful": bool(outcome.differences),
        }
