"""What the folds of a cross-validation say together."""

from dataclasses import replace

import pytest
import torch

from lrnet_cli.models.heads import TEMPERATURES, fit_temperature, losses_by_temperature
from lrnet_cli.promise.evidence import Evidence
from lrnet_cli.promise.stored import out_of_fold


def a_fold(logits: torch.Tensor, labels: torch.Tensor) -> Evidence:
    losses = losses_by_temperature(logits, labels, "softmax")
    return Evidence((1.0,), (1.0,), (0,), (0,), temperatures=TEMPERATURES, losses=losses)


def test_folds_are_calibrated_by_the_answers_of_all() -> None:
    draws = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(600, 5, generator=draws)
    labels = (logits / 2.5).softmax(1).multinomial(1, generator=draws)[:, 0]
    parts = [a_fold(logits[start : start + 200], labels[start : start + 200]) for start in (0, 200, 400)]
    whole = out_of_fold(parts)
    assert whole.temperature == pytest.approx(fit_temperature(logits, labels, "softmax"), rel=0.04)
    assert whole.temperature > 2
    assert len({part.temperature for part in parts}) > 1


def test_folds_without_losses_are_not_calibrated_together() -> None:
    part = a_fold(torch.zeros(2, 2), torch.tensor([0, 1]))
    assert out_of_fold([part, replace(part, temperatures=(), losses=())]).temperature == 1.0


@pytest.mark.parametrize("temperatures", [(1.0,), (0.0, 1.0)])
def test_losses_of_other_temperatures_are_refused(temperatures: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="temperatures above 0"):
        Evidence((1.0,), (1.0,), (0,), (0,), temperatures=temperatures, losses=(1.0, 2.0))
