"""What `lrnet check` says of a training is what `lrnet train` does, and what trials show is said with its doubts."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lrnet_cli.errors import InterruptedRunError, SettingError
from lrnet_cli.reporter import Reporter
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.settings.requests import CheckRequest
from lrnet_cli.training import advice, settle
from lrnet_cli.training.advice import Advice, advise
from lrnet_cli.training.data import Data
from lrnet_cli.training.train import train


@pytest.fixture(autouse=True)
def pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train at a pace at which no race is worth its time, whatever else this machine does."""
    monkeypatch.setattr(settle, "images_per_second", lambda *_: 1000.0)


def advised(**asked: Any) -> Advice:
    return advise(CheckRequest(dataset="optdigits", **asked), Reporter())


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[str, int, float]]]:
    """Give a function that sets the right answers of trials; it returns their network, images and seconds."""

    def stage(right: Callable[[str, int], int]) -> list[tuple[str, int, float]]:
        tried = list[tuple[str, int, float]]()

        def run(config: TrainConfig, data: Data, _engine: object, seconds: float) -> SimpleNamespace:
            tried.append((config.arch, len(data.train), seconds))
            return SimpleNamespace(hits=torch.arange(len(data.val)) < right(config.arch, len(data.train)))

        monkeypatch.setattr(advice, "tried_for", run)
        return tried

    return stage


def text_of(shown: Advice) -> str:
    return "\n".join(f"{name}: {text}" for name, text in shown.rows)


def test_the_advice_is_what_training_chooses(tmp_path: Path) -> None:
    shown = advised()
    with pytest.raises(InterruptedRunError):
        train(TrainConfig(seed=0, out=tmp_path / "run"), should_stop=lambda: True)
    chosen = json.loads((tmp_path / "run" / "config.json").read_text())["settings"]
    for name in ("image_size", "channels", "crop", "normalize", "deform"):
        assert getattr(shown, name) == chosen[name]
    (network,) = shown.networks
    assert (network.arch, network.epochs, network.batch_size) == (
        chosen["arch"],
        chosen["epochs"],
        chosen["batch_size"],
    )
    assert (shown.train, shown.val, shown.test) == (1151, 287, 359)
    assert shown.outlook is None


def test_a_race_that_training_would_hold_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settle, "images_per_second", lambda *_: 100.0)
    shown = advised()
    assert [choice.arch for choice in shown.networks] == ["lrnet-short", "resnet-small"]
    assert "the better one after 10 s each, on the validation images" in text_of(shown)


def test_small_classes_and_few_validation_images_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = advice.load_data

    def few(*asked: Any) -> Data:
        data = loaded(*asked)
        kept = torch.arange(len(data.train))[(data.train.labels != 3) | (torch.arange(len(data.train)) < 60)]
        return replace(data, train=data.train.take(kept), val=data.val.take(torch.arange(50)))

    monkeypatch.setattr(advice, "load_data", few)
    text = text_of(advised())
    assert "fewer than 10, from which little is learnt: 3 (" in text
    assert "an accuracy of 0.90 would be known to lie between 0.79 and 0.96" in text
    assert "There are only 50 validation images" in text


def test_trials_on_parts_tell_what_to_expect_and_what_more_images_gain(reached: Callable[..., Any]) -> None:
    tried = reached(lambda _, images: 287 - (120 if images < 400 else 85 if images < 800 else 60))
    shown = advised(try_=60.0)
    assert [images for _, images, _ in tried] == pytest.approx([1150, 575, 288], abs=5)
    assert sum(seconds for *_, seconds in tried) <= 60.1
    text = text_of(shown)
    assert "tried: lrnet-short on 28" in text
    assert "expect: validation accuracy 0.791 (95% interval 0.740 to 0.834)" in text
    assert "more images: twice as many: accuracy about 0.85" in text
    assert re.search(r"half the error: about 4\d\d to train on in a class \(3\d\d to 7\d\d\), instead of 11", text)
    assert json.loads(json.dumps(shown.document()))["outlook"]["gain"]["halving_factor"] == pytest.approx(4, abs=0.1)


def test_no_forecast_is_made_where_more_images_did_not_help(reached: Callable[..., Any]) -> None:
    reached(lambda _, images: 287 - (50 if images < 400 else 60 if images < 800 else 40))
    assert "more images: no forecast: the accuracy does not rise with every doubling" in text_of(advised(try_=60.0))


def test_no_forecast_is_made_from_trials_that_are_short_beside_a_run(
    reached: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settle, "images_per_second", lambda *_: 100.0)
    reached(lambda _, images: images // 10)
    text = text_of(advised(try_=6.0))
    assert "more images: no forecast: the trials are too short for that; give --try more time." in text
    assert "or more: a run takes longer" in text


def test_the_better_network_of_a_race_is_tried_on_the_parts(
    reached: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settle, "images_per_second", lambda *_: 100.0)
    tried = reached(lambda arch, images: images // 10 + (arch == "resnet-small"))
    advised(try_=320.0)
    assert [arch for arch, *_ in tried] == ["lrnet-short", "resnet-small", "resnet-small", "resnet-small"]
    assert [images for _, images, _ in tried] == pytest.approx([1150, 1150, 575, 288], abs=5)
    assert [seconds for *_, seconds in tried] == pytest.approx([100, 100, 70, 50], rel=0.02)


def test_a_real_trial_learns(lrnet: Callable[..., Any], tmp_path: Path) -> None:
    shown = lrnet("check", "optdigits", "--try", "4s", "--report", tmp_path / "check.html")
    assert "expect          validation accuracy 0." in shown.stdout
    assert "Trying lrnet-short on 11" in shown.stderr
    assert "validation accuracy 0." in (tmp_path / "check.html").read_text()


def test_a_time_that_is_none_is_refused_by_its_option(lrnet: Callable[..., Any]) -> None:
    refused = lrnet("check", "optdigits", "--try", "soon")
    assert refused.exit_code == 2
    assert "--try takes a duration such as 90s" in refused.stderr
    with pytest.raises(SettingError, match="try_ takes a number above 0"):
        CheckRequest(dataset="optdigits", try_=0.0)
