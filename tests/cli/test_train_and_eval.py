import csv
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lrnet_cli.data.readers.idx import read_idx
from lrnet_cli.runs.folder import write_config
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.weights.file import load_weights

CliRun = Callable[..., Any]
SHORT = "--arch cnn --limit 60 --epochs 1 --no-test"


def test_train_prints_its_result_as_json_and_a_line_an_epoch(lrnet: CliRun) -> None:
    result = lrnet("train --epochs 2 --limit 300 --seed 3 --out r --json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    promised = {
        "schema",
        "run_dir",
        "weights",
        "arch",
        "dataset",
        "epochs",
        "best_epoch",
        "val_accuracy",
        "test_accuracy",
        "train_images_per_second",
        "seconds",
        "seed",
    }
    assert promised <= document.keys()
    assert (document["schema"], document["dataset"], document["seed"]) == ("lrnet.train/1", "optdigits", 3)
    assert document == json.loads(Path("r/result.json").read_text())
    lines = result.stderr.splitlines()
    assert sum(line.startswith("epoch ") for line in lines) == 2
    assert lines[0].startswith("Device: ")
    assert "\x1b" not in result.stderr


def test_train_for_people_names_accuracy_weights_and_curves(lrnet: CliRun) -> None:
    result = lrnet("train --preset quick --epochs 1 --limit 300 --seed 3 --out r")
    assert result.exit_code == 0
    assert "95% interval" in result.stdout
    assert str(Path("r/curves.png")) in result.stdout


def test_eval_gives_the_figure_that_training_reported(lrnet: CliRun, trained_run: Path) -> None:
    trained = json.loads((trained_run / "result.json").read_text())
    result = lrnet("eval", "--weights", trained_run, "--json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["schema"] == "lrnet.eval/1"
    assert document["accuracy"] == trained["test_accuracy"]
    assert document["accuracy_ci95"] == trained["test_accuracy_ci95"]
    assert document["n"] == sum(map(sum, document["confusion_matrix"])) == 359
    assert set(document["per_class"][0]) == {"name", "precision", "recall", "f1", "support"}
    promised = {"dataset", "split", "weights", "loss", "ece", "images_per_second", "device", "precision"}
    assert promised <= document.keys()


def test_eval_for_people_shows_interval_classes_and_confusion(lrnet: CliRun, trained_run: Path) -> None:
    result = lrnet("eval", "--weights", trained_run, "--predictions", "p.csv", "--limit", "100")
    assert result.exit_code == 0
    for words in ("95% interval", "calibration error", "precision", "true"):
        assert words in result.stdout
    with Path("p.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 100


def test_the_sigmoid_head_evaluates(lrnet: CliRun) -> None:
    assert lrnet("train --arch cnn --head sigmoid --epochs 1 --limit 200 --seed 0 --out r").exit_code == 0
    assert lrnet("eval --weights r").exit_code == 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_training_cleanly_with_the_best_weights(number: signal.Signals, isolated_user: Path) -> None:
    command = [sys.executable, "-m", "lrnet_cli", "train", "--arch", "cnn", "--epochs", "5000", "--limit", "60"]
    command += ["--out", "r", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not Path("r/metrics.csv").exists():
        time.sleep(0.05)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    document = json.loads(stdout)
    assert document["status"] == "interrupted"
    assert document["test_accuracy"] is None
    assert "Traceback" not in stderr
    load_weights(Path("r/model.safetensors"))
    assert {path.name for path in Path("r").iterdir()} >= {"README.md", "metrics.csv", "result.json", "curves.png"}


def test_resume_goes_on_with_the_runs_own_settings(lrnet: CliRun) -> None:
    assert lrnet("train --arch cnn --epochs 1 --limit 200 --seed 3 --keep-checkpoint --out r").exit_code == 0
    refused = lrnet("train --resume r --lr 0.1 --no-fuse")
    assert refused.exit_code == 2
    assert "leave out: --fuse, --lr" in refused.stderr
    done = lrnet("train --resume r --json")
    assert (done.exit_code, json.loads(done.stdout)["epochs"]) == (0, 1)
    longer = lrnet("train --resume r --epochs 2 --json")
    assert (longer.exit_code, json.loads(longer.stdout)["epochs"]) == (0, 2)
    assert lrnet("train --resume nowhere").exit_code == 2


def test_folders_of_the_environment_are_not_kept_in_a_run(
    lrnet: CliRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LRNET_MIRROR", str(tmp_path / "mirror"))
    words = f"train {SHORT}"
    assert lrnet(f"{words} --out r").exit_code == 0
    assert lrnet(f"{words} --data-dir {tmp_path} --runs 1 --out s").exit_code == 0
    kept = [json.loads(Path(name).read_text())["settings"] for name in ("r/config.json", "s/series.json")]
    assert [settings["data_dir"] for settings in kept] == [None, str(tmp_path)]
    assert [settings["mirror"] for settings in kept] == [None, None]


def test_a_resumed_run_may_have_its_data_sets_elsewhere(lrnet: CliRun) -> None:
    assert lrnet(f"train {SHORT} --keep-checkpoint --data-dir one --out r").exit_code == 0
    assert _places("r") == (str(Path("one").resolve()), None)
    assert lrnet("train --resume r --epochs 2 --data-dir two --mirror three").exit_code == 0
    assert _places("r") == (str(Path("two").resolve()), str(Path("three").resolve()))
    assert lrnet("train --resume r --epochs 3 --mirror https://example.org/x").exit_code == 0
    assert _places("r") == (str(Path("two").resolve()), "https://example.org/x")


def _places(run: str) -> tuple[str | None, str | None]:
    settings = json.loads(Path(run, "config.json").read_text())["settings"]
    return settings["data_dir"], settings["mirror"]


def test_a_run_that_asks_for_more_processes_than_cores_is_resumed_only_if_told_so(
    lrnet: CliRun, tmp_path: Path
) -> None:
    write_config(tmp_path, TrainConfig(procs=1000))
    refused = lrnet("train", "--resume", tmp_path)
    assert (refused.exit_code, refused.stderr.count("was trained in 1000 processes")) == (2, 1)


def test_a_time_budget_that_is_no_duration_is_refused(lrnet: CliRun) -> None:
    refused = lrnet("train --max-time soon")
    assert refused.exit_code == 2
    assert "--max-time takes a duration such as 90s, 30m, 1h30m or 1800 (seconds), got 'soon'" in refused.stderr


def test_a_run_without_a_test_tells_validation_figures_and_may_not_be_shortened(lrnet: CliRun) -> None:
    told = lrnet("train --arch cnn --epochs 2 --limit 200 --seed 3 --no-test --out r")
    assert told.exit_code == 0
    assert "Validation accuracy" in told.stdout
    assert "Test accuracy" not in told.stdout
    refused = lrnet("train --resume r --epochs 1")
    assert (refused.exit_code, "resuming may raise that" in refused.stderr) == (2, True)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_predict_and_eval_compute_in_the_precision_that_is_asked_for(
    lrnet: CliRun, trained_run: Path, precision: str
) -> None:
    result = lrnet("eval", "--weights", trained_run, "--precision", precision, "--limit", "20", "--json")
    assert json.loads(result.stdout)["precision"] == precision
    assert f", {precision}." in result.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_an_interrupt_before_the_first_epoch_ended_is_130_too(isolated_user: Path) -> None:
    command = [sys.executable, "-m", "lrnet_cli", "train", "--arch", "lrnet", "--image-size", "64", "--epochs", "1"]
    command += ["--batch-size", "16", "--out", "r"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not Path("r/config.json").exists():
        time.sleep(0.05)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr


def test_a_run_on_real_digits_learns(lrnet: CliRun, shared_data: Path) -> None:
    arrays = {}
    for split, prefix, count in (("train", "train", 900), ("test", "t10k", 300)):
        arrays[f"{split}_images"] = read_idx(shared_data / "digits" / f"{prefix}-images-idx3-ubyte.gz", 3)[:count]
        arrays[f"{split}_labels"] = read_idx(shared_data / "digits" / f"{prefix}-labels-idx1-ubyte.gz", 1)[:count]
    np.savez("digits.npz", **arrays)
    result = lrnet("train --dataset digits.npz --epochs 2 --batch-size 16 --seed 0 --out r --json")
    document = json.loads(result.stdout)
    assert document["test_accuracy"] > 0.85
    assert document["parameters"] == 969_766


@pytest.mark.slow
def test_a_bar_is_drawn_on_a_terminal_only(
    isolated_user: Path, in_terminal: Callable[..., tuple[int, str]], lrnet: CliRun
) -> None:
    words = ["train", "--arch", "cnn", "--epochs", "1", "--limit", "60", "--no-test", "--out"]
    code, shown = in_terminal([sys.executable, "-m", "lrnet_cli", *words, "r"])
    assert code == 0
    assert "epoch 1/1" in shown
    assert "steps" in shown
    assert "\x1b[" in shown
    assert "steps" not in lrnet(*words, "s").stderr
