from typing import Any

import pytest

from lrnet_cli.errors import UsageError
from lrnet_cli.settings.config import PRESETS, SETTINGS, TrainConfig


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"epochs": 0}, "epochs takes"),
        ({"batch_size": 0}, "batch_size takes"),
        ({"batch_size": 1}, "batch_size takes a whole number from 2 up, got 1: batch normalisation"),
        ({"lr": 0.0}, "lr takes"),
        ({"lr": float("nan")}, "lr takes"),
        ({"weight_decay": -1.0}, "weight_decay takes"),
        ({"dropout": 1.0}, "dropout takes"),
        ({"val_fraction": 0.0}, "val_fraction takes"),
        ({"val_fraction": 1.0}, "val_fraction takes"),
        ({"head": "linear"}, "head takes softmax or sigmoid"),
        ({"channels": 2}, "channels takes"),
        ({"seed": -1}, "seed takes"),
        ({"limit": 0}, "limit takes"),
        ({"patience": 0}, "patience takes"),
        ({"max_time": 0.0}, "max_time takes"),
        ({"label_smoothing": 1.0}, "label_smoothing takes"),
        ({"cutout": 1.0}, "cutout takes"),
        ({"robust": 1.5}, "robust takes a share from 0 to 1"),
        ({"flip": "sometimes"}, "flip takes auto, on or off"),
        ({"precision": "fp8"}, "precision takes"),
        ({"compile": "yes"}, "compile takes"),
        ({"procs": 0}, "procs takes"),
        ({"arch": "resnet18"}, r"got 'resnet18'\. Did you mean resnet50\?"),
    ],
)
def test_bad_values_name_the_setting(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TrainConfig(**setting)


def test_given_settings_stand_over_those_of_the_preset() -> None:
    config = TrainConfig.from_preset("paper", epochs=5, lr=None)
    assert (config.epochs, config.lr, config.optimizer, config.patience) == (5, 1e-3, "adam", 30)


def test_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="default, paper or quick"):
        TrainConfig.from_preset("best")


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_hold_valid_settings(preset: str) -> None:
    assert TrainConfig.from_preset(preset).preset == preset


def test_help_tells_the_default() -> None:
    assert SETTINGS["ema"].description.endswith("Default: 0.05.")


def test_a_time_budget_takes_the_place_of_the_epochs_unless_both_are_given() -> None:
    assert TrainConfig.from_preset("default", max_time=60.0).epochs is None
    assert TrainConfig.from_preset("default", max_time=60.0, epochs=5).epochs == 5
