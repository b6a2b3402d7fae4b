from typing import Any

import pytest

from lrnet_cli.errors import UsageError
from lrnet_cli.training.config import PRESETS, TrainConfig, help_of


@pytest.mark.parametrize(
    ("setting", "flag"),
    [
        ({"epochs": 0}, "--epochs"),
        ({"batch_size": 0}, "--batch-size"),
        ({"batch_size": 1}, "--batch-size takes 2 or more"),
        ({"lr": 0.0}, "--lr"),
        ({"lr": float("nan")}, "--lr"),
        ({"weight_decay": -1.0}, "--weight-decay"),
        ({"dropout": 1.0}, "--dropout"),
        ({"val_fraction": 0.0}, "--val-fraction"),
        ({"val_fraction": 1.0}, "--val-fraction"),
        ({"head": "linear"}, "--head takes softmax or sigmoid"),
        ({"channels": 2}, "--channels"),
        ({"seed": -1}, "--seed"),
        ({"limit": 0}, "--limit"),
        ({"patience": 0}, "--patience"),
    ],
)
def test_bad_values_name_the_flag(setting: dict[str, Any], flag: str) -> None:
    with pytest.raises(UsageError, match=flag):
        TrainConfig(**setting)


def test_given_settings_stand_over_those_of_the_preset() -> None:
    config = TrainConfig.from_preset("paper", epochs=5, lr=None)
    assert (config.epochs, config.lr, config.optimizer, config.patience) == (5, 1e-3, "adam", 30)


def test_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="default, paper, quick"):
        TrainConfig.from_preset("best")


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_hold_valid_settings(preset: str) -> None:
    assert TrainConfig.from_preset(preset).preset == preset


def test_help_tells_the_default() -> None:
    assert help_of("epochs").endswith("Default: 12.")
