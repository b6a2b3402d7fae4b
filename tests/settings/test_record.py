"""A card's command repeats the run exactly, and a resumed run keeps its settings."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from lrnet_cli.cli.app import app
from lrnet_cli.errors import UsageError
from lrnet_cli.settings.config import PRESETS, SETTINGS, TrainConfig
from lrnet_cli.settings.record import changed, command_of, from_plain, to_plain
from lrnet_cli.settings.setting import Range

TRAIN: Any = typer.main.get_command(app).commands["train"]  # type: ignore[attr-defined]  # it is a group
DRAWN = {name: item for name, item in SETTINGS.items() if item.role != "place" and item.option and name != "folds"}


def values_of(name: str) -> st.SearchStrategy[Any]:
    setting = SETTINGS[name]
    if setting.choices:
        return st.sampled_from(setting.choices)
    if setting.kind is bool:
        return st.booleans()
    if setting.kind == tuple[str, ...]:
        return st.lists(st.sampled_from(["fashion", "runs/it's"]), min_size=1, max_size=3).map(tuple)
    if setting.kind is str:
        return st.sampled_from(["fashion", "/data/my stamps/it's", "a;b.npz", "-x"])
    if setting.kind is Path:
        return st.sampled_from([Path("scans"), Path("/data/my stamps/it's")])
    assert isinstance(setting.within, Range)
    low, high = setting.within.low, min(setting.within.high, 2e9)
    if setting.kind is int:
        return st.integers(int(low), int(high))
    return st.one_of(st.floats(low, high), st.sampled_from([1209600.0, 2 / 28, 1e-5, 1e-300, 0.1 + 0.2])).filter(
        lambda value: value in setting.within
    )


def parsed(command: str) -> TrainConfig:
    """Return the settings that the command line makes of ``command``."""
    program, name, *words = shlex.split(command)
    assert (program, name) == ("lrnet", "train")
    context = TRAIN.make_context("train", words)
    # The tests' own folder of data sets is in an environment variable.
    given = {name: value for name, value in context.params.items() if name in SETTINGS and not SETTINGS[name].envvar}
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    chosen = {name: value for name, value in given.items() if value not in (None, ())}
    return TrainConfig.from_preset(chosen.pop("preset", "default"), **chosen)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_the_command_of_drawn_settings_gives_them_back(data: st.DataObject) -> None:
    names = data.draw(st.sets(st.sampled_from([name for name in DRAWN if name != "preset"])))
    chosen = {name: data.draw(values_of(name), label=name) for name in sorted(names)}
    try:
        config = TrainConfig.from_preset(data.draw(st.sampled_from(list(PRESETS))), **chosen)
    except UsageError:
        return
    assert parsed(command_of(config)) == config
    assert from_plain(to_plain(config)) == config


def test_folders_and_devices_belong_to_one_machine() -> None:
    config = TrainConfig(device="cpu", procs=2, mirror="/mirror")
    assert command_of(config) == "lrnet train"
    assert parsed(command_of(config)) == replace(config, device="auto", procs=None, mirror=None)


def test_every_kind_of_setting_is_drawn() -> None:
    kinds = {"choice" if item.choices else item.kind for item in DRAWN.values()}
    assert kinds == {"choice", str, int, float, bool, Path, tuple[str, ...]}


@pytest.mark.parametrize(
    ("before", "changes", "after"),
    [
        ({"procs": 4}, {"procs": 2}, ("auto", None, 2)),
        ({"procs": 4}, {"device": "cuda"}, ("cuda", None, None)),
        ({"procs": 4}, {"gpus": 2}, ("auto", 2, None)),
        ({"gpus": 2}, {"procs": 2}, ("auto", None, 2)),
        ({"gpus": 2}, {"device": "cpu"}, ("cpu", None, None)),
        ({"device": "cpu"}, {"epochs": 20}, ("cpu", None, None)),
    ],
)
def test_a_resumed_run_may_go_to_another_place(before: Any, changes: Any, after: tuple[Any, ...]) -> None:
    config = changed(TrainConfig(**before), **changes)
    assert (config.device, config.gpus, config.procs) == after


def test_resuming_may_raise_an_end_but_not_lower_it() -> None:
    config = TrainConfig(epochs=None, max_time=60.0)
    assert changed(config, max_time=90.0, epochs=None).max_time == 90
    with pytest.raises(UsageError, match="The run has max_time 60; resuming may raise that, not lower it"):
        changed(config, max_time=30.0)
