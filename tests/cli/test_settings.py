"""The options of the command line are those of the settings."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import typer

from lrnet_cli.cli.app import app
from lrnet_cli.settings.config import SETTINGS, TrainConfig
from lrnet_cli.settings.recipe import recipe_of

COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # it is a group
CliRun = Callable[..., Any]


@pytest.mark.parametrize("name", [name for name, setting in SETTINGS.items() if setting.option])
def test_a_setting_said_once_is_everywhere(name: str) -> None:
    setting = SETTINGS[name]
    (option,) = [parameter for parameter in COMMANDS["train"].params if parameter.name == name]
    assert setting.flag in option.opts
    assert option.help == setting.description
    assert option.rich_help_panel == setting.panel
    recipe = recipe_of(TrainConfig())
    assert (name in recipe) == (setting.role in ("recipe", "augmentation"))
    assert ("shift" in recipe_of(TrainConfig(augment=False))) is False


@pytest.mark.parametrize("name", [n for n, setting in SETTINGS.items() if setting.option and not setting.resumable])
def test_a_resumed_run_keeps_what_the_settings_do_not_let_change(lrnet: CliRun, trained_run: Any, name: str) -> None:
    setting = SETTINGS[name]
    value = {bool: None, int: "13", float: "0.5"}.get(setting.kind, "x")
    words = [setting.flag, str(setting.choices[0]) if setting.choices else value]
    result = lrnet("train", "--resume", trained_run, *(word for word in words if word is not None))
    assert result.exit_code == 2
    assert f"A resumed run keeps its own settings; leave out: {setting.flag}." in result.stderr


def test_a_resumed_run_may_have_another_end_and_place() -> None:
    assert {name for name, setting in SETTINGS.items() if setting.resumable} == {
        "epochs",
        "max_time",
        "device",
        "gpus",
        "procs",
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_help_at_80_columns_cuts_nothing_and_has_examples(
    lrnet: CliRun, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = lrnet(command, "--help").stdout
    assert max(map(len, shown.splitlines())) <= 80
    assert not re.search(r"\S…", shown)  # an ellipsis of the texts stands alone
    for parameter in COMMANDS[command].params:
        for flag in (*parameter.opts, *parameter.secondary_opts):
            assert not flag.startswith("--") or f"{flag} " in shown
    examples = shown.split("Examples:")[1].strip().splitlines()
    assert 2 <= sum("lrnet " in line for line in examples) <= 4


def test_the_first_screen_of_train_is_for_newcomers(lrnet: CliRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    first = lrnet("train --help").stdout.split("╭─ Data")[0]
    assert {"--dataset", "--epochs", "--max-time", "--out", "--resume"} <= set(first.split())
    assert not {"--clip-norm", "--no-fuse", "--procs", "--shear"} & set(first.split())
