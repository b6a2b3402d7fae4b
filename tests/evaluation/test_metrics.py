import math

import pytest
import torch
from scipy.stats import binomtest

from lrnet_cli.evaluation.intervals import wilson_interval
from lrnet_cli.evaluation.metrics import compute_metrics
from lrnet_cli.models.heads import fit_temperature, head_loss, probabilities
from lrnet_cli.settings.words import Head

# Four images, three classes: the first three are right with 0.8, the last is wrong with 0.6.
PROBABILITIES = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.8, 0.1, 0.1], [0.2, 0.6, 0.2]], dtype=torch.float64)
LABELS = torch.tensor([0, 1, 0, 2])


def test_metrics_of_a_case_worked_out_by_hand() -> None:
    metrics = compute_metrics(PROBABILITIES.log(), LABELS, ("a", "b", "c"), "softmax")
    assert (metrics.n, metrics.accuracy) == (4, 0.75)
    assert metrics.confusion_matrix == ((2, 0, 0), (0, 1, 0), (0, 1, 0))
    assert [(row.precision, row.recall, row.support) for row in metrics.per_class] == [
        (1, 1, 2),
        (0.5, 1, 1),
        (0, 0, 1),
    ]
    assert metrics.per_class[1].f1 == pytest.approx(2 / 3)
    assert metrics.loss == pytest.approx(-(3 * math.log(0.8) + math.log(0.2)) / 4)
    assert metrics.top_k_accuracy == {2: 1.0}
    assert [(b.count, b.accuracy) for b in metrics.reliability] == [(1, 0.0), (3, 1.0)]
    assert [b.confidence for b in metrics.reliability] == [pytest.approx(0.6), pytest.approx(0.8)]
    assert all(b.low - 1e-9 <= b.confidence <= b.high + 1e-9 for b in metrics.reliability)
    # 0.8 is claimed and 1 observed for three of four, 0.6 claimed and 0 observed for one.
    assert metrics.ece == pytest.approx(0.75 * 0.2 + 0.25 * 0.6)


def test_sigmoid_loss_sums_one_binary_cross_entropy_a_class() -> None:
    logits = torch.tensor([[2.0, -1.0]], dtype=torch.float64)
    expected = math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1))
    assert float(head_loss(logits, torch.tensor([0]), "sigmoid")) == pytest.approx(expected)


def test_wilson_interval_of_the_textbook() -> None:
    # Newcombe 1998, table I, method 3: 81 of 263 gives 0.2553 to 0.3662.
    assert wilson_interval(81, 263) == (pytest.approx(0.2553, abs=5e-5), pytest.approx(0.3662, abs=5e-5))
    assert wilson_interval(10, 10)[1] == 1.0
    for successes, n in ((0, 1), (1, 1), (0, 26), (26, 26), (9981, 10000)):
        expected = binomtest(successes, n).proportion_ci(0.95, method="wilson")
        assert wilson_interval(successes, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_that_spoiled_logits_is_found(head: Head, temperature: float) -> None:
    generator = torch.Generator().manual_seed(0)
    honest = torch.randn(20000, 2, generator=generator, dtype=torch.float64) * 2
    if head == "softmax":
        labels = honest.softmax(1).multinomial(1, generator=generator)[:, 0]
    else:  # one class or the other, each with the sigmoid of its own logit
        honest[:, 1] = -honest[:, 0]
        labels = (torch.rand(20000, generator=generator) > honest[:, 0].sigmoid()).long()
    assert fit_temperature(honest * temperature, labels, head) == pytest.approx(temperature, rel=0.05)


def test_sure_softmaxes_stay_within_the_last_bin() -> None:
    metrics = compute_metrics(torch.tensor([[200.0, -200.0], [0.0, 90.0]]), torch.tensor([0, 1]), ("a", "b"), "softmax")
    assert [(b.count, b.high) for b in metrics.reliability] == [(2, 1.0)]
    assert metrics.ece == 0.0
    assert metrics.top_k_accuracy == {}


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
@pytest.mark.parametrize("count", [20, 500])
def test_images_without_a_mistake_make_no_network_surer_than_their_number_allows(head: Head, count: int) -> None:
    labels = torch.arange(count) % 4
    logits = 12 * torch.nn.functional.one_hot(labels, 4).float() - 6
    temperature = fit_temperature(logits, labels, head)
    highest = probabilities(logits / temperature, head).max(1).values
    assert highest.mean() < (count + 1.5) / (count + 2)
    assert highest.mean() > 0.8
