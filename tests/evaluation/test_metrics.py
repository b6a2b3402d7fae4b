import math

import pytest
import torch

from lrnet_cli.evaluation.metrics import compute_metrics, head_loss, wilson_interval

# Four pictures, three classes: the first three are right with 0.8, the last is wrong with 0.6.
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
