import csv
import json
import math
import os
import re
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from lrnet_cli import paths
from lrnet_cli.data.datasets import load_dataset
from lrnet_cli.errors import DataError, DeviceError, InterruptedRunError, TrainingError, UsageError
from lrnet_cli.evaluation.evaluate import evaluate
from lrnet_cli.models.engine import Engine, compiler_cache, matrix_product
from lrnet_cli.models.registry import summary_of
from lrnet_cli.processes import ALONE
from lrnet_cli.reporter import EpochRow, Reporter
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.settings.place import Place
from lrnet_cli.training import clock as clock_module
from lrnet_cli.training import compiling, keep, results, step
from lrnet_cli.training.clock import Clock
from lrnet_cli.training.keep import kept_of
from lrnet_cli.training.prepare import prepare
from lrnet_cli.training.step import Step
from lrnet_cli.training.train import train
from lrnet_cli.weights.file import load_weights


def short(tmp_path: Path, name: str = "run", **settings: Any) -> TrainConfig:
    return TrainConfig(**{"epochs": 1, "limit": 200, "seed": 5, "out": tmp_path / name} | settings)


def quick(tmp_path: Path, name: str = "run", **settings: Any) -> TrainConfig:
    """Give the settings of a run of the network that takes least time, where another would show no more."""
    return short(tmp_path, name, **{"arch": "cnn"} | settings)


def weights_of(result: dict[str, Any]) -> dict[str, torch.Tensor]:
    return load_file(result["weights"])


def test_four_epochs_on_the_embedded_set_learn_it(trained_run: Path) -> None:
    result = json.loads((trained_run / "result.json").read_text())
    assert result["test_accuracy"] >= 0.93
    assert result["test_accuracy_ci95"][0] < result["test_accuracy"] < result["test_accuracy_ci95"][1]


def test_the_run_folder_is_complete(trained_run: Path) -> None:
    names = ["README.md", "config.json", "curves.png", "metrics.csv", "model.safetensors", "result.json"]
    assert sorted(path.name for path in trained_run.iterdir()) == names
    rows = list(csv.DictReader((trained_run / "metrics.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert all(math.isfinite(float(value)) for row in rows for value in row.values())
    config = json.loads((trained_run / "config.json").read_text())
    assert (config["settings"]["seed"], config["settings"]["batch_size"]) == (1, 32)
    assert config["versions"]["torch"] == torch.__version__
    with Image.open(trained_run / "curves.png") as curves:
        assert curves.width > 800
    card = (trained_run / "README.md").read_text()
    assert "on 359 test images (95% interval" in card
    assert "- Seed: 1" in card


def test_the_weight_file_tells_where_it_comes_from(trained_run: Path) -> None:
    _, card = load_weights(trained_run / "model.safetensors")
    result = json.loads((trained_run / "result.json").read_text())
    assert card.metrics["test_accuracy"] == result["test_accuracy"]
    assert card.dataset["content_sha256"] == load_dataset("optdigits").content_sha256
    assert card.seed == 1


def test_the_stored_statistics_are_recomputed_and_evaluate_to_the_same_figure(trained_run: Path) -> None:
    model, card = load_weights(trained_run / "model.safetensors")
    result = json.loads((trained_run / "result.json").read_text())
    test = load_dataset("optdigits").test
    ready = Engine.at().place(model).eval()  # the training's own precision
    metrics = evaluate(ready, test, card).metrics
    assert metrics.accuracy == result["test_accuracy"]


def test_the_same_seed_gives_the_same_weights_and_another_gives_others(tmp_path: Path) -> None:
    first, second, third = (
        weights_of(train(short(tmp_path, name, seed=seed, limit=60))) for name, seed in (("a", 5), ("b", 5), ("c", 6))
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["out.weight"], third["out.weight"])


def test_a_seed_is_drawn_and_recorded_if_none_is_given(tmp_path: Path) -> None:
    result = train(quick(tmp_path, seed=None))
    assert result["seed"] == json.loads((tmp_path / "run" / "config.json").read_text())["settings"]["seed"]
    again = train(quick(tmp_path, "again", seed=result["seed"]))
    assert torch.equal(weights_of(result)["out.weight"], weights_of(again)["out.weight"])


def test_validation_images_are_cut_from_training_images_and_never_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, set[bytes]] = {"train": set(), "val": set()}
    as_input = step.as_input

    def spy(images: torch.Tensor) -> torch.Tensor:
        seen["train"].update(image.numpy().tobytes() for image in images)
        return as_input(images)

    def evaluate_spy(model: Any, split: Any, *rest: Any, **settings: Any) -> Any:
        seen.setdefault("evaluated", set()).update(image.numpy().tobytes() for image in split.images)
        return evaluate(model, split, *rest, **settings)

    monkeypatch.setattr(step, "as_input", spy)
    monkeypatch.setattr(keep, "evaluate", evaluate_spy)
    monkeypatch.setattr(results, "evaluate", evaluate_spy)
    train(quick(tmp_path))
    dataset = load_dataset("optdigits")
    everything = {image.numpy().tobytes() for image in dataset.train.images}
    test = {image.numpy().tobytes() for image in dataset.test.images}
    assert seen["train"] < everything
    assert seen["train"].isdisjoint(seen["evaluated"] - test)
    assert test < seen["evaluated"]


def row_of(epoch: int, accuracy: float) -> EpochRow:
    return EpochRow(epoch, 1.0, 0.5, 1.0, accuracy, 0.1)


def test_the_latest_epoch_within_one_standard_error_of_the_best_is_kept() -> None:
    rows = [row_of(1, 0.70), row_of(2, 0.80), row_of(3, 0.75), row_of(4, 0.77), row_of(5, 0.70)]
    assert kept_of(rows, 100).epoch == 4  # the error of 0.80 is 0.04
    assert kept_of(rows, 10_000).epoch == 2
    assert kept_of(rows, math.inf).epoch == 2
    # Weights are written as epochs end: what is kept after all of them was kept after its own.
    for images in (1, 50, 100, 400, 10_000):
        kept = kept_of(rows, images)
        assert kept_of(rows[: kept.epoch], images) is kept
    assert kept_of([], 100) is None


def test_what_costs_too_much_on_clean_images_is_not_kept() -> None:
    def robust(epoch: int, clean: float, altered: float) -> EpochRow:
        return replace(row_of(epoch, clean), val_score=(clean + altered) / 2)

    rows = [robust(1, 0.88, 0.4), robust(2, 0.90, 0.4), robust(3, 0.80, 0.8), robust(4, 0.892, 0.6)]
    assert kept_of(rows, 1000).epoch == 3
    assert kept_of(rows[:3], 1000, 0.01).epoch == 2
    assert kept_of(rows, 1000, 0.01).epoch == 4
    # Weights of epochs that were not kept are gone: one that is better now and was not then is no choice.
    rows += [robust(5, 0.895, 0.2), robust(6, 0.91, 0.3)]
    assert kept_of(rows, 1000, 0.01).epoch == 6
    for end in range(1, len(rows) + 1):
        kept = kept_of(rows[:end], 1000, 0.01)
        assert kept_of(rows[: kept.epoch], 1000, 0.01) is kept


def test_auto_says_what_robustness_cost(tmp_path: Path) -> None:
    class Messages(Reporter):
        said: ClassVar[list[str]] = []

        def message(self, text: str) -> None:
            self.said.append(text)

    result = train(quick(tmp_path, epochs=2, robust="auto", test=False), Messages())
    (said,) = [line for line in Messages.said if line.startswith("Robust: ")]
    assert f"epoch {result['best_epoch']} is kept, right on {result['val_accuracy']:.3f} of the validation" in said
    assert load_weights(Path(result["weights"]))[1].protocol["recipe"]["robust"] == 1
    assert "--robust auto" in (tmp_path / "run" / "README.md").read_text()


def test_another_network_is_kept_until_an_epoch_is_as_good() -> None:
    rows = [row_of(0, 0.80), row_of(1, 0.78)]
    assert kept_of(rows, 20).epoch == 0
    assert kept_of([*rows, row_of(2, 0.80)], 20).epoch == 2
    assert kept_of([*rows, row_of(2, 0.80), row_of(3, 0.79)], 20).epoch == 2


def test_what_the_kept_epoch_reached_is_reported(tmp_path: Path) -> None:
    class Rows(Reporter):
        def __init__(self) -> None:
            self.rows: list[EpochRow] = []
            self.marked: list[int] = []

        def epoch(self, row: EpochRow, is_kept: bool, images_per_second: float) -> None:
            self.rows.append(row)
            if is_kept:
                self.marked.append(row.epoch)

    reporter = Rows()
    result = train(quick(tmp_path, epochs=5, lr=0.02), reporter)
    _, card = load_weights(Path(result["weights"]))
    kept = kept_of(reporter.rows, card.dataset["val"])
    assert result["best_epoch"] == kept.epoch == reporter.marked[-1]
    assert card.metrics["val_accuracy"] == kept.val_accuracy


def test_patience_stops_early(tmp_path: Path) -> None:
    result = train(quick(tmp_path, epochs=50, lr=1e-12, patience=2, schedule="constant"))
    assert result["epochs"] <= 6


@pytest.mark.parametrize(("seconds", "drawn"), [(0.0, True), (3600.0, False)])
def test_a_long_run_draws_its_curves_before_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, drawn: bool
) -> None:
    monkeypatch.setattr(keep, "_CURVES_SECONDS", seconds)
    seen = []

    class Watch(Reporter):
        def epoch(self, row: EpochRow, is_kept: bool, images_per_second: float) -> None:
            seen.append((tmp_path / "run" / "curves.png").exists())

    train(quick(tmp_path, limit=60, test=False), Watch())
    assert seen == [drawn]
    assert (tmp_path / "run" / "curves.png").exists()


def test_stopping_keeps_the_best_weights_and_leaves_the_test_set_unread(tmp_path: Path) -> None:
    rows = tmp_path / "run" / "metrics.csv"

    def two_epochs_are_over() -> bool:
        return rows.exists() and len(rows.read_text().splitlines()) == 3

    result = train(quick(tmp_path, epochs=50), should_stop=two_epochs_are_over)
    assert (result["status"], result["epochs"], result["test_accuracy"]) == ("interrupted", 2, None)
    assert "The test images have not been read with these weights." in (tmp_path / "run" / "README.md").read_text()
    load_weights(tmp_path / "run" / "model.safetensors")
    assert paths.newest_run() == (tmp_path / "run").resolve()


def test_stopping_before_the_first_epoch_says_that_there_are_no_weights(tmp_path: Path) -> None:
    class Messages(Reporter):
        texts: list[str] = []  # noqa: RUF012 # of one run

        def message(self, text: str) -> None:
            self.texts.append(text)

    # A run of more steps than are needed for a result, so that it is the end of the time that could be reported.
    many_steps = quick(tmp_path, limit=None, batch_size=4)
    asked = iter([False] * 101)
    with pytest.raises(InterruptedRunError, match="no weights yet; resume with: lrnet train --resume"):
        train(many_steps, Messages(), should_stop=lambda: next(asked, True))
    assert not [text for text in Messages.texts if "The time ended" in text]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("precious.txt", "is not empty; choose another with --out, or continue a run with --resume"),
        ("my.2024.tmp", "is not empty"),
        ("config.json", "holds a run already; continue it with: lrnet train --resume"),
        ("series.json", "holds a run already"),
    ],
)
def test_a_run_folder_with_contents_is_refused_before_data_are_read(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).write_text("mine")
    np.savez(tmp_path / "damaged.npz", train_images=0)
    with pytest.raises(TrainingError, match=reason):
        train(short(tmp_path, dataset=str(tmp_path / "damaged.npz")))
    assert [path.name for path in (tmp_path / "run").iterdir()] == [name]


def test_a_run_that_cannot_begin_leaves_no_folder(tmp_path: Path) -> None:
    for settings in ({"class_weights": "balance"}, {"distill": ("digits",)}):
        with pytest.raises((UsageError, TrainingError)):
            train(short(tmp_path, **settings))
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="limits of resources")
def test_a_full_disk_as_a_run_with_skipped_images_begins_is_one_sentence(tmp_path: Path) -> None:
    import resource

    for number in range(400):
        path = tmp_path / "set" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), number % 256).save(path)
        if number > 380:
            path.write_bytes(b"damaged")
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1][1]))
        with pytest.raises(
            TrainingError, match=r"cannot be written \(File too large\)\. Free space or fix permissions"
        ):
            train(short(tmp_path, dataset=str(tmp_path / "set"), limit=None))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before[1])
        signal.signal(signal.SIGXFSZ, before[0])


def test_runs_without_a_name_get_one_each(isolated_user: Path) -> None:
    first, second = (train(TrainConfig(arch="cnn", epochs=1, limit=60, seed=0))["run_dir"] for _ in range(2))
    assert first != second
    assert Path(first).parent == Path("runs")


def test_a_loss_that_explodes_is_told(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"loss became (nan|inf) in epoch 1; try a lower --lr"):
        train(quick(tmp_path, lr=1e30, schedule="constant"))


def test_the_sigmoid_head_learns_and_gives_independent_probabilities(tmp_path: Path) -> None:
    result = train(quick(tmp_path, head="sigmoid", epochs=8, limit=600, optimizer="adamw", lr=3e-3))
    assert result["test_accuracy"] >= 0.8
    model, card = load_weights(Path(result["weights"]))
    assert card.head == "sigmoid"
    metrics = evaluate(model, load_dataset("optdigits").test, card)
    assert (metrics.probabilities.sum(1) - 1).abs().max() > 1e-3


def test_colour_class_folders_train(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name, colour in (("red", (200, 30, 30)), ("blue", (30, 30, 200))):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(30):
            pixels = np.clip(np.array(colour) + random.normal(0, 20, (12, 12, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / name / f"{number}.png")
    config = quick(tmp_path, dataset=str(tmp_path / "set"), channels=3, image_size=12, epochs=6, limit=None)
    assert train(config)["test_accuracy"] == 1.0


def test_an_own_validation_split_is_used(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    arrays = {}
    for name, count in (("train", 40), ("val", 10), ("test", 10)):
        arrays[f"{name}_labels"] = np.arange(count) % 2
        noise = random.integers(0, 60, (count, 9, 9))
        arrays[f"{name}_images"] = (noise + 150 * arrays[f"{name}_labels"][:, None, None]).astype(np.uint8)
    np.savez(tmp_path / "set.npz", **arrays)
    result = train(quick(tmp_path, dataset=str(tmp_path / "set.npz"), limit=None))
    _, card = load_weights(Path(result["weights"]))
    assert (card.dataset["train"], card.dataset["val"]) == (40, 10)
    assert "the data set's own" in (tmp_path / "run" / "README.md").read_text()


def test_too_few_images_for_a_validation_split_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"too few to set 0\.01 of each class aside"):
        train(short(tmp_path, limit=100, val_fraction=0.01))


def test_a_device_that_is_not_there_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA GPU")
    with pytest.raises(DeviceError):
        train(short(tmp_path, gpus=1))
    assert not (tmp_path / "run").exists()


class Told(Reporter):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def message(self, text: str) -> None:
        self.texts.append(text)


def test_without_a_test_the_test_images_stay_unread(tmp_path: Path) -> None:
    reporter = Told()
    result = train(quick(tmp_path, test=False), reporter)
    assert (result["status"], result["test_accuracy"], result["test_reads"]) == ("finished", None, 0)
    assert not any("Reading the" in text for text in reporter.texts)


@pytest.mark.slow
def test_a_run_ends_with_its_time_and_its_schedule_with_it(tmp_path: Path) -> None:
    result = train(quick(tmp_path, epochs=None, max_time=6.0))
    assert result["epochs"] >= 1
    assert result["status"] == "finished"
    assert 3 < result["seconds"] < 60  # a wide bound: a busy machine may be slow with the last validation
    rows = list(csv.DictReader((tmp_path / "run" / "metrics.csv").read_text().splitlines()))
    # The time may also run out while the last epoch is validated, a little before the schedule's end.
    assert float(rows[-1]["learning_rate"]) < TrainConfig().lr / 5


def test_a_run_with_time_and_epochs_ends_with_what_comes_first(tmp_path: Path) -> None:
    assert train(quick(tmp_path, max_time=3600.0))["epochs"] == 1


@pytest.mark.parametrize("failure", [RuntimeError("no C++ compiler\nat all"), FileNotFoundError("g++")])
def test_a_failing_compiler_is_told_in_one_line_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def broken(_network: Any) -> Any:
        def call(_images: Any) -> Any:
            raise failure

        return call

    eager = train(quick(tmp_path, "eager", compile="off"))
    monkeypatch.setattr(torch, "compile", broken)
    reporter = Told()
    result = train(quick(tmp_path, "broken", compile="on"), reporter)
    assert f"Training continues without compiling, which failed: {str(failure).splitlines()[0]}" in reporter.texts
    assert not result["compiled"]
    assert all(torch.equal(a, b) for a, b in zip(weights_of(eager).values(), weights_of(result).values(), strict=True))


def test_compiling_is_decided_by_what_is_left_and_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(torch, "compile", lambda network: calls.append("compiled") or network)
    short_run = train(short(tmp_path, "short", epochs=2, compile="auto"))
    assert (calls, short_run["compiled"]) == ([], False)
    monkeypatch.setattr(compiling, "_COMPILE_SECONDS", 0.0)
    monkeypatch.setattr(compiling, "_COMPILE_STEPS", 0)
    reporter = Told()
    long_run = train(short(tmp_path, "long", epochs=2, compile="auto"), reporter)
    assert (calls, long_run["compiled"]) == (["compiled"], True)
    assert any("of training left" in text for text in reporter.texts)
    # The stand-in computes as the eager network does, so a trace of the trial pass would show here.
    one, other = weights_of(short_run), weights_of(long_run)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_a_run_did_not_use_is_listed_and_counted(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for label in ("a", "b"):
        (tmp_path / "set" / label).mkdir(parents=True)
        (tmp_path / "set" / label / "notes.txt").write_text("x")
        for number in range(30):
            Image.fromarray(random.integers(0, 256, (8, 8), np.uint8)).save(tmp_path / "set" / label / f"{number}.png")
    (tmp_path / "set" / "b" / "5.png").write_bytes(b"")
    result = train(quick(tmp_path, dataset=str(tmp_path / "set"), image_size=8, limit=None))
    assert (result["skipped"], result["left_out"]) == (1, {".txt files": 2})
    rows = list(csv.reader((tmp_path / "run" / "skipped.csv").read_text().splitlines()))
    assert rows == [["path", "class", "reason"], [str(tmp_path / "set" / "b" / "5.png"), "b", "is empty"]]
    card = (tmp_path / "run" / "README.md").read_text()
    assert "- Not used: 1 image that cannot be read, 2 .txt files" in card
    with pytest.raises(DataError, match=r"5\.png: is empty; fix or remove it"):
        train(TrainConfig(dataset=str(tmp_path / "set"), image_size=8, on_error="stop", out=tmp_path / "other"))


def test_a_time_that_ends_in_the_first_epoch_gives_a_result_after_enough_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Clock, "elapsed", property(lambda self: self._run.state.steps_taken / 100))
    monkeypatch.setattr(clock_module, "_PREDICTION_MARGIN", 0.0)  # nothing is reserved for the test
    for seconds, status in ((0.9, "unfinished"), (1.5, "finished")):
        reporter = Told()
        settings = {"epochs": None, "limit": None, "max_time": seconds, "batch_size": 4}
        result = train(quick(tmp_path, status, **settings), reporter)
        assert (result["status"], result["test_reads"]) == (status, int(status == "finished"))
        told = [
            text for text in reporter.texts if re.fullmatch(r".* first epoch: \d\d% of the training .* seen\.", text)
        ]
        assert len(told) == int(status == "finished")


def test_the_time_of_validation_and_test_is_measured_before_the_first_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[float] = []
    note = Clock.note_validation
    monkeypatch.setattr(Clock, "note_validation", lambda self, speed: (noted.append(speed), note(self, speed))[1])
    train(quick(tmp_path, "timed", epochs=1, max_time=3600.0))
    assert len(noted) == 2  # of a few images, and of the validation
    assert min(noted) > 0
    train(quick(tmp_path, "untimed", epochs=1))
    assert len(noted) == 3


def test_a_time_that_ends_in_the_first_epoch_gives_no_result(lrnet: Any, tmp_path: Path) -> None:
    shown = lrnet("train", "--max-time", "0.1s", "--batch-size", 2, "--seed", 0, "--out", tmp_path / "run")
    assert shown.exit_code == 1
    assert "Unfinished: the time ended in the first epoch" in shown.stdout
    assert "Test accuracy" not in shown.stdout
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["status"], result["test_accuracy"], result["test_reads"]) == ("unfinished", None, 0)
    again = lrnet("train", "--out", tmp_path / "run")
    assert again.exit_code == 2
    assert f"continue it with: lrnet train --resume {tmp_path / 'run'}" in again.stderr


@pytest.mark.parametrize(
    ("epochs", "max_time", "pace", "left"),
    [(12, None, 0.0, 11.5), (None, 100.0, 0.0, 0.0), (None, 100.0, 0.5, 12.0), (12, 100.0, 5.0, 1.2)],
)
def test_the_epochs_left_follow_the_present_pace_where_a_time_ends_the_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    epochs: int | None,
    max_time: float | None,
    pace: float,
    left: float,
) -> None:
    words = {"arch": "lrnet", "passes": 1, "seed": 0, "limit": 200, "batch_size": 16}
    config = TrainConfig(epochs=epochs, max_time=max_time, out=tmp_path / "run", **words)
    run = prepare(config, None, Engine.at(Place(device="cpu", precision="fp32")), ALONE, Reporter())
    monkeypatch.setattr(Clock, "elapsed", 40.0)
    run.state.steps_taken = run.steps_per_epoch // 2
    clock = Clock(run, 0, lambda: False, 0.0)
    clock.pace = pace
    clock.look()
    assert (run.steps_per_epoch, clock.epochs_left) == (10, pytest.approx(left))
    assert clock.seconds_left == pytest.approx(left * 10 * pace)


def test_the_epochs_left_leave_time_for_the_validations_between_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainConfig(
        arch="lrnet", passes=1, max_time=100.0, test=False, seed=0, limit=200, batch_size=16, out=tmp_path / "run"
    )
    run = prepare(config, None, Engine.at(Place(device="cpu", precision="fp32")), ALONE, Reporter())
    clock = Clock(run, 10, lambda: False, 0.0)
    clock.pace = 1.0  # so ten seconds per epoch
    monkeypatch.setattr(clock_module, "_PREDICTION_MARGIN", 1.0)
    between = 4 * 10 + len(run.val_split)
    clock.note_validation(between / 2.0)  # two seconds of validation
    known = min(len(run.train_split), 2000)
    after = (between + known + len(run.val_split)) / (between / 2.0)  # seconds
    for elapsed, left in ((100 - after - 5, 0.5), (100 - after - 10, 1.0), (100 - after - 34, 3.0)):
        monkeypatch.setattr(Clock, "elapsed", elapsed)
        clock.look()
        assert clock.epochs_left == pytest.approx(left)


def test_the_pace_of_epochs_with_one_step_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainConfig(epochs=9, seed=0, limit=200, batch_size=128, out=tmp_path / "run")
    run = prepare(config, None, Engine.at(Place(device="cpu", precision="fp32")), ALONE, Reporter())
    assert run.steps_per_epoch == 1
    now = 0.0
    monkeypatch.setattr(clock_module.time, "perf_counter", lambda: now)
    clock = Clock(run, 0, lambda: False, 0.0)
    for _ in range(3):
        now += 7.0  # a validation
        with clock.timing_steps():
            now += 2.0
            clock.tick()
            with clock.paused():
                now += 5.0
    assert clock.pace == 2.0
    assert run.state.seconds == 6.0


@pytest.mark.parametrize(
    ("max_time", "pace", "left", "kept", "pays"),
    [
        (None, 0.1, 210, False, True),
        (None, 0.1, 190, False, False),
        (None, 0.1, 70, True, True),
        (180, 0.1, 170, False, False),
        (180, 0.1, 170, True, True),
        (250, 0.1, 230, False, False),
        (600, 0.1, 590, False, True),
        (900, 4, 890, False, False),
    ],
)
def test_compiling_pays_by_the_pace_of_this_run_and_by_what_the_cache_has_kept(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    max_time: float | None,
    pace: float,
    left: float,
    kept: bool,
    pays: bool,
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    end = {"epochs": None if max_time else 1, "max_time": max_time}
    config = TrainConfig(arch="lrnet", seed=0, limit=200, out=tmp_path / "run", **end)
    run = prepare(config, None, Engine.at(Place(device="cpu", precision="bf16")), ALONE, Reporter())
    run.state.steps_taken = 10
    if kept:
        compiling._mark_of(run).touch()
    clock = Clock(run, 0, lambda: False, 0.0)
    clock.pace = pace
    monkeypatch.setattr(Clock, "seconds_left", left)
    monkeypatch.setattr(compiling, "matrix_product", lambda *_: (lambda: None, 10**12))  # in no time
    compiled: list[bool] = []
    monkeypatch.setattr(compiling, "_compile", lambda *_: compiled.append(True))
    compiling.compile_if_it_pays(run, Step(run), clock)
    assert (run.state.compiled, bool(compiled)) == (pays, pays)


def test_a_cache_that_cannot_be_asked_has_kept_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainConfig(epochs=1, seed=0, limit=200, out=tmp_path / "run")
    run = prepare(config, None, Engine.at(Place(device="cpu", precision="bf16")), ALONE, Reporter())
    (tmp_path / "file").touch()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "file" / "cache"))
    assert not compiling._is_kept(run)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    compiling._mark_of(run).touch()
    assert compiling._is_kept(run)
    assert not compiling._is_kept(replace(run, config=replace(config, normalize="ground")))


def test_compiled_code_is_kept_in_the_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")  # so that it is as before in the end
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    monkeypatch.setenv("LRNET_DATA_DIR", str(tmp_path))
    assert compiler_cache() == tmp_path / "compiled" == Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    assert (tmp_path / "compiled").is_dir()


def test_a_timed_matrix_product_leaves_the_random_numbers_as_they_are() -> None:
    before = torch.get_rng_state()
    matrix_product("bf16", torch.device("cpu"))
    assert torch.equal(torch.get_rng_state(), before)


def test_compiling_saves_less_where_a_step_is_busy_multiplying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainConfig(epochs=1, seed=0, limit=200, batch_size=16, out=tmp_path / "run")
    run = prepare(config, None, Engine.at(Place(device="cpu", precision="bf16")), ALONE, Reporter())
    step_operations = 6 * 16 * summary_of("lrnet", **run.card.arch_args).multiply_adds
    monkeypatch.setattr(compiling, "matrix_product", lambda *_: (lambda: time.sleep(0.05), step_operations))
    by_pace = {pace: compiling._saved_share(run, pace) for pace in (0.05, 0.12, 100.0)}
    assert by_pace[0.05] == 0
    assert 0 < by_pace[0.12] < 0.24
    assert by_pace[100.0] == pytest.approx(0.45, abs=0.01)
