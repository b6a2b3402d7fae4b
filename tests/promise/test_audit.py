import numpy as np

from lrnet_cli.promise.audit import audited
from lrnet_cli.promise.curve import risk_coverage
from lrnet_cli.promise.evidence import evidence_of, tones
from lrnet_cli.promise.shift import Stack, differences


def test_an_audit_covers_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        wrong = random.random(2000) < random.choice([0.002, 0.01, 0.05])
        found = audited(2000, 300, int(random.choice(wrong, 300, replace=False).sum()), 0.95)
        covered += found.low <= wrong.mean() <= found.high
    assert covered >= 0.95 * 400


def test_a_stack_that_was_checked_as_a_whole_is_known() -> None:
    found = audited(50, 50, 2, 0.95)
    assert (found.low, found.high) == (0.04, 0.04)
    assert found.contradicts(0.039)
    assert not found.contradicts(0.04)
    assert audited(1000, 300, 0, 0.95).low == 0


def _evidence_and_stack(random: np.random.Generator, foreign: float = 0.0, light: float = 0.0) -> bool:
    def draw(count: int, foreign: float, light: float) -> Stack:
        is_foreign = random.random(count) < foreign
        scores = np.where(is_foreign, random.gamma(1.5, 2.0, count), random.gamma(3.0, 2.5, count))
        novelty = np.where(is_foreign, random.gamma(9, 0.15, count), random.gamma(9, 0.06, count))
        tone = random.beta(2, 5, count)
        return Stack(scores, random.integers(0, 10, count), novelty, tone + light, 1 - tone)

    known, stack = draw(2000, 0, 0), draw(2000, foreign, light)
    odds = np.full((2000, 10), -60.0)
    odds[np.arange(2000), known.predicted] = known.scores
    evidence = evidence_of(
        odds, known.predicted, novelty=known.novelty, grounds=known.grounds, contrasts=known.contrasts
    )
    return bool(differences(stack, evidence))


def test_stacks_drawn_alike_seldom_raise_an_alarm() -> None:
    random = np.random.default_rng(0)
    assert sum(_evidence_and_stack(random) for _ in range(200)) <= 0.07 * 200


def test_foreign_images_and_other_light_raise_the_alarm() -> None:
    random = np.random.default_rng(0)
    assert sum(_evidence_and_stack(random, foreign=0.05) for _ in range(40)) >= 38
    assert sum(_evidence_and_stack(random, light=0.05) for _ in range(40)) >= 38


def test_values_that_many_images_share_raise_no_alarm() -> None:
    images = np.zeros((300, 1, 8, 8), np.uint8)
    images[:, :, 2:6, 2:6] = 253  # whose share of 255 has more digits than are stored
    grounds, contrasts = tones(images)
    scores, predicted = np.linspace(1, 9, 300), np.zeros(300, np.int64)
    odds = np.stack([scores, -scores], 1)
    evidence = evidence_of(odds, predicted, novelty=scores / 9, grounds=grounds, contrasts=contrasts)
    assert differences(Stack(scores, predicted, scores / 9, grounds, contrasts), evidence) == []


def test_the_curve_ends_at_the_error_of_all_and_its_area_is_the_mean_risk() -> None:
    scores, wrong = np.arange(100.0)[::-1], np.arange(100) >= 90
    curve = risk_coverage(scores, wrong)
    assert (curve.points[-1].coverage, curve.points[-1].risk) == (1, 0.1)
    assert curve.points[0].risk == 0
    assert all(point.bound > point.risk for point in curve.points)
    expected = np.mean([max(0, k - 90) / k for k in range(1, 101)])
    assert abs(curve.area - expected) < 1e-12
    ties = risk_coverage(np.zeros(100), wrong)
    assert (len(ties.points), ties.area) == (1, 0.1)
