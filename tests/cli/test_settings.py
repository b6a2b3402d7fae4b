"""The options of the command line are those of the settings."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import typer

from lrnet_cli.cli.app import app
from lrnet_cli.settings.config import SETTINGS, TrainConfig
from lrnet_cli.settings.record import recipe_of
from lrnet_cli.settings.requests import EvalRequest, InfoRequest, PredictRequest
from lrnet_cli.settings.setting import settings_of

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
        "threads",
        "data_dir",
        "mirror",
    }


def shown_by(lrnet: CliRun, words: str) -> str:
    """Return the help at 80 columns, without the frames of its panels."""
    return lrnet(f"{words} --help").stdout.replace("│", " ")


@pytest.fixture
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.usefixtures("_narrow")
@pytest.mark.parametrize("command", COMMANDS)
def test_help_at_80_columns_breaks_no_word_and_has_examples(lrnet: CliRun, command: str) -> None:
    shown = shown_by(lrnet, command)
    assert max(map(len, shown.splitlines())) <= 80
    words = set(shown.split())
    for parameter in COMMANDS[command].params:
        flags = {flag for flag in (*parameter.opts, *parameter.secondary_opts) if flag.startswith("--")}
        assert {*flags, *(parameter.help or "").split()} <= words
    examples = shown.split("Examples:")[1].strip().splitlines()
    assert 2 <= sum("lrnet " in line for line in examples) <= 4


@pytest.mark.usefixtures("_narrow")
@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_names_no_types_and_has_one_form_for_defaults(lrnet: CliRun, command: str) -> None:
    shown = shown_by(lrnet, command)
    for word in ("<", ">", "{", "}", "list[", "[default:", "y default"):
        assert word not in shown


@pytest.mark.usefixtures("_narrow")
def test_help_says_what_to_give(lrnet: CliRun) -> None:
    usage, options = shown_by(lrnet, "predict").split("Classify", 1)
    assert usage.split()[-2:] == ["[OPTIONS]", "INPUTS..."]
    for line in ("inputs... Files, folders", "--top-k N How many", "--json The same", "--explain PATH Write"):
        assert line in " ".join(options.split())
    assert "[NAMES]..." in shown_by(lrnet, "download")


REQUESTS: dict[str, Any] = {"train": TrainConfig, "eval": EvalRequest, "predict": PredictRequest, "info": InfoRequest}


@pytest.mark.parametrize("command", REQUESTS)
def test_help_and_completion_name_every_choice(command: str) -> None:
    settings = {name: setting for name, setting in settings_of(REQUESTS[command]).items() if setting.choices}
    options = {parameter.name: parameter for parameter in COMMANDS[command].params if parameter.name in settings}
    assert options.keys() == settings.keys() != set()
    for name, setting in settings.items():
        choices = [str(choice) for choice in setting.choices]
        for choice in choices:
            assert re.search(rf"\b{choice}\b", options[name].help), (name, choice)
        assert setting.completed("") == choices
        assert setting.completed(choices[-1][:2])[-1] == choices[-1]
        assert setting.completed("%") == []


@pytest.mark.usefixtures("_narrow")
def test_the_first_panel_of_train_is_for_every_day(lrnet: CliRun) -> None:
    first = set(shown_by(lrnet, "train").split("╭─")[1].split())
    everyday = "dataset max-time epochs folds runs crop robust normalize out resume seed json help"
    assert {word for word in first if re.fullmatch(r"--\w[\w-]*", word)} == {f"--{name}" for name in everyday.split()}


@pytest.mark.usefixtures("_narrow")
def test_the_commands_are_listed_in_the_order_of_use_with_examples(lrnet: CliRun) -> None:
    shown = shown_by(lrnet, "")
    first, second = shown.split("╭─ Commands")[1].split("╭─ Data and this machine")
    listed = [re.findall(r"^  (\w+) +[A-Z].*\.", panel, re.MULTILINE) for panel in (first, second)]  # a line for each
    assert listed == [
        ["check", "select", "train", "eval", "predict", "audit", "review", "compare", "export"],
        ["download", "info", "cache", "bench"],
    ]
    assert "lrnet train --dataset" in shown.split("Examples:")[1]
