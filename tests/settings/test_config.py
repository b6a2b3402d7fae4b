from typing import Any

import pytest

from lrnet_cli.errors import UsageError
from lrnet_cli.settings.config import PRESETS, SETTINGS, TrainConfig


@pytest.mark.parametrize(
    ("setting", "flag"),
    [
        ({"epochs": 0}, "--epochs"),
        ({"batch_size": 0}, "--batch-size"),
        ({"batch_size": 1}, "--batch-size takes a whole number from 2 up, got 1: batch normalisation"),
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
        ({"epochs": None}, "give --epochs, --max-time or both"),
        ({"max_time": 0.0}, "--max-time"),
        ({"label_smoothing": 1.0}, "--label-smoothing"),
        ({"cutout": 1.0}, "--cutout"),
        ({"robust": 1.5}, "--robust takes a share from 0 to 1"),
        ({"flip": "sometimes"}, "--flip takes auto or on or off"),
        ({"precision": "fp8"}, "--precision"),
        ({"compile": "yes"}, "--compile"),
        ({"procs": 0}, "--procs"),
        ({"arch": "resnet18"}, r"got 'resnet18'\. Did you mean resnet50\?"),
    ],
)
def test_bad_values_name_the_flag(setting: dict[str, Any], flag: str) -> None:
    with pytest.raises(UsageError, match=flag):
        TrainConfig(**setting)


def test_given_settings_stand_over_those_of_the_preset() -> None:
    config = TrainConfig.from_preset("paper", epochs=5, lr=None)
    assert (config.epochs, config.lr, config.optimizer, config.patience) == (5, 1e-3, "adam", 30)


def test_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="default or paper or quick"):
        TrainConfig.from_preset("best")


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_hold_valid_settings(preset: str) -> None:
    assert TrainConfig.from_preset(preset).preset == preset


def test_help_tells_the_default() -> None:
    assert SETTINGS["epochs"].description.endswith("Default: 12.")


def test_a_time_budget_takes_the_place_of_the_epochs_unless_both_are_given() -> None:
    assert TrainConfig.from_preset("default", max_time=60.0).epochs is None
    assert TrainConfig.from_preset("default", max_time=60.0, epochs=5).epochs == 5
