from dataclasses import replace

import pytest
import torch

from lrnet_cli.data.images import Preprocessing
from lrnet_cli.data.splits import Split
from lrnet_cli.errors import DataError
from lrnet_cli.evaluation.evaluate import Evaluation, evaluate
from lrnet_cli.evaluation.paired import compare_paired
from lrnet_cli.weights.card import WeightsCard

LABELS = torch.tensor([0] * 40)


def evaluated(right: list[bool], classes: tuple[str, ...] = ("a", "b")) -> Evaluation:
    """Evaluate a network that answers a where ``right`` says so, and b elsewhere."""
    a = classes.index("a")
    answers = torch.tensor([a if hit else 1 - a for hit in right])
    images = Split(answers[:, None, None, None].to(torch.uint8), torch.full_like(LABELS, a))

    class Echo(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.one_hot((images * 255).round().long()[:, 0, 0, 0], 2).float()

    arch_args = {"in_channels": 1, "image_size": 8, "num_classes": len(classes)}
    card = WeightsCard("lrnet", arch_args, classes, "softmax", Preprocessing(8, 1, "mixed"), 0)
    return evaluate(Echo().eval(), images, card, dataset="made")


def test_mcnemar_counts_and_probability_of_a_case_worked_out_by_hand() -> None:
    first = evaluated([True] * 30 + [True] * 8 + [False] * 2)
    second = evaluated([True] * 30 + [False] * 8 + [True, False])
    found = compare_paired(first, second)
    assert (found.both_right, found.only_first, found.only_second, found.both_wrong) == (30, 8, 1, 1)
    assert found.p_value == pytest.approx(2 * (1 + 9) / 2**9)  # a fair coin: 9 throws, at most one the other way
    assert found.difference == pytest.approx(7 / 40)
    low, high = found.difference_ci95
    assert (low + high) / 2 == pytest.approx(7 / 40)
    assert (high - low) / 2 == pytest.approx(1.96 * (9 - 49 / 40) ** 0.5 / 40, rel=1e-4)
    assert [d.index for d in found.disagreements] == list(range(30, 39))
    assert (found.disagreements[0].first, found.disagreements[0].second) == ("a", "b")


def test_networks_that_agree_do_not_differ() -> None:
    one = evaluated([True, False] * 20)
    found = compare_paired(one, one)
    assert (found.p_value, found.difference, found.disagreements) == (1.0, 0.0, ())


def test_classes_in_another_order_are_matched_by_name() -> None:
    right = [True, False] * 20
    assert compare_paired(evaluated(right), evaluated(right, ("b", "a"))).difference == 0.0


def test_other_images_are_refused() -> None:
    one = evaluated([True] * 40)
    with pytest.raises(DataError, match="not evaluated on the same images"):
        compare_paired(one, replace(one, labels=1 - one.labels))
