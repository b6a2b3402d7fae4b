import json
from dataclasses import asdict

import pytest
import torch
from torch import Tensor

from lrnet_cli.models.fused import fuse
from lrnet_cli.models.novelty import Novelty, described, fit_novelty
from lrnet_cli.models.registry import build


def drawn(n: int, classes: int = 5, spread: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return logits around the corners of a simplex, wide along one direction, and their labels."""
    labels = torch.randint(classes, (n,))
    logits = 8 * torch.nn.functional.one_hot(labels, classes) + spread * torch.randn(n, classes)
    return logits + 5 * torch.randn(n, 1), labels


@pytest.fixture(scope="module")
def novelty() -> Novelty:
    torch.manual_seed(0)
    return fit_novelty(*drawn(2000), drawn(1000)[0])


def test_one_known_image_in_a_hundred_is_called_foreign(novelty: Novelty) -> None:
    torch.manual_seed(1)
    assert float((novelty(drawn(20_000)[0]) > 1).float().mean()) == pytest.approx(0.01, abs=0.006)


def test_logits_between_classes_or_far_from_all_are_foreign(novelty: Novelty) -> None:
    torch.manual_seed(2)
    assert (novelty(torch.full((1, 5), 8 / 5)) > 1).all()
    assert (novelty(8 * torch.eye(5)[:1] + 8 * torch.eye(5)[1:2]) > 1).all()
    assert (novelty(-8 * torch.eye(5)) > 1).all()


def test_what_varies_within_classes_counts_less(novelty: Novelty) -> None:
    known = 8 * torch.eye(5)[:1]
    along, across = known + 6, known + torch.tensor([[6.0, -6, 0, 0, 0]])
    assert float(novelty(along)) < 0.7 < 1 < float(novelty(across))


@pytest.mark.parametrize("classes", [2, 100])
def test_few_and_many_classes_are_stored_in_few_numbers(classes: int) -> None:
    torch.manual_seed(0)
    fitted = fit_novelty(*drawn(2000, classes), drawn(1000, classes)[0])
    stored = json.dumps(asdict(fitted))
    assert len(stored) < 12 * classes * min(classes, 112) * 2 + 200
    again = Novelty(**json.loads(stored))
    logits = drawn(50, classes)[0]
    assert torch.allclose(again(logits), fitted(logits))


def test_a_class_without_an_image_and_logits_that_never_vary_are_taken() -> None:
    logits, labels = torch.zeros(6, 4), torch.tensor([0, 0, 1, 1, 3, 3])
    logits[range(6), labels] = 9.0
    fitted = fit_novelty(logits, labels, logits)
    assert len(fitted.centres) == 3
    assert (fitted(logits) <= 1).all()
    assert (fitted(torch.tensor([[0.0, 0, 9, 0]])) > 1).all()


@pytest.mark.parametrize(
    "broken",
    [
        {"threshold": 0.0},
        {"threshold": float("nan")},
        {"centres": ((1.0,),)},
        {"centres": ()},
        {"axes": ((1.0, float("inf")), (0.0, 1.0))},
        {"axes": ((1.0,), (0.0, 1.0))},
    ],
    ids=str,
)
def test_numbers_that_cannot_be_are_refused(broken: dict[str, object]) -> None:
    whole = {"axes": ((1.0, 0.0), (0.0, 1.0)), "centres": ((0.0, 0.0),), "threshold": 1.0}
    assert Novelty(**whole)(torch.tensor([[3.0, 4.0]])) == 5  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"novelty|length|dim"):
        Novelty(**(whole | broken))  # type: ignore[arg-type]


def test_a_description_of_another_size_than_the_logits_counts_as_much() -> None:
    torch.manual_seed(0)
    (logits, labels), small = drawn(2000), 0.001 * torch.randn(2000, 3)
    fitted = fit_novelty(torch.cat([logits, small], 1), labels, torch.cat([logits, small], 1))
    usual = torch.cat([8 * torch.eye(5)[:1], torch.zeros(1, 3)], 1)
    odd = usual + torch.tensor([[0.0] * 5 + [0.02, 0, 0]])
    assert float(fitted(usual)) < 1 < float(fitted(odd))


@pytest.mark.parametrize("fused", [False, True])
def test_an_lrnet_is_described_by_its_third_block(fused: bool) -> None:
    torch.manual_seed(0)
    network = build("lrnet", in_channels=1, image_size=16, num_classes=4).eval()
    images = torch.rand(3, 1, 16, 16)
    outputs = described(fuse(network) if fused else network)(images)
    maps = network.features(images)
    assert torch.allclose(outputs[:, :4], network(images), atol=1e-5)
    assert torch.allclose(outputs[:, 4:28], maps.mean((2, 3)), atol=1e-5)
    assert torch.allclose(outputs[:, 28:], maps.flatten(2).std(2, correction=0), atol=1e-4)


def test_another_network_has_no_description() -> None:
    network = torch.nn.Identity()
    assert described(network) is network
