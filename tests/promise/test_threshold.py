import math

import numpy as np
import pytest

from lrnet_cli.errors import UsageError
from lrnet_cli.promise.bound import images_needed, upper_bound
from lrnet_cli.promise.decision import Ranked, decide
from lrnet_cli.promise.evidence import Booleans, Evidence, Floats, evidence_of, log_odds, tones
from lrnet_cli.promise.label_sets import images_for_sets, label_set, least_odds
from lrnet_cli.promise.threshold import Aim, find_threshold, sequence

DRAWS = 1000


def drawn(random: np.random.Generator, count: int) -> tuple[Floats, Booleans]:
    """Draw log-odds that are calibrated, and which answers are wrong."""
    scores = random.gamma(2.0, 2.5, count)
    return scores, random.random(count) < 1 / (1 + np.exp(scores))


@pytest.mark.parametrize(("max_error", "needed"), [(0.01, [299, 473, 628]), (0.02, [149, 236, 313])])
def test_the_numbers_of_images_that_would_do(max_error: float, needed: list[int]) -> None:
    assert [images_needed(errors, max_error, 0.95) for errors in range(3)] == needed
    for errors, images in enumerate(needed):
        enough, short = upper_bound(np.array([errors] * 2), np.array([images, images - 1]), 0.95)
        assert enough <= max_error < short


def test_a_bound_on_nothing_or_on_errors_alone_excludes_nothing() -> None:
    assert upper_bound(np.array([0, 3]), np.array([0, 3]), 0.95).tolist() == [1, 1]


@pytest.mark.parametrize("max_error", [0.01, 0.02, 0.05])
def test_the_promise_is_broken_in_at_most_one_of_twenty_draws(max_error: float) -> None:
    random = np.random.default_rng(0)
    scores, wrong = drawn(random, 400_000)
    stack, _ = drawn(random, 3000)
    order = np.argsort(-scores)
    risks = np.cumsum(wrong[order]) / np.arange(1, len(scores) + 1)
    broken = accepted = 0.0
    for _ in range(DRAWS):
        threshold = find_threshold(*drawn(random, 3000), stack, Aim(max_error), long_run=True)
        count = int((scores >= threshold.score).sum())
        broken += count > 0 and risks[count - 1] > max_error
        accepted += count / len(scores) / DRAWS
    # The sequence is so fine that the bound is nearly reached: two standard deviations for the draws made here.
    assert broken <= 0.05 * DRAWS + 2 * math.sqrt(0.05 * 0.95 * DRAWS)
    # And it is not kept by accepting nothing.
    assert accepted > 0.4 * np.flatnonzero(risks <= max_error)[-1] / len(scores)


@pytest.mark.parametrize(("max_error", "labelled"), [(0.01, 3000), (0.05, 3000), (0.05, 1000)])
def test_the_promise_of_a_stack_is_broken_in_at_most_one_of_twenty_stacks(max_error: float, labelled: int) -> None:
    random, broken, accepted = np.random.default_rng(0), 0, 0.0
    for _ in range(DRAWS // 2):
        stack, errors = drawn(random, 2000)
        threshold = find_threshold(*drawn(random, labelled), stack, Aim(max_error))
        taken = stack >= threshold.score
        broken += bool(errors[taken].sum() > max_error * taken.sum())
        accepted += float(taken.mean()) / (DRAWS // 2)
        assert threshold.is_of_stack
    assert broken <= 0.05 * DRAWS / 2
    assert accepted > 0.1


def test_a_small_stack_has_the_promise_of_the_long_run() -> None:
    scores, wrong = np.linspace(10, 5, 3000), np.zeros(3000, np.bool_)
    assert find_threshold(scores, wrong, scores[::3], Aim(0.01)).is_of_stack
    assert not find_threshold(scores, wrong, scores[1::3][1:], Aim(0.01)).is_of_stack
    assert not find_threshold(scores, wrong, scores, Aim(0.01), long_run=True).is_of_stack
    # Nothing is known of images that are barred.
    assert not find_threshold(scores, wrong, np.append(scores[1::3][1:], -np.inf), Aim(0.01)).is_of_stack
    assert [Aim(error).least_stack for error in (0.01, 0.07, 0.005)] == [1000, 143, 2000]


def test_a_few_errors_among_the_surest_answers_do_not_end_the_sequence() -> None:
    scores, wrong = np.linspace(10, 0, 4000), np.zeros(4000, np.bool_)
    wrong[[20, 200, 300]] = True  # too many for the first threshold, few for half of the images
    wrong[3600::4] = True
    threshold = find_threshold(scores, wrong, scores, Aim(0.01))
    assert 3000 < threshold.images < 3700
    assert threshold.errors < 0.01 * threshold.images


def test_the_sequence_comes_from_the_stack_and_goes_from_strict_to_loose() -> None:
    stack = np.append(np.arange(1000.0), [-np.inf] * 10)
    thresholds = sequence(stack, 0.5)
    assert (np.diff(thresholds) < 0).all()
    assert (stack >= thresholds[0]).sum() == 505
    assert thresholds[-1] == 0  # what is barred is never accepted
    assert sequence(np.array([]), 0.5).size == sequence(np.array([-np.inf]), 0.5).size == 0


def test_a_stack_of_one_image_is_accepted_or_not() -> None:
    scores, wrong = np.linspace(10, 5, 1000), np.zeros(1000, np.bool_)
    assert find_threshold(scores, wrong, np.array([6.0]), Aim(0.01)).score == 6.0
    wrong[:] = True
    assert not find_threshold(scores, wrong, np.array([6.0]), Aim(0.01)).is_kept


def test_each_class_has_a_promise_of_its_own() -> None:
    scores, predicted = np.linspace(9, 3, 2000), np.arange(2000) % 2
    wrong = (predicted == 1) & (np.arange(2000) % 10 == 1)  # a fifth of class 1
    labelled = Ranked(scores, predicted)
    decision = decide(labelled, wrong, labelled, Aim(0.02), by_class=True)
    assert decision.refused == (1,)
    assert decision.accepted(labelled).tolist() == (predicted == 0).tolist()
    assert not decide(labelled, wrong, labelled, Aim(0.02), by_class=False).accepted(labelled).any()


@pytest.mark.parametrize(("max_error", "confidence"), [(0, 0.95), (0.5, 0.95), (0.01, 1), (0.01, 0.4), (math.nan, 0.9)])
def test_what_is_no_promise_is_refused(max_error: float, confidence: float) -> None:
    with pytest.raises(UsageError, match="A promise is of an error above 0 and below"):
        Aim(max_error, confidence)


def test_log_odds_are_exact_near_certainty() -> None:
    logits = np.array([[40.0, 0.0, 0.0], [1.0, 1.0, 1.0], [2000.0, 0.0, -5.0]])
    odds = log_odds(logits, yes_or_no=False)
    assert odds[0, 0] == pytest.approx(40 - math.log(2))
    assert odds[1].tolist() == pytest.approx([-math.log(2)] * 3)
    assert odds[2, 0] == 60
    assert np.isfinite(odds).all()
    assert log_odds(logits, yes_or_no=True)[1].tolist() == [1, 1, 1]


def test_evidence_holds_what_was_answered_and_what_was_right() -> None:
    images = np.zeros((2, 1, 8, 8), np.uint8)
    images[1, :, 2:6, 2:6] = 255
    grounds, contrasts = tones(images)
    assert (grounds.tolist(), contrasts.tolist()) == ([0, 0], [0, 1])
    odds = np.array([[3.0, -3.0], [-1.0, 1.0]])
    evidence = evidence_of(odds, np.array([0, 0]), novelty=np.array([0.5, 1.5]), grounds=grounds, contrasts=contrasts)
    assert (evidence.scores, evidence.truths, evidence.wrong.tolist()) == ((3, 1), (3, -1), [False, True])
    assert evidence.ranked(1.0, yes_or_no=False).tolist() == [3, -math.inf]
    assert evidence.ranked(math.inf, yes_or_no=False).tolist() == [3, 1]


@pytest.mark.parametrize(
    "values",
    [
        {"truths": (1.0,)},
        {"scores": (math.nan, 1.0)},
        {"novelty": (1.0,)},
        {"scores": (), "truths": (), "predicted": (), "labels": ()},
    ],
)
def test_damaged_evidence_is_refused(values: dict[str, tuple[float, ...]]) -> None:
    whole = {"scores": (1.0, 2.0), "truths": (1.0, 2.0), "predicted": (0, 1), "labels": (0, 1)}
    Evidence(**whole)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="validation images"):
        Evidence(**whole | values)  # type: ignore[arg-type]


def test_sets_of_labels_hold_the_right_one_as_often_as_promised() -> None:
    random = np.random.default_rng(1)
    covered = sizes = 0.0
    for _ in range(200):
        logits = random.normal(0, 2, (400, 10))
        odds = log_odds(logits, yes_or_no=False)
        labels = (logits + random.gumbel(size=logits.shape)).argmax(1)
        least = least_odds(odds[np.arange(200), labels[:200]], 0.9)
        sets = [label_set(row, least) for row in odds[200:]]
        covered += np.mean([label in found for label, found in zip(labels[200:], sets, strict=True)]) / 200
        sizes += np.mean([len(found) for found in sets]) / 200
    assert 0.895 < covered < 0.92
    assert 1 < sizes < 6


def test_a_set_is_never_empty_and_needs_images_enough() -> None:
    assert label_set(np.array([1.0, 3.0, 2.0]), 10.0) == [1]
    assert label_set(np.array([1.0, 3.0, 2.0]), 1.5) == [1, 2]
    assert images_for_sets(0.99) == 99
    assert least_odds(np.zeros(98), 0.99) == -math.inf
    assert least_odds(np.arange(99.0), 0.99) == 0
