"""Tuning: the settings as they are stay unless another candidate is better by more than chance."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lrnet_cli.errors import SettingError
from lrnet_cli.models.engine import Engine
from lrnet_cli.processes import ALONE
from lrnet_cli.reporter import Reporter
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.settings.record import command_of
from lrnet_cli.training import tune
from lrnet_cli.training.data import Data, load_data
from lrnet_cli.training.series import train_series
from lrnet_cli.training.settle import settled
from lrnet_cli.training.train import resume, train

CPU = Engine(torch.device("cpu"))
USUAL: dict[str, Any] = {
    "shift": 0.05,
    "scale": 0.08,
    "shear": 0.12,
    "deform": 0.0,
    "weight_decay": 0.05,
    "label_smoothing": 0.05,
}
Trials = list[tuple[TrainConfig, float]]


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Trials]:
    """Give a function that sets how many of the validation images a candidate gets right; it returns the trials."""

    def stage(right: Callable[[TrainConfig], int]) -> Trials:
        ran = Trials()

        def run(config: TrainConfig, data: Data, _engine: object, seconds: float) -> SimpleNamespace:
            ran.append((config, seconds))
            return SimpleNamespace(hits=torch.arange(len(data.val)) < right(config))

        monkeypatch.setattr(tune, "tried_for", run)
        return ran

    return stage


@pytest.fixture(scope="module")
def data() -> Data:
    return load_data(TrainConfig(), 0, Reporter())


def settings(data: Data, longest: float = math.inf, **changes: Any) -> TrainConfig:
    config = settled(TrainConfig(seed=0, arch="cnn", epochs=1, **changes), data, CPU, ALONE, Reporter())
    return tune.tuned(config, data, CPU, longest, Reporter().message)


def test_what_is_better_by_more_than_chance_is_used_and_recorded(data: Data, trials: Callable[..., Trials]) -> None:
    ran = trials(lambda config: 120 if config.lr == 0.02 else 100)
    config = settings(data, tune=60.0)
    assert (config.lr, config.weight_decay, config.tune) == (0.02, 0.05, None)
    assert config.trials == len(ran) == 14
    (choice,) = config.choices
    assert choice.startswith("Tuned: --lr 0.02 gains ")
    assert f"on {len(data.val)} validation images; 14 trials in " in choice
    assert "--lr 0.02" in command_of(config)
    assert "--tune" not in command_of(config)


@pytest.mark.parametrize("best", [100, 101, 102])
def test_ties_and_a_lucky_image_leave_the_settings_as_they_are(
    data: Data, trials: Callable[..., Trials], best: int
) -> None:
    ran = trials(lambda config: best if config.lr == 0.02 else 100)
    config = settings(data, tune=60.0)
    assert config.lr == 0.01
    assert config.trials == 14
    assert config.choices[0].startswith("Tuned: the settings stay, because the best other one, --lr ")
    assert ran[-2][0].lr == 0.01  # the settings as they are take part to the end


def test_every_round_has_half_the_candidates_and_takes_part_of_the_time(
    data: Data, trials: Callable[..., Trials]
) -> None:
    ran = trials(lambda config: 100 - 10 * (config.lr != 0.01))
    settings(data, tune=600.0, max_time=3600.0)
    assert [seconds for _, seconds in ran[:8]] == pytest.approx([25.0] * 8, abs=1)
    assert len(ran) == 8 + 4 + 2
    changed = [
        {name for name in vars(config) if getattr(config, name) != getattr(ran[0][0], name)} for config, _ in ran
    ]
    assert changed[0] == changed[8] == changed[12] == set()


def test_no_trial_is_longer_than_the_run(data: Data, trials: Callable[..., Trials]) -> None:
    ran = trials(lambda _: 100)
    settings(data, 9.0, tune=600.0)
    assert {seconds for _, seconds in ran} == {9.0}


def test_candidates_are_settings_that_can_be_used() -> None:
    usual = TrainConfig(**USUAL)
    extreme: dict[str, Any] = {"lr": 5.0, "shift": 0.8, "deform": 0.9, "weight_decay": 0.0}
    for config in (usual, replace(usual, **extreme), replace(usual, augment=False)):
        candidates = tune.candidates(config, 28)
        assert candidates[0] == {}
        assert all(replace(config, **change) != config for change in candidates[1:])  # type: ignore[arg-type]
    assert {"deform": 0.1, "shift": 0.08, "scale": 0.15, "shear": 0.2} in tune.candidates(usual, 28)
    assert {"shift": 0.075, "scale": 0.12, "shear": 0.18} in tune.candidates(usual, 8)  # nothing to bend
    assert not any("shift" in change for change in tune.candidates(replace(usual, augment=False), 28))
    assert not any("weight_decay" in change for change in tune.candidates(replace(usual, weight_decay=0.0), 28))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"max_time": 100.0}, "half of it at most"),
        ({"distill": ("runs/a",)}, "trains without distill"),
        ({"procs": 2}, "one process"),
    ],
)
def test_what_cannot_be_tuned_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(SettingError, match=reason):
        TrainConfig(tune=60.0, **changes)


def test_the_card_counts_the_trials_and_a_resumed_run_tunes_no_more(
    tmp_path: Path, trials: Callable[..., Trials], stop_after: Callable[[int], tuple[Reporter, Callable[[], bool]]]
) -> None:
    trials(lambda config: 120 if config.label_smoothing == 0.2 else 100)
    config = TrainConfig(seed=0, arch="cnn", epochs=2, limit=600, tune=60.0, out=tmp_path / "run")
    assert train(config, *stop_after(35))["status"] == "interrupted"
    ran = trials(lambda _: 0)
    assert resume(tmp_path / "run")["status"] == "finished"
    assert not ran
    recorded = json.loads((tmp_path / "run" / "config.json").read_text())["settings"]
    assert (recorded["label_smoothing"], recorded["tune"], recorded["trials"]) == (0.2, None, 14)
    card = (tmp_path / "run" / "README.md").read_text()
    assert "14 short trainings were compared on them before this one" in card
    assert "--label-smoothing 0.2" in card


def test_tuning_fits_into_the_share_of_a_fold(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="half of it at most"):
        train_series(TrainConfig(tune=60.0, max_time=300.0, out=tmp_path / "folds"), folds=5)
    assert not (tmp_path / "folds").exists()


def test_the_first_fold_tunes_for_all(tmp_path: Path, trials: Callable[..., Trials]) -> None:
    ran = trials(lambda config: 50 if config.lr == 0.02 else 30)
    config = TrainConfig(seed=0, arch="cnn", epochs=1, limit=300, tune=60.0, out=tmp_path / "folds")
    train_series(config, folds=2)
    assert len(ran) == 14
    for fold in (1, 2):
        recorded = json.loads((tmp_path / "folds" / f"seed-0-fold-{fold}" / "config.json").read_text())["settings"]
        assert (recorded["lr"], recorded["trials"]) == (0.02, 14)
