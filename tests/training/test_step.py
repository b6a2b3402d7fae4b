"""Single steps, where a whole training would say no more."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from lrnet_cli.models.engine import Engine
from lrnet_cli.models.logits import as_input, predict_logits
from lrnet_cli.processes import ALONE
from lrnet_cli.reporter import Reporter
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.settings.place import Place
from lrnet_cli.training import step as module
from lrnet_cli.training.prepare import prepare
from lrnet_cli.training.step import Step


def a_step(**settings: Any) -> Step:
    config = TrainConfig(**{"limit": 60, "seed": 5, "batch_size": 16, "epochs": 12} | settings)
    engine = Engine.at(Place(device="cpu", precision="fp32" if config.precision == "auto" else config.precision))
    return Step(prepare(config, None, engine, ALONE, Reporter()))


def weights_after_an_epoch(**settings: Any) -> Tensor:
    """Return all parameters that a run would keep, as one vector."""
    step = a_step(**settings)
    step.network.train()
    for batch in step.batches_left():
        step(batch, 0.3, 9.0)
    return torch.cat([parameter.detach().flatten() for parameter in step.run.state.evaluated.parameters()])


CHANGES: list[dict[str, Any]] = [
    {"label_smoothing": 0.3},
    {"optimizer": "adam"},
    {"optimizer": "adamw"},
    {"weight_decay": 0.5},
    {"dropout": 0.5},
    {"ema": 0.0},
    {"lr": 0.02},
    {"head": "sigmoid"},
    {"flip": "on"},
    {"shift": 0.3},
    {"scale": 0.3},
    {"shear": 0.3},
    {"cutout": 0.5},
    {"deform": 0.1},
    {"robust": 1.0},
    {"augment": False},
    {"precision": "bf16"},
]


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Tensor:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("usual"))
        return weights_after_an_epoch(ema=0.9)


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_a_setting_of_the_recipe_changes_the_weights(usual: Tensor, change: dict[str, Any]) -> None:
    changed = weights_after_an_epoch(**{"ema": 0.9} | change)  # so long a memory shows after three steps
    assert changed.isfinite().all()
    assert not torch.equal(changed, usual)


def test_the_same_settings_give_the_same_weights(usual: Tensor) -> None:
    assert torch.equal(weights_after_an_epoch(ema=0.9), usual)


@pytest.fixture
def mirrored(monkeypatch: pytest.MonkeyPatch) -> Callable[[Step, int], Tensor]:
    """Give a function that returns which of the training images a step mirrors in an epoch."""
    seen: list[Tensor] = []
    augment = module.augment

    def spy(images: Tensor, ranges: Any, chosen: Tensor, *others: Any, **named: Any) -> Tensor:
        seen.append(chosen)
        return augment(images, ranges, chosen, *others, **named)

    monkeypatch.setattr(module, "augment", spy)

    def of(step: Step, epoch: int) -> Tensor:
        step.run.state.epoch = epoch
        step.inputs(torch.arange(len(step.run.train_split)), step.given(0.0, 9.0))
        return seen[-1]

    return of


@pytest.mark.parametrize(("distill", "begins"), [((), 0.5), (("digits",), 0.0)])
def test_what_robust_adds_grows_over_the_first_half_of_its_stage(distill: tuple[str, ...], begins: float) -> None:
    step = a_step(robust=1.0, shift=0.0, scale=0.0, shear=0.0, flip="off")
    step.run = replace(step.run, config=replace(step.run.config, distill=distill))
    batch = torch.arange(16)
    shown = []
    for progress in (begins, begins + 0.1 * (1 - begins), begins + 0.5 * (1 - begins), 1.0):
        torch.manual_seed(0)
        shown.append(step.inputs(batch, step.given(progress, 9.0)))
    torch.testing.assert_close(shown[0], as_input(step.run.train_split.images[batch]), rtol=0, atol=1e-6)
    changes = [float((inputs - shown[0]).abs().mean()) for inputs in shown]
    assert 0 < changes[1] < changes[2]
    assert torch.equal(shown[2], shown[3])


def test_a_second_stage_goes_on_from_the_network_to_keep_and_its_answers() -> None:
    step = a_step(robust=1.0)
    state = step.run.state
    step.network.train()
    for batch in step.batches_left():
        assert not step.begins_second_stage(0.49)
        step(batch, 0.49, 9.0)
    assert step.begins_second_stage(0.5)
    kept = [parameter.clone() for parameter in state.evaluated.parameters()]
    assert not all(map(torch.equal, kept, state.model.parameters()))
    step.begin_second_stage()
    assert not step.begins_second_stage(0.5)
    assert all(map(torch.equal, kept, state.model.parameters()))
    network = step.run.engine.place(state.evaluated, step.run.normalize).eval()
    assert state.taught is not None
    assert torch.equal(state.taught, predict_logits(network, step.run.train_split.images))
    batch = torch.arange(16)
    torch.manual_seed(0)
    taught, _ = step.loss(batch, step.given(1.0, 9.0))
    state.taught = state.taught.flip(1)
    torch.manual_seed(0)
    assert not torch.equal(step.loss(batch, step.given(1.0, 9.0))[0], taught)


def test_one_stage_is_enough_without_alterations_or_with_teachers_of_its_own() -> None:
    assert not a_step().begins_second_stage(0.9)
    assert not TrainConfig(robust=0.5, distill=("digits",)).two_stages
    assert not TrainConfig(robust=0.5, augment=False).two_stages


@pytest.mark.parametrize("still_epochs", [2.0, 0.5, 0.0])
def test_images_are_neither_moved_nor_mirrored_in_the_still_epochs(still_epochs: float) -> None:
    step = a_step(flip="on", still_epochs=still_epochs)
    batch = torch.arange(16)
    as_they_are = as_input(step.run.train_split.images[batch])
    assert not torch.allclose(step.inputs(batch, step.given(0.5, still_epochs + 0.1)), as_they_are, atol=1e-5)
    assert torch.allclose(step.inputs(batch, step.given(0.5, still_epochs)), as_they_are, atol=1e-5)


def test_flips_alternate_from_epoch_to_epoch(mirrored: Callable[[Step, int], Tensor]) -> None:
    step = a_step(flip="on")
    first, second, third = (mirrored(step, epoch) for epoch in (1, 2, 3))
    assert 0 < first.sum() < len(first)  # about half, drawn once
    assert torch.equal(second, ~first)
    assert torch.equal(third, first)


def test_images_whose_mirror_image_means_something_else_are_not_mirrored(
    mirrored: Callable[[Step, int], Tensor],
) -> None:
    assert mirrored(a_step(), 1).sum() == 0  # digits


def test_an_epoch_sees_each_image_once_but_for_the_last_part_of_a_batch() -> None:
    step = a_step()
    seen = torch.cat(list(step.batches_left()))
    assert len(seen) == step.run.steps_per_epoch * 16 == len(seen.unique())
    step.run.state.step = 1
    assert torch.equal(torch.cat(list(step.batches_left())), seen[16:])
    step.run.state.epoch, step.run.state.step = 2, 0
    assert not torch.equal(torch.cat(list(step.batches_left())), seen)


def test_an_epoch_of_few_images_is_several_passes() -> None:
    step = a_step(epochs=None)
    passes, images = step.run.config.passes, len(step.run.train_split)
    assert passes is not None
    assert step.run.steps_per_epoch >= 40
    seen = torch.cat(list(step.batches_left()))
    assert len(seen) == passes * images // 16 * 16
    assert len(seen[:images].unique()) == images  # one pass after the other
    assert not torch.equal(seen[:images], seen[images : 2 * images])
