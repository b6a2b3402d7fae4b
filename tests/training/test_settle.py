"""What a run chooses by itself, and that it stays chosen."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from lrnet_cli.data.images import Preprocessing
from lrnet_cli.data.splits import Split
from lrnet_cli.errors import SettingError
from lrnet_cli.models.engine import Engine
from lrnet_cli.processes import ALONE, Processes
from lrnet_cli.reporter import Reporter
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.settings.record import command_of
from lrnet_cli.settings.setting import settings_of
from lrnet_cli.training import settle
from lrnet_cli.training.data import Data, load_data
from lrnet_cli.training.series import train_series
from lrnet_cli.training.settle import settled
from lrnet_cli.training.train import resume, train
from lrnet_cli.training.trial import tried_for
from lrnet_cli.weights.file import load_weights

CPU = Engine(torch.device("cpu"))


class Listener(Reporter):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)


def data_of(images: Tensor, classes: int) -> Data:
    """Return data whose training images, uint8 (N, 1, S, S), take the ``classes`` in turn."""
    labels = torch.arange(len(images)) % classes
    preprocessing = Preprocessing(images.shape[-1], 1, "mixed", polarity_rule="plane", reading="reduced")
    dataset = SimpleNamespace(preprocessing=preprocessing, classes=tuple(map(str, range(classes))))
    return Data(dataset, Split(images, labels), Split(images[:20], labels[:20]), {}, False)  # type: ignore[arg-type]


def scans(count: int, side: int = 28) -> Tensor:
    return torch.zeros(count, 1, side, side, dtype=torch.uint8)


@pytest.fixture
def paces(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Give the images per second of each network, which a test may change, in place of those of this machine."""
    paces = {"lrnet-short": 100.0, "resnet-small": 400.0, "lrnet": 100.0, "cnn": 1000.0}
    monkeypatch.setattr(settle, "images_per_second", lambda config, *_: paces[config.arch])
    monkeypatch.setattr(settle, "affordable_images", lambda config, *_: int(config.max_time * paces[config.arch]))
    return paces


@pytest.fixture
def race(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[str, float]]]:
    """Give a function that sets what each network reaches in a race; it returns who ran, and for how many seconds."""

    def stage(**reached: float) -> list[tuple[str, float]]:
        ran = list[tuple[str, float]]()

        def run(config: TrainConfig, _data: Data, _engine: Engine, seconds: float) -> SimpleNamespace:
            ran.append((config.arch, seconds))
            return SimpleNamespace(accuracy=reached[config.arch.replace("-", "_")])

        monkeypatch.setattr(settle, "tried_for", run)
        return ran

    return stage


def chosen(data: Data, processes: Processes = ALONE, **settings: Any) -> tuple[TrainConfig, list[str]]:
    listener = Listener()
    return settled(TrainConfig(seed=0, **settings), data, CPU, processes, listener), listener.messages


@pytest.mark.usefixtures("paces")
def test_the_better_network_of_a_race_is_trained_and_recorded(race: Callable[..., Any]) -> None:
    ran = race(lrnet_short=0.4, resnet_small=0.7)
    config, messages = chosen(data_of(scans(3000), 100), max_time=600.0)
    assert (config.arch, config.dropout) == ("resnet-small", 0.3)
    assert ran == [("lrnet-short", 30.0), ("resnet-small", 30.0)]
    assert config.choices == tuple(messages[:1])
    assert "resnet-small, the better one on 20 validation images after 30 s each" in messages[0]
    race(lrnet_short=0.7, resnet_small=0.7)
    config, _ = chosen(data_of(scans(3000), 100), max_time=600.0)
    assert (config.arch, config.dropout) == ("lrnet-short", 0.0)


@pytest.mark.usefixtures("paces")
def test_a_short_run_or_several_processes_hold_no_race(race: Callable[..., Any]) -> None:
    ran = race(lrnet_short=0.4, resnet_small=0.7)
    assert chosen(data_of(scans(3000), 100), max_time=60.0)[0].arch == "lrnet-short"
    assert chosen(data_of(scans(3000), 100), epochs=2)[0].arch == "lrnet-short"
    assert chosen(data_of(scans(3000), 100), Processes(0, 2), max_time=600.0, batch_size=64)[0].arch == "lrnet-short"
    assert chosen(data_of(scans(3000), 100), max_time=600.0, arch="cnn")[0].arch == "cnn"
    assert ran == []


def test_a_strength_is_a_number_or_auto() -> None:
    setting = settings_of(TrainConfig)["robust"]
    assert (setting.read("0.5"), setting.read("auto")) == (0.5, "auto")
    with pytest.raises(SettingError, match=r"a share from 0 to 1 or auto, got 'much'"):
        setting.read("much")
    with pytest.raises(SettingError, match="a share from 0 to 1"):
        TrainConfig(robust=2)


@pytest.mark.usefixtures("paces")
def test_weights_to_start_from_are_measured_where_there_is_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(settle, "tried_for", lambda config, *_: SimpleNamespace(accuracy=0.8 if config.init else 0.9))
    config, messages = chosen(data_of(scans(3000), 100), init="digits", max_time=600.0)
    assert config.init == "digits"
    assert "digits reaches 0.800" in messages[0]
    assert "random weights 0.900: it does not help here, so leave out --init" in messages[0]
    assert config.choices == (messages[0],)
    monkeypatch.setattr(settle, "tried_for", lambda config, *_: SimpleNamespace(accuracy=0.8 if config.init else 0.7))
    assert "it helps" in chosen(data_of(scans(3000), 100), init="digits", max_time=600.0)[1][0]
    assert chosen(data_of(scans(3000), 100), init="digits", max_time=60.0)[1] == []


@pytest.mark.usefixtures("paces")
def test_weights_to_start_from_decide_the_network(trained_run: Path) -> None:
    assert chosen(data_of(scans(300), 10), init=str(trained_run), epochs=1)[0].arch == "lrnet-short"
    assert chosen(data_of(scans(300), 10), init="digits", epochs=1)[0].arch == "lrnet"


@pytest.mark.usefixtures("paces")
def test_classes_of_few_images_are_bent_and_others_moved_a_little() -> None:
    few, _ = chosen(data_of(scans(300), 10), epochs=1, arch="cnn")
    many, _ = chosen(data_of(scans(1000), 10), epochs=1, arch="cnn")
    tiny, _ = chosen(data_of(scans(300, side=8), 10), epochs=1, arch="cnn")
    assert (few.deform, few.shift, few.scale, few.shear) == (0.1, 0.08, 0.15, 0.2)
    assert (many.deform, many.shift, many.scale, many.shear) == (0.0, 0.05, 0.08, 0.12)
    assert tiny.deform == 0.0
    assert chosen(data_of(scans(300), 10), epochs=1, arch="cnn", augment=False)[0].deform == 0.0
    mine, _ = chosen(data_of(scans(300), 10), epochs=1, arch="cnn", deform=0.0, shift=0.3)
    assert (mine.deform, mine.shift, mine.scale) == (0.0, 0.3, 0.08)


def test_a_run_is_as_long_as_its_collection_needs(paces: dict[str, float]) -> None:
    paces["resnet-small"] = 1000.0
    config, messages = chosen(data_of(scans(3400), 100), arch="resnet-small")
    assert config.epochs == 112  # 6,500 times the root of the number of images
    assert messages[-1].startswith("112 epochs, which take about 8m here; --max-time 3m trains a third as long")
    large, _ = chosen(data_of(scans(3400, side=8), 100), arch="resnet-small")
    assert large.epochs == 12  # small images have less to learn, but each is seen twelve times
    part, _ = chosen(data_of(scans(3400), 100), arch="resnet-small", folds=5, test_fold=1)
    assert part.epochs == 45  # five folds take twice as long as one run
    assert chosen(data_of(scans(3400), 100), arch="resnet-small", max_time=60.0)[0].epochs is None


@pytest.mark.usefixtures("paces")
def test_a_run_that_would_take_long_is_shorter_and_says_so() -> None:
    config, messages = chosen(data_of(scans(3400), 100), arch="resnet-small")
    assert config.epochs == 74
    assert messages[-1].startswith(
        "74 epochs, which take about 13m here; --max-time 19m would suit the images; --max-time 5m trains a third"
    )
    part, _ = chosen(data_of(scans(3400), 100), arch="resnet-small", folds=5, test_fold=1)
    assert part.epochs == 30
    large, messages = chosen(data_of(scans(60_000), 10), arch="resnet-small")
    assert large.epochs == 12  # whatever that takes
    assert messages[-1].startswith("12 epochs, which take about 35m here; --max-time 77m would suit the images; ")


@pytest.mark.usefixtures("paces")
def test_an_epoch_of_few_steps_has_several_passes_unless_epochs_are_counted() -> None:
    assert chosen(data_of(scans(80), 10), arch="cnn")[0].passes == 8  # of five steps
    assert chosen(data_of(scans(80), 10), arch="cnn", epochs=20)[0].passes == 1
    assert chosen(data_of(scans(3400), 10), arch="cnn")[0].passes == 1


@pytest.mark.usefixtures("paces")
def test_what_is_chosen_stays_chosen_and_a_command_repeats_it(race: Callable[..., Any]) -> None:
    race(lrnet_short=0.4, resnet_small=0.7)
    data = data_of(scans(3000), 100)
    config, _ = chosen(data, max_time=600.0)
    assert settled(config, data, CPU, ALONE, Listener()) == config
    command = command_of(replace(config, dataset="glyphs"))
    assert "--arch resnet-small" in command
    assert "--deform 0.1" in command


def test_a_trial_learns_and_leaves_the_random_numbers_as_they_were(tmp_path: Path) -> None:
    config = TrainConfig(seed=0, arch="cnn", limit=400, epochs=1)
    data = load_data(config, 0, Reporter())
    config = replace(settled(config, data, CPU, ALONE, Reporter()), epochs=8)
    before = torch.random.get_rng_state()
    assert tried_for(config, data, CPU, None).accuracy > 0.5
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give class folders of crosses and rings, each a tenth of a large sheet, on grounds as even as paper."""
    root, draw = tmp_path_factory.mktemp("collection"), np.random.default_rng(0)
    for label in ("cross", "ring"):
        (root / label).mkdir()
        for number in range(40):
            image = Image.new("L", (160, 200), 230)
            left, upper = draw.integers(40, 70, 2)
            box = (left, upper, left + 45, upper + 45)
            pen = ImageDraw.Draw(image)
            if label == "ring":
                pen.ellipse(box, outline=20, width=7)
            else:
                pen.line(box, 20, width=7)
                pen.line((box[2], box[1], box[0], box[3]), 20, width=7)
            image.save(root / label / f"{number:02}.png")
    return root


def test_a_collection_of_small_things_on_large_sheets_is_cropped_and_learnt(collection: Path, tmp_path: Path) -> None:
    listener = Listener()
    result = train(TrainConfig(dataset=str(collection), seed=0, arch="cnn", epochs=25, out=tmp_path / "run"), listener)
    assert result["test_accuracy"] == 1.0
    said = " ".join(listener.messages)
    assert "images are cropped to their content, because the content fills 2" in said
    recorded = json.loads((tmp_path / "run" / "config.json").read_text())["settings"]
    assert (recorded["crop"], recorded["image_size"], recorded["normalize"]) == ("on", 32, "none")
    preprocessing = load_weights(Path(result["weights"]))[1].preprocessing
    assert (preprocessing.crop, preprocessing.image_size) == ("content", 32)


@pytest.mark.slow
def test_a_run_that_chose_is_resumed_bit_for_bit(
    collection: Path, tmp_path: Path, stop_after: Callable[[int], tuple[Reporter, Callable[[], bool]]]
) -> None:
    config = TrainConfig(dataset=str(collection), seed=0, arch="cnn", out=tmp_path / "whole")
    whole = train(replace(config, epochs=3))
    stopped = train(replace(config, epochs=3, out=tmp_path / "parts"), *stop_after(5))
    assert stopped["status"] == "interrupted"
    parts = resume(tmp_path / "parts")
    tensors = [load_weights(Path(result["weights"]))[0].state_dict() for result in (whole, parts)]
    assert all(torch.equal(tensor, tensors[1][name]) for name, tensor in tensors[0].items())


@pytest.mark.slow
def test_the_folds_of_a_series_share_what_the_first_one_chose(
    collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raced = list[str]()

    def once(config: TrainConfig, *_: Any) -> TrainConfig:
        raced.append(str(config.out))
        return replace(config, arch="cnn")

    monkeypatch.setattr(settle, "_with_arch", once)
    config = TrainConfig(dataset=str(collection), seed=0, epochs=2, out=tmp_path / "folds")
    document = train_series(config, runs=1, folds=3)
    assert document["arch"] == "cnn"
    assert len(raced) == 1
