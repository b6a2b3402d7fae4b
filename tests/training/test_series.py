import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from lrnet_cli import paths
from lrnet_cli.data.datasets import load_dataset
from lrnet_cli.errors import DataError, InterruptedRunError, TrainingError, UsageError
from lrnet_cli.evaluation.setup import load_setup
from lrnet_cli.models.engine import Engine
from lrnet_cli.reporter import EpochRow, Reporter
from lrnet_cli.runs.folder import write_series
from lrnet_cli.runs.suspects import SUSPECTS_NAME
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.settings.place import Source
from lrnet_cli.settings.requests import EvalRequest
from lrnet_cli.training import series
from lrnet_cli.training.series import resume_series, train_series


def short(out: Path, **settings: Any) -> TrainConfig:
    # The network that takes least time: a series is the same for all.
    return TrainConfig(**({"arch": "cnn", "epochs": 1, "limit": 120, "seed": 5, "out": out} | settings))


def figures(result: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [(run["seed"], run["val_accuracy"], run["test_accuracy"]) for run in result["runs"]]


def test_runs_have_seeds_of_their_own_and_one_mean(tmp_path: Path) -> None:
    result = train_series(short(tmp_path / "series"), runs=2)
    assert [run["seed"] for run in result["runs"]] == [5, 6]
    assert result["test_accuracy"]["over"] == "seeds"
    mean = sum(run["test_accuracy"] for run in result["runs"]) / 2
    assert result["test_accuracy"]["value"] == pytest.approx(mean)
    assert {path.name for path in (tmp_path / "series").iterdir()} == {"series.json", "result.json", "seed-5", "seed-6"}
    assert json.loads((tmp_path / "series" / "result.json").read_text()) == json.loads(json.dumps(result))


def test_folds_share_the_time_of_one_run_and_seeds_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = list[float | None]()

    def train(config: TrainConfig, *_: object) -> dict[str, Any]:
        times.append(config.max_time)
        raise InterruptedRunError("stopped")

    monkeypatch.setattr(series, "train", train)
    for name, many in (("folds", {"folds": 5}), ("runs", {"runs": 5}), ("both", {"runs": 2, "folds": 5})):
        with pytest.raises(InterruptedRunError):
            train_series(short(tmp_path / name, max_time=600.0), **many)
    assert times == [120.0, 600.0, 120.0]


class StopAfter(Reporter):
    """Asks for a stop once so many epochs are over, in whichever run that is."""

    def __init__(self, epochs: int) -> None:
        self.left = epochs

    def epoch(self, row: EpochRow, is_kept: bool, images_per_second: float) -> None:
        self.left -= 1

    def should_stop(self) -> bool:
        return self.left <= 0


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [1, 3])
def test_an_interrupted_series_goes_on_to_the_same_result(tmp_path: Path, epochs: int) -> None:
    whole = train_series(short(tmp_path / "whole", epochs=2), runs=2)
    stop = StopAfter(epochs)
    stopped = tmp_path / "stopped"
    try:
        first = train_series(short(stopped, epochs=2), runs=2, reporter=stop, should_stop=stop.should_stop)
        assert first["status"] == "interrupted"
        assert len(first["runs"]) == epochs // 2
    except InterruptedRunError as error:
        assert epochs == 1
        assert f"lrnet train --resume {stopped}" in str(error)
    result = resume_series(stopped)
    assert result["status"] == "finished"
    assert figures(result) == figures(whole)
    assert figures(resume_series(stopped)) == figures(whole)


def test_a_series_killed_as_a_run_began_is_resumed(tmp_path: Path) -> None:
    config = short(tmp_path / "series", limit=60, test=False)
    train_series(config, runs=1)
    write_series(tmp_path / "series", config, 2, None)
    lock = tmp_path / "series" / "seed-6" / "checkpoint" / ".lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    (lock.parents[1] / "config.json.4711.lrnet.tmp").write_text("{")
    assert [run["seed"] for run in resume_series(tmp_path / "series")["runs"]] == [5, 6]
    assert not list((tmp_path / "series").rglob("*.tmp"))


def test_a_file_of_a_series_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    train_series(short(tmp_path / "series", limit=100), folds=2)
    suspects = tmp_path / "series" / SUSPECTS_NAME
    suspects.unlink()
    suspects.mkdir()
    with pytest.raises(TrainingError, match=r"suspects\.csv.*: cannot be written .* Resume with: lrnet train "):
        resume_series(tmp_path / "series")


@pytest.mark.parametrize("test", [True, False])
def test_a_run_of_a_series_with_a_damaged_result_is_one_sentence(tmp_path: Path, test: bool) -> None:
    write_series(tmp_path, short(tmp_path, test=test), 2, None)
    (tmp_path / "seed-5").mkdir()
    (tmp_path / "seed-5" / "result.json").write_text(json.dumps({"status": "finished", "val_accuracy": None}))
    with pytest.raises(TrainingError, match=r"result\.json: is damaged, or was written by another version"):
        resume_series(tmp_path)


def test_a_series_is_not_resumed_on_other_images(tmp_path: Path) -> None:
    images = load_dataset("optdigits").train
    arrays = {"train_images": images.images[:90, 0].numpy(), "train_labels": images.labels[:90].numpy()}
    tested = {"test_images": images.images[90:120, 0].numpy(), "test_labels": images.labels[90:120].numpy()}
    np.savez(tmp_path / "few.npz", **arrays, **tested)
    stop = StopAfter(3)
    settings: dict[str, Any] = {"dataset": str(tmp_path / "few.npz"), "limit": None, "epochs": 2}
    config = short(tmp_path / "series", **settings)
    assert train_series(config, folds=3, reporter=stop, should_stop=stop.should_stop)["status"] == "interrupted"
    np.savez(tmp_path / "few.npz", **{name: array[1:] for name, array in arrays.items()}, **tested)
    with pytest.raises(TrainingError, match="the images have changed since it was trained"):
        resume_series(tmp_path / "series")
    np.savez(tmp_path / "few.npz", **arrays, **tested)
    assert resume_series(tmp_path / "series")["status"] == "finished"


def test_folds_of_which_one_could_not_be_validated_are_refused_before_the_first(tmp_path: Path) -> None:
    images = load_dataset("optdigits").train.images[:60, 0]
    for number, image in enumerate(images.numpy()):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    group = ["A"] * 12 + ["B"] * 12 + ["C"] * 36
    rows = [f"{number}.png,{number % 2},{group[number]}" for number in range(60)]
    (tmp_path / "list.csv").write_text("\n".join(["file_name,label,group", *rows]))
    config = short(tmp_path / "series", dataset=str(tmp_path / "list.csv"), limit=None)
    with pytest.raises(DataError, match=r"too few to set 0\.2 of each class aside for validation; give more groups"):
        train_series(config, folds=2)
    assert not (tmp_path / "series").exists()


def test_every_image_is_tested_in_one_fold(tmp_path: Path) -> None:
    pool = load_dataset("optdigits", fold=(1, 2))
    everything = len(pool.train) + len(pool.test)
    assert everything == 1797
    result = train_series(short(tmp_path / "series", limit=100), folds=2)
    assert [Path(run["run_dir"]).name for run in result["runs"]] == ["seed-5-fold-1", "seed-5-fold-2"]
    assert sum(run["test_images"] for run in result["runs"]) == everything
    assert result["test_accuracy"]["over"] == "images"


def test_weights_of_a_fold_are_evaluated_on_what_they_did_not_see(tmp_path: Path) -> None:
    for run in train_series(short(tmp_path / "series", limit=100), folds=2)["runs"]:
        metrics = load_setup(Path(run["weights"]), EvalRequest(), Engine.at()).evaluate().metrics
        assert (metrics.n, metrics.accuracy) == (run["test_images"], run["test_accuracy"])


def test_a_fold_of_other_images_is_no_test(tmp_path: Path) -> None:
    scans = load_dataset("optdigits").train
    for number in range(60):
        folder = tmp_path / "set" / str(int(scans.labels[number]) % 2)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scans.images[number, 0].numpy()).save(folder / f"{number}.png")
    settings = {"dataset": str(tmp_path / "set"), "image_size": 8, "limit": None}
    run = train_series(short(tmp_path / "series", **settings), folds=2)["runs"][0]

    class Messages(Reporter):
        said = ""

        def message(self, text: str) -> None:
            self.said += text

    request, messages = EvalRequest(dataset=str(tmp_path / "set")), Messages()
    assert len(load_setup(Path(run["weights"]), request, Engine.at(), reporter=messages).split) == 30
    assert "its test images are fold 1 of 2" in messages.said
    Image.fromarray(scans.images[60, 0].numpy()).save(tmp_path / "set" / "0" / "new.png")
    messages = Messages()
    assert len(load_setup(Path(run["weights"]), request, Engine.at(), reporter=messages).split) == 61
    assert "fold 1" not in messages.said
    assert "of these images were used to train" in messages.said


def test_what_a_promise_of_folds_rests_on_is_said_where_others_were_drawn_for_it(tmp_path: Path) -> None:
    scans, rows = load_dataset("optdigits").train, ["file_name,label,split"]
    for number in range(60):
        Image.fromarray(scans.images[number, 0].numpy()).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{int(scans.labels[number]) % 2},{'val' if number % 10 == 0 else 'train'}")
    (tmp_path / "list.csv").write_text("\n".join(rows), encoding="utf-8")

    class Messages(Reporter):
        said: ClassVar[list[str]] = []

        def message(self, text: str) -> None:
            self.said.append(text)

    settings = {"dataset": str(tmp_path / "list.csv"), "image_size": 8, "limit": None, "out": tmp_path / "series"}
    train_series(short(**settings), folds=2, reporter=Messages())
    assert sum("rests on their test images, not on its own 6 validation images" in line for line in Messages.said) == 1


def test_a_class_that_a_network_never_saw_has_no_suspects(tmp_path: Path) -> None:
    scans = load_dataset("optdigits").train
    rows = ["file_name,label,group"]
    for number in range(90):
        Image.fromarray(scans.images[number, 0].numpy()).save(tmp_path / f"{number}.png")
        label = int(scans.labels[number]) % 3
        rows.append(f"{number}.png,{label},{'one hand' if label == 2 else number % 6}")
    (tmp_path / "list.csv").write_text("\n".join(rows), encoding="utf-8")
    settings = {"dataset": str(tmp_path / "list.csv"), "image_size": 8, "limit": None, "out": tmp_path / "series"}

    class Messages(Reporter):
        said = ""

        def message(self, text: str) -> None:
            self.said += text

    messages = Messages()
    result = train_series(short(**settings), folds=3, reporter=messages)
    assert "groups stay together, so there are no training images of: 2." in messages.said
    assert "groups stay together, so there are no test images of: 2." in messages.said
    suspects = list(csv.DictReader((tmp_path / "series" / "suspects.csv").read_text().splitlines()))
    assert len(suspects) == result["suspects"] > 0
    assert {row["given"] for row in suspects} <= {"0", "1"}


def test_folds_are_apart_alike_and_the_same_every_time() -> None:
    parts = [load_dataset("optdigits", fold=(number, 5)) for number in range(1, 6)]
    seen = torch.cat([part.test.images.flatten(1) for part in parts])
    everything = load_dataset("optdigits")
    pool = torch.cat([everything.train.images, everything.test.images]).flatten(1)
    assert sorted(map(bytes, seen.numpy())) == sorted(map(bytes, pool.numpy()))
    for part in parts:
        assert (part.test.labels.bincount() - everything.train.labels.bincount() / 4).abs().max() <= 2
    assert torch.equal(parts[2].test.images, load_dataset("optdigits", fold=(3, 5)).test.images)


def test_folds_leave_the_test_images_of_a_data_set_out(shared_data: Path, tmp_path: Path) -> None:
    source = Source(data_dir=tmp_path, mirror=str(shared_data))
    part = load_dataset("fashion", source=source, fold=(2, 6))
    assert (len(part.train), len(part.test)) == (50_000, 10_000)
    own = load_dataset("fashion", source=source).test
    assert not torch.equal(part.test.images, own.images)


def test_too_many_folds_for_a_class_are_refused() -> None:
    with pytest.raises(DataError, match="class 8 has 174 images, too few to be cut into 200 folds; use at most 174"):
        load_dataset("optdigits", fold=(1, 200))


@pytest.mark.parametrize(
    ("settings", "series", "reason"),
    [
        ({"dataset": "nowhere/at/all"}, {"runs": 2}, "There is no data set 'nowhere/at/all'"),
        ({}, {"runs": 0}, "runs takes a whole number from 1 to 1000"),
        ({}, {"folds": 1}, "folds takes a whole number from 2 up"),
        ({"procs": 2, "arch": "lrnet"}, {"runs": 2}, "train in one process"),
    ],
)
def test_what_makes_no_series_is_refused(tmp_path: Path, settings: Any, series: Any, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        train_series(short(tmp_path / "series", **settings), **series)
    assert not (tmp_path / "series").exists()


def test_what_a_run_refuses_leaves_no_series_behind(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="use at most 174 folds"):
        train_series(short(tmp_path / "series"), folds=200)
    assert not (tmp_path / "series").exists()


def test_the_command_trains_compares_and_evaluates_a_series(lrnet: Callable[..., Any], tmp_path: Path) -> None:
    folder = tmp_path / "series"
    trained = lrnet(f"train --limit 60 --epochs 1 --seed 3 --runs 2 --keep-epochs --out {folder}")
    assert trained.exit_code == 0
    assert "95% interval over seeds" in trained.stdout
    assert [path.name for path in (folder / "seed-3" / "epochs").iterdir()] == ["001.safetensors"]
    with paths.replacing(folder / "suspects.csv") as temporary:
        pass
    temporary.touch()  # as a process that is killed before it leaves it
    again = lrnet(f"train --resume {folder} --json")
    assert not list(folder.glob("*.tmp"))
    document = json.loads(again.stdout)
    assert (document["schema"], len(document["runs"])) == ("lrnet.series/1", 2)
    assert lrnet(f"train --resume {folder} --epochs 3").exit_code == 2
    (row,) = json.loads(lrnet(f"compare {folder} --json").stdout)["rows"]
    assert (row["arch"], row["seeds"], row["parameters"]) == ("lrnet-short", [3, 4], 920_614)
    assert f"{folder}: the mean of 2 networks." in lrnet(f"eval --weights {folder}").stderr
    evaluated = lrnet(f"eval --weights {folder / 'seed-4'} --dataset optdigits --json")
    assert json.loads(evaluated.stdout)["accuracy"] == pytest.approx(document["runs"][1]["test_accuracy"])


def test_another_network_trains_and_evaluates_by_the_same_commands(lrnet: Callable[..., Any], tmp_path: Path) -> None:
    assert lrnet(f"train --limit 60 --epochs 1 --arch resnet50 --no-test --out {tmp_path / 'r'}").exit_code == 0
    evaluated = lrnet(f"eval --weights {tmp_path / 'r'} --limit 20 --json")
    assert json.loads(evaluated.stdout)["n"] == 20


def test_exchanged_labels_are_found_among_the_first_suspects(tmp_path: Path) -> None:
    """Exchange one label in fifty of real scans, and look among as many of the first suspects."""
    scans = load_dataset("optdigits").train
    random = np.random.default_rng(0)
    exchanged = set(random.permutation(700)[:14].tolist())
    for number in range(700):
        label = int(scans.labels[number])
        given = (label + 1 + int(random.integers(9))) % 10 if number in exchanged else label
        folder = tmp_path / "set" / str(given)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scans.images[number, 0].numpy()).save(folder / f"{number}.png")
    config = TrainConfig(
        dataset=str(tmp_path / "set"), arch="cnn", image_size=8, epochs=10, seed=0, out=tmp_path / "run"
    )
    result = train_series(config, folds=3)
    rows = list(csv.DictReader((tmp_path / "run" / "suspects.csv").read_text().splitlines()))
    assert result["suspects"] == len(rows)
    first = rows[:14]
    found = [row for row in first if int(Path(row["file"]).stem) in exchanged]
    assert len(found) >= 8
    assert sum(row["suggested"] == str(int(scans.labels[int(Path(row["file"]).stem)])) for row in found) >= 7
    assert [float(row["score"]) for row in rows] == sorted(float(row["score"]) for row in rows)
    page = (tmp_path / "run" / "suspects.html").read_text(encoding="utf-8")
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert sorted(data["folder"] + name for name in data["names"]) == sorted(row["file"] for row in rows)
    assert len(data["others"]) == 700 - len(rows)
    assert 'class="inputs"' in page


def test_images_without_files_are_named_by_their_place(tmp_path: Path) -> None:
    config = short(tmp_path / "run", limit=None)
    result = train_series(config, folds=2)
    rows = list(csv.DictReader((tmp_path / "run" / "suspects.csv").read_text().splitlines()))
    assert len(rows) == result["suspects"] > 0
    everything = load_dataset("optdigits")
    pool = everything.train.with_rows_of(everything.test)
    assert len(pool) == 1797
    assert all(row["file"].startswith("#") and 0 <= int(row["file"][1:]) < 1797 for row in rows)
