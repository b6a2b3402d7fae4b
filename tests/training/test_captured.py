"""Steps as CUDA graphs; where there is no GPU, only what they are made of."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lrnet_cli.models.engine import Engine
from lrnet_cli.predict.classifier import Classifier
from lrnet_cli.processes import ALONE
from lrnet_cli.reporter import Reporter
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.settings.place import Place
from lrnet_cli.training import step as module
from lrnet_cli.training.captured import recorded
from lrnet_cli.training.prepare import prepare
from lrnet_cli.training.step import Step
from lrnet_cli.training.train import resume, train

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA GPU")

RECIPES: list[dict[str, Any]] = [
    {},
    {"robust": 1.0, "normalize": "ground"},
    {"cutout": 0.4, "dropout": 0.3, "flip": "on", "head": "sigmoid"},
    {"optimizer": "adamw", "ema": 0.0, "precision": "bf16"},
]


def after_steps(steps: int, **settings: Any) -> tuple[float, float, bool]:
    """Return the mean loss of some steps, how far they move the weights, and whether they became a graph."""
    usual = {"limit": 300, "image_size": 16, "seed": 5, "batch_size": 32, "precision": "fp32"}
    config = TrainConfig(**usual | settings)
    step = Step(prepare(config, None, Engine.at(Place(device="cuda", precision=config.precision)), ALONE, Reporter()))
    step.run.state.compiled = False
    step.network.train()
    before = _all_of(step.run.state.evaluated)
    for number, batch in zip(range(steps), 2 * list(step.batches_left()), strict=False):
        step.run.state.epoch = 1 + number // 4
        step(batch, number / steps, 6.0 - number)  # the last ones are still
    moved = (_all_of(step.run.state.evaluated) - before).norm()
    return step.means()[0], float(moved), step._captured is not None


def _all_of(network: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


@needs_cuda
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_captured_step_is_the_same_step(recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    loss, moved, was_captured = after_steps(8, **recipe)
    assert not was_captured
    monkeypatch.setattr(module, "_STEPS_BEFORE_CAPTURE", 2)
    again = after_steps(8, **recipe)
    # A GPU adds up in any order, and Muon makes much of little: the weights themselves differ between equal runs.
    assert again == (pytest.approx(loss, rel=0.05), pytest.approx(moved, rel=0.1), True)


@needs_cuda
def test_work_that_waits_for_the_gpu_is_not_recorded_and_harms_nothing() -> None:
    device = torch.device("cuda", 0)
    torch.manual_seed(3)
    expected = torch.rand(8, device=device)
    torch.manual_seed(3)
    with pytest.raises(RuntimeError):
        recorded(lambda: torch.rand(1, device=device).item(), device)
    assert torch.equal(torch.rand(8, device=device), expected)


@needs_cuda
def test_a_run_on_a_gpu_resumes_and_its_weights_predict_the_same_on_a_cpu(
    tmp_path: Path, stop_after: Callable[..., Any]
) -> None:
    config = TrainConfig(epochs=8, limit=200, seed=1, device="cuda", batch_size=16, image_size=16, out=tmp_path / "run")
    assert train(config, *stop_after(51))["status"] == "interrupted"
    assert resume(tmp_path / "run")["status"] == "finished"
    images = list(torch.randint(256, (40, 28, 28), dtype=torch.uint8).numpy())
    here, there = (
        Classifier.load(tmp_path / "run", device=device, precision="fp32").predict(images) for device in ("cpu", "cuda")
    )
    for one, other in zip(here, there, strict=True):
        assert one.probability == pytest.approx(other.probability, abs=0.02)
