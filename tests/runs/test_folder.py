"""What a run writes is read as what it meant."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lrnet_cli.data.readers.idx import read_idx
from lrnet_cli.errors import DataError, LRNetError, RunFolderError, TrainingError
from lrnet_cli.evaluation.predictions import PROBABILITY_OF
from lrnet_cli.runs.folder import read_config, read_result, read_rows, read_series, write_config, write_series
from lrnet_cli.runs.suspects import find_suspects, predictions_of
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.training.train import train
from lrnet_cli.weights.find import RELEASED, fingerprint_of


def rewritten(path: Path, **settings: Any) -> None:
    content = json.loads(path.read_text())
    content["settings"] |= settings
    path.write_text(json.dumps(content))


def test_settings_come_back_as_they_were_written(tmp_path: Path) -> None:
    config = TrainConfig(out=tmp_path / "run", data_dir=Path("data"), max_time=90.0, fuse=False)
    write_config(tmp_path, config, device="cpu")
    assert read_config(tmp_path)[0] == config
    write_series(tmp_path, config, 3, 5)
    assert read_series(tmp_path) == (config, 3, 5)


@pytest.mark.skipif(os.name != "posix", reason="makes a pipe")
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("config.json", read_config),
        ("series.json", read_series),
        ("metrics.csv", read_rows),
        ("predictions.csv", lambda folder: find_suspects([folder])),
        ("model.safetensors", lambda folder: fingerprint_of(folder / "model.safetensors")),
        ("train-labels-idx1-ubyte", lambda folder: read_idx(folder / "train-labels-idx1-ubyte", 1)),
    ],
)
def test_a_pipe_in_place_of_a_file_is_refused(tmp_path: Path, name: str, read: Callable[[Path], object]) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(LRNetError, match="pipe or device"):
        read(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="makes a pipe and a sparse file")
def test_results_that_are_a_pipe_or_huge_are_damaged(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    os.mkfifo(path)
    with pytest.raises(TrainingError, match="pipe or device"):
        read_result(tmp_path)
    path.unlink()
    path.touch()
    os.truncate(path, 20_000_000_000)
    with pytest.raises(TrainingError, match="larger than 100 MB"):
        read_result(tmp_path)


def test_settings_that_were_removed_are_read_if_they_did_nothing_and_else_refused(tmp_path: Path) -> None:
    write_config(tmp_path, TrainConfig())
    rewritten(tmp_path / "config.json", clip_norm=None, noise=0.0, blur=0.0)
    assert read_config(tmp_path)[0] == TrainConfig()
    rewritten(tmp_path / "config.json", clip_norm=0.5, blur=1.0)
    with pytest.raises(TrainingError, match=r"json: sets clip_norm and blur, which this version cannot do; start a"):
        read_config(tmp_path)


def test_a_setting_that_there_never_was_is_refused(tmp_path: Path) -> None:
    write_config(tmp_path, TrainConfig())
    rewritten(tmp_path / "config.json", colour="red")
    with pytest.raises(TrainingError, match=r"config\.json: is damaged"):
        read_config(tmp_path)


def test_a_value_that_cannot_be_used_is_damage(tmp_path: Path) -> None:
    write_config(tmp_path, TrainConfig())
    rewritten(tmp_path / "config.json", lr=-1.0)
    with pytest.raises(TrainingError, match=r"config\.json: is damaged .*lr takes a number above 0"):
        read_config(tmp_path)


def test_a_result_without_a_status_is_damaged(tmp_path: Path) -> None:
    assert read_result(tmp_path) is None
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(TrainingError, match=r"result\.json: is damaged .*status"):
        read_result(tmp_path)


@pytest.mark.parametrize("name", RELEASED)
def test_the_folders_of_the_released_networks_are_read(name: str) -> None:
    config, _ = read_config(RELEASED[name])
    result = read_result(RELEASED[name])
    assert (config.dataset, config.fuse) == (name.removesuffix("-clean"), True)
    assert result is not None
    assert result["status"] == "finished"
    assert len(read_rows(RELEASED[name])) == result["epochs"]


@pytest.mark.parametrize(("runs", "folds"), [(0, None), (-1, 2), (10**9, None), (1, 0), (1, -3), (1, 1)])
def test_a_series_of_no_or_far_too_many_runs_is_damaged(tmp_path: Path, runs: int, folds: int | None) -> None:
    write_series(tmp_path, TrainConfig(), runs, folds)
    with pytest.raises(TrainingError, match=r"series\.json: is damaged"):
        read_series(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        "path,true,probability a,probability b\nx,a,0.5\n",
        "path,true,probability a\nx,b,0.5\n",
        "path,true,probability a\nx,a,nan\n",
        "path,true,probability a\nx,a,0.5,1\nx\n",
        "path,true\nx,a\n",
        "true,probability a\na,1\n",
    ],
)
def test_damaged_predictions_are_named(tmp_path: Path, content: str) -> None:
    predictions_of(tmp_path).write_text(content.replace("probability ", PROBABILITY_OF))
    with pytest.raises(TrainingError, match=r"predictions\.csv: the predictions cannot be read"):
        find_suspects([tmp_path])


@pytest.mark.parametrize("content", ["epoch,train_loss\n1,0.5\n", "epoch\nx\n", "epoch\n1e308\n"])
def test_damaged_learning_curves_are_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "metrics.csv").write_text(content)
    with pytest.raises(DataError, match=r"metrics\.csv: the learning curves"):
        read_rows(tmp_path)


def test_a_run_folder_that_cannot_be_made_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lrnet_cli.training.train.prepare", None)
    (tmp_path / "runs").touch()
    with pytest.raises(RunFolderError, match="cannot be the run folder"):
        train(TrainConfig(out=tmp_path / "runs" / "a"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunFolderError, match="cannot be the run folder"):
        train(TrainConfig())
