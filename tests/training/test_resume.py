import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lrnet_cli.errors import InterruptedRunError, TrainingError, UsageError
from lrnet_cli.reporter import Reporter
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.training import clock, keep
from lrnet_cli.training.checkpoint import save_checkpoint
from lrnet_cli.training.optimizers import learning_rate
from lrnet_cli.training.train import resume, train
from lrnet_cli.weights.file import load_weights

Stopping = Callable[[int], tuple[Reporter, Callable[[], bool]]]


class Messages(Reporter):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def message(self, text: str) -> None:
        self.texts.append(text)

    @property
    def text(self) -> str:
        return "\n".join(self.texts)


def config(out: Path, **settings: Any) -> TrainConfig:
    usual = {"epochs": 3, "limit": 200, "seed": 11, "keep_checkpoint": True, "out": out}
    return TrainConfig(**usual | settings)


def assert_same_outcome(one: Path, other: Path) -> None:
    """Two runs must agree bit for bit in weights, weight file, metrics and final checkpoint."""
    assert (one / "metrics.csv").read_bytes() == (other / "metrics.csv").read_bytes()
    first, second = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert load_weights(one / "model.safetensors")[1] == load_weights(other / "model.safetensors")[1]
    first, second = (load_file(run / "checkpoint" / "latest.safetensors") for run in (one, other))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def quick(out: Path, **settings: Any) -> TrainConfig:
    """Give the settings of a run of the network that takes least time, where another would show no more."""
    return config(out, **{"arch": "cnn"} | settings)


@pytest.fixture(scope="session")
def uninterrupted(finished_run: Callable[..., Path]) -> Path:
    return finished_run("uninterrupted", epochs=3, limit=200, seed=11, keep_checkpoint=True)


@pytest.fixture(scope="session")
def quick_uninterrupted(finished_run: Callable[..., Path]) -> Path:
    return finished_run("quick", arch="cnn", epochs=3, limit=200, seed=11, keep_checkpoint=True)


@pytest.fixture(scope="session")
def stopped_once(tmp_path_factory: pytest.TempPathFactory, stop_after: Stopping) -> Path:
    """Give the folder of a quick run that was stopped in its third epoch; tests copy it."""
    reporter, should_stop = stop_after(25)
    run = tmp_path_factory.mktemp("stopped") / "run"
    train(quick(run), reporter, should_stop)
    return run


@pytest.fixture
def stopped(stopped_once: Path, tmp_path: Path) -> Path:
    """Give a copy of the folder of a run that was stopped in its third epoch."""
    return shutil.copytree(stopped_once, tmp_path / "run")


@pytest.mark.parametrize("steps", [1, 10, 25])
def test_a_stopped_and_resumed_run_equals_the_uninterrupted_one(
    uninterrupted: Path, tmp_path: Path, steps: int, stop_after: Stopping
) -> None:
    # 160 images in batches of 16: 10 steps an epoch.
    reporter, should_stop = stop_after(steps)
    try:
        assert train(config(tmp_path / "run"), reporter, should_stop)["status"] == "interrupted"
    except InterruptedRunError as error:
        assert steps <= 10
        assert f"lrnet train --resume {tmp_path / 'run'}" in str(error)
    result = resume(tmp_path / "run")
    assert result["status"] == "finished"
    assert result["test_accuracy"] == json.loads((uninterrupted / "result.json").read_text())["test_accuracy"]
    assert_same_outcome(uninterrupted, tmp_path / "run")


def test_stopping_again_and_again_changes_nothing(
    quick_uninterrupted: Path, tmp_path: Path, stop_after: Stopping
) -> None:
    for steps in (5, 9, 4, 10):
        reporter, should_stop = stop_after(steps)
        try:
            if (tmp_path / "run").exists():
                resume(tmp_path / "run", reporter=reporter, should_stop=should_stop)
            else:
                train(quick(tmp_path / "run"), reporter, should_stop)
        except InterruptedRunError:
            continue
    resume(tmp_path / "run")
    assert_same_outcome(quick_uninterrupted, tmp_path / "run")


def test_a_run_stopped_in_its_second_stage_goes_on_taught_by_its_first(tmp_path: Path, stop_after: Stopping) -> None:
    def in_stages(run: str) -> TrainConfig:
        return quick(tmp_path / run, epochs=4, robust=1.0, arch="resnet-small")

    train(in_stages("whole"))
    reporter, should_stop = stop_after(25)
    assert train(in_stages("run"), reporter, should_stop)["status"] == "interrupted"
    assert "taught" in load_file(tmp_path / "run" / "checkpoint" / "latest.safetensors")
    resume(tmp_path / "run")
    assert_same_outcome(tmp_path / "whole", tmp_path / "run")


def test_a_finished_run_gives_its_result_and_reads_no_test_set_again(uninterrupted: Path) -> None:
    messages = Messages()
    before = (uninterrupted / "model.safetensors").read_bytes()
    result = resume(uninterrupted, reporter=messages)
    assert result["test_reads"] == 1
    assert "is already finished; raise --epochs or --max-time to continue" in messages.text
    assert (uninterrupted / "model.safetensors").read_bytes() == before


def test_what_a_finished_run_without_a_checkpoint_advises_works(tmp_path: Path, lrnet: Callable[..., Any]) -> None:
    train(quick(tmp_path / "it's", epochs=1, keep_checkpoint=False))
    told = lrnet("train", "--resume", tmp_path / "it's").stderr
    options = re.findall(r"to train on, start a new run from its weights with (--init .* --seed 11)\.", told)[0]
    assert lrnet(f"train {options} --arch cnn --epochs 1 --limit 200 --no-test --out {tmp_path / 'new'}").exit_code == 0


def test_epochs_may_be_raised_but_not_lowered(tmp_path: Path) -> None:
    train(quick(tmp_path / "run", epochs=1))
    with pytest.raises(UsageError, match="The run has epochs 1; resuming may raise that, not lower it"):
        resume(tmp_path / "run", {"epochs": 0})
    result = resume(tmp_path / "run", {"epochs": 2})
    assert (result["epochs"], result["test_reads"]) == (2, 2)
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "1", "2"]


@pytest.mark.parametrize("damage", [lambda content: content[:-50], lambda content: b"", lambda content: b"x" * 1000])
def test_a_damaged_checkpoint_is_told_and_the_one_before_is_used(
    quick_uninterrupted: Path, stopped: Path, damage: Any
) -> None:
    latest = stopped / "checkpoint" / "latest.safetensors"
    latest.write_bytes(damage(latest.read_bytes()))
    messages = Messages()
    resume(stopped, reporter=messages)
    assert "latest.safetensors: the checkpoint is damaged" in messages.text
    assert_same_outcome(quick_uninterrupted, stopped)


@pytest.mark.parametrize("epoch", [2, 3])
def test_a_run_that_is_stopped_after_the_last_step_of_an_epoch_ends_that(
    quick_uninterrupted: Path, tmp_path: Path, epoch: int
) -> None:
    class Last(Reporter):
        stopped = False

        def step(self, number: int, done: int, total: int) -> None:
            self.stopped |= (number, done) == (epoch, total)

    reporter = Last()
    assert train(quick(tmp_path / "run"), reporter, lambda: reporter.stopped)["epochs"] == epoch - 1
    assert resume(tmp_path / "run")["epochs"] == 3
    assert_same_outcome(quick_uninterrupted, tmp_path / "run")


def test_weights_are_never_newer_than_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: Stopping
) -> None:
    saved = []

    def killed(*arguments: Any) -> None:
        saved.append(arguments)
        if len(saved) == 3:
            raise ZeroDivisionError
        save_checkpoint(*arguments)

    monkeypatch.setattr(keep, "save_checkpoint", killed)
    with pytest.raises(ZeroDivisionError):
        train(quick(tmp_path / "run"))
    monkeypatch.undo()
    assert (tmp_path / "run" / "model.next.safetensors").exists()
    result = resume(tmp_path / "run", None, *stop_after(0))
    assert load_weights(tmp_path / "run" / "model.safetensors")[1].metrics["best_epoch"] == result["best_epoch"]
    assert result["best_epoch"] <= 2
    assert not (tmp_path / "run" / "model.next.safetensors").exists()
    assert resume(tmp_path / "run")["status"] == "finished"


def test_a_run_without_a_whole_checkpoint_cannot_go_on(stopped: Path) -> None:
    for path in (stopped / "checkpoint").glob("*.safetensors"):
        path.write_bytes(b"damage")
    with pytest.raises(TrainingError, match="No complete checkpoint is left"):
        resume(stopped)


def test_other_data_under_the_same_run_are_refused(stopped: Path) -> None:
    path = stopped / "config.json"
    content = json.loads(path.read_text())
    content["settings"]["image_size"] = 9
    path.write_text(json.dumps(content))
    with pytest.raises(TrainingError, match="the data have changed since the run began"):
        resume(stopped)


def test_other_versions_are_told(tmp_path: Path, stop_after: Stopping) -> None:
    reporter, should_stop = stop_after(12)
    train(quick(tmp_path / "run", epochs=2), reporter, should_stop)
    path = tmp_path / "run" / "config.json"
    content = json.loads(path.read_text())
    content["versions"]["torch"] = "1.0"
    path.write_text(json.dumps(content))
    messages = Messages()
    resume(tmp_path / "run", reporter=messages)
    assert "torch 1.0 then" in messages.text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        ("{", "is damaged"),
        ('{"schema": "lrnet.config/9"}', "another version"),
        ('{"schema": "lrnet.config/1", "settings": {"speed": 1}, "versions": {}}', "is damaged"),
    ],
)
def test_a_folder_that_holds_no_run_is_refused(tmp_path: Path, content: str | None, reason: str) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    (tmp_path / "mine.1.tmp").write_text("of somebody else")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(TrainingError, match=rf"config\.json: .*{reason}"):
        resume(tmp_path)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("small_disk", ["20m"], indirect=True)
def test_a_full_disk_loses_nothing(uninterrupted: Path, small_disk: Path) -> None:
    with pytest.raises(TrainingError, match=r"cannot be written \(No space left on device\).*--resume"):
        train(config(small_disk / "run"))
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    resume(small_disk / "run")
    assert_same_outcome(uninterrupted, small_disk / "run")


def test_a_checkpoint_is_written_within_an_epoch_when_time_has_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "CHECKPOINT_SECONDS", 0.0)
    seen = []

    class Watch(Reporter):
        def step(self, epoch: int, done: int, total: int) -> None:
            seen.append((tmp_path / "run" / "checkpoint" / "latest.safetensors").exists())

    train(quick(tmp_path / "run", epochs=1), Watch())
    assert seen[:3] == [False, True, True]


def test_a_longer_run_with_nothing_left_to_train_reads_no_test_set_again(tmp_path: Path) -> None:
    settings = {"epochs": 50, "lr": 1e-12, "patience": 2, "schedule": "constant"}
    result = train(quick(tmp_path / "run", **settings))
    messages = Messages()
    assert resume(tmp_path / "run", {"epochs": 60}, messages) == result
    assert "the test images are not read again" in messages.text
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == result


def test_a_run_killed_after_its_patience_was_over_does_not_train_on(tmp_path: Path) -> None:
    settings = {"epochs": 50, "lr": 1e-12, "patience": 2, "schedule": "constant"}
    result = train(quick(tmp_path / "run", **settings))
    (tmp_path / "run" / "result.json").unlink()  # as if the kill had come while the test images were read
    again = resume(tmp_path / "run")
    assert (again["epochs"], again["test_accuracy"]) == (result["epochs"], result["test_accuracy"])


def test_the_learning_rate_rises_and_falls_once() -> None:
    settings = TrainConfig(lr=1.0)
    rates = [learning_rate(settings, step / 100) for step in range(100)]
    top = rates.index(max(rates))
    assert (top, rates[top], rates[0]) == (30, 1.0, pytest.approx(1 / 25))
    assert rates == sorted(rates[:top]) + sorted(rates[top:], reverse=True)
    assert rates[-1] < 0.002
    assert learning_rate(TrainConfig(lr=0.1, schedule="constant"), 0.9) == 0.1
    in_stages = [learning_rate(TrainConfig(lr=1.0, robust=0.5), step / 200) for step in range(200)]
    assert in_stages == [pytest.approx(rate) for rate in [*rates, *rates]]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["muon", "adamw", "adam"])
def test_a_compiled_run_of_every_optimizer_goes_on_as_if_never_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str, stop_after: Stopping
) -> None:
    # PyTorch's compiler for real, but for the C++ that it writes: that takes minutes and is tested below.
    traced = []
    compile_ = torch.compile

    def backend(graph: Any, inputs: Any) -> Any:
        traced.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", lambda network: compile_(network, backend=backend))
    settings: dict[str, Any] = {"optimizer": optimizer, "compile": "on", "limit": 100, "epochs": 2}
    reporter, should_stop = stop_after(7)
    for number, run in enumerate(
        (
            lambda: train(quick(tmp_path / "whole", **settings)),
            lambda: train(quick(tmp_path / "run", **settings), reporter, should_stop),
            lambda: resume(tmp_path / "run"),
        ),
        1,
    ):
        torch._dynamo.reset()  # as in a process of its own
        assert run()["compiled"]
        assert len(traced) == number
    assert_same_outcome(tmp_path / "whole", tmp_path / "run")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling for a CPU needs g++")
@pytest.mark.timeout(900)
def test_a_really_compiled_run_learns_and_goes_on_as_if_never_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], stop_after: Stopping
) -> None:
    monkeypatch.setattr(torch._dynamo.config, "error_on_recompile", True)  # once is enough
    torch._dynamo.reset()  # what other tests of this process compiled would make it compile again
    settings: dict[str, Any] = {"compile": "on", "epochs": 2, "precision": "fp32"}
    messages = Messages()
    result = train(quick(tmp_path / "whole", **settings), messages)
    assert result["compiled"], messages.text
    assert "Compiled in" in messages.text
    reporter, should_stop = stop_after(15)
    train(quick(tmp_path / "run", **settings), reporter, should_stop)
    torch._dynamo.reset()  # as in a process of its own
    messages = Messages()
    resume(tmp_path / "run", reporter=messages)
    assert "s, with code that PyTorch's cache had kept." in messages.text
    assert_same_outcome(tmp_path / "whole", tmp_path / "run")
    assert capfd.readouterr().err == ""  # torch says nothing of its own


@pytest.mark.slow
def test_a_run_with_a_time_budget_goes_on_with_what_is_left_of_it(tmp_path: Path, stop_after: Stopping) -> None:
    reporter, should_stop = stop_after(25)
    train(quick(tmp_path / "run", epochs=None, passes=1, max_time=8.0), reporter, should_stop)
    result = resume(tmp_path / "run")
    assert result["status"] == "finished"
    assert result["seconds"] < 60
    longer = resume(tmp_path / "run", {"max_time": result["seconds"] + 3.0})
    assert longer["epochs"] > result["epochs"]


@pytest.mark.parametrize("bit", [0, 6])
def test_a_flipped_bit_in_a_checkpoint_is_noticed(quick_uninterrupted: Path, stopped: Path, bit: int) -> None:
    path = stopped / "checkpoint" / "latest.safetensors"
    content = bytearray(path.read_bytes())
    content[-4000] ^= 1 << bit  # in a tensor
    path.write_bytes(content)
    messages = Messages()
    resume(stopped, reporter=messages)
    assert "its content is not what was written" in messages.text
    assert "trying the previous one" in messages.text
    assert_same_outcome(quick_uninterrupted, stopped)


def without(name: str) -> Callable[[dict[str, Any], dict[str, str]], None]:
    return lambda tensors, _: tensors.pop(name)


def with_position(**changed: Any) -> Callable[[dict[str, Any], dict[str, str]], None]:
    def change(_: dict[str, Any], metadata: dict[str, str]) -> None:
        metadata["position"] = json.dumps(json.loads(metadata["position"]) | changed)

    return change


@pytest.mark.parametrize(
    "change",
    [
        without("sums"),
        without("model.hidden.weight"),
        without("average.hidden.weight"),
        without("random.cpu"),
        lambda tensors, _: tensors.update({"model.hidden.weight": torch.zeros(3)}),
        lambda tensors, _: tensors.update({"model.other": torch.zeros(3)}),
        lambda tensors, _: tensors.update({"optimizer.0.many.name": torch.zeros(3)}),
        lambda tensors, _: tensors.update({"optimizer.0.9999.name": torch.zeros(3)}),
        lambda tensors, _: tensors.update({"random.cpu": torch.zeros(3)}),
        with_position(epoch="3"),
        with_position(epoch=0),
        with_position(seconds=-1.0),
        with_position(rows=[{"epoch": 1}]),
        with_position(rows=5),
        lambda _, metadata: metadata.update(position="[]"),
        lambda _, metadata: metadata.update(position="[" * 100_000),
        lambda _, metadata: metadata.pop("position"),
    ],
)
def test_a_checkpoint_with_a_part_that_does_not_fit_gives_way_to_the_one_before(
    quick_uninterrupted: Path, stopped: Path, change: Callable[[dict[str, Any], dict[str, str]], None]
) -> None:
    path = stopped / "checkpoint" / "latest.safetensors"
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    del metadata["digest"]  # as if another program had written it
    change(tensors, metadata)
    save_file(tensors, path, metadata)
    messages = Messages()
    resume(stopped, reporter=messages)
    assert "latest.safetensors: the checkpoint is damaged (" in messages.text
    assert_same_outcome(quick_uninterrupted, stopped)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are a Unix thing")
def test_a_pipe_in_the_place_of_a_checkpoint_is_not_opened(quick_uninterrupted: Path, stopped: Path) -> None:
    path = stopped / "checkpoint" / "latest.safetensors"
    path.unlink()
    os.mkfifo(path)
    messages = Messages()
    resume(stopped, reporter=messages)
    assert "latest.safetensors: the checkpoint is damaged (" in messages.text
    assert_same_outcome(quick_uninterrupted, stopped)


def test_what_a_killed_process_left_half_written_is_deleted(stopped: Path) -> None:
    leftovers = [stopped / "model.safetensors.a_1.lrnet.tmp", stopped / "checkpoint" / "latest.safetensors.9.lrnet.tmp"]
    mine = stopped / "my.2024.tmp"
    for path in (*leftovers, mine):
        path.write_bytes(b"half")
    resume(stopped, should_stop=lambda: True)
    assert not any(path.exists() for path in leftovers)
    assert mine.exists()


def test_a_finished_run_keeps_no_checkpoints_unless_asked_for(tmp_path: Path) -> None:
    train(quick(tmp_path / "run", epochs=1, limit=100, keep_checkpoint=False))
    assert not (tmp_path / "run" / "checkpoint").exists()
    with pytest.raises(TrainingError, match="kept no checkpoint to continue from; start a new run"):
        resume(tmp_path / "run", {"epochs": 2})
    (tmp_path / "run" / "checkpoint").mkdir(exist_ok=True)
    (tmp_path / "run" / "checkpoint" / "previous.safetensors").touch()  # of a process that was killed as it ended
    resume(tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoint").exists()


@pytest.mark.parametrize("name", ["checkpoint", "checkpoint/.lock"])
def test_a_link_in_the_place_of_the_lock_is_refused_and_not_followed(stopped: Path, tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    if name == "checkpoint":
        shutil.move(stopped / name, victim)
    else:
        (stopped / name).unlink(missing_ok=True)
        victim.write_text("precious")
    (stopped / name).symlink_to(victim)
    with pytest.raises(TrainingError, match=f"{name}: is a link to somewhere else; delete it"):
        resume(stopped)
    assert victim.is_dir() or victim.read_text() == "precious"


def test_a_checkpoint_without_steps_of_its_own_still_has_a_result(stopped: Path) -> None:
    path = stopped / "checkpoint" / "latest.safetensors"
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    del metadata["digest"]
    with_position(epoch=999, seconds=0.0)({}, metadata)
    save_file(load_file(path), path, metadata)
    assert resume(stopped)["status"] == "finished"


def test_a_file_system_without_locks_is_told(stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: Any, **__: Any) -> None:
        raise NotImplementedError

    monkeypatch.setattr(FileLock, "acquire", unsupported)
    messages = Messages()
    assert resume(stopped, reporter=messages, should_stop=lambda: True)["status"] == "interrupted"
    assert "this file system has no locks" in messages.text


@pytest.mark.slow
def test_of_two_processes_that_resume_a_run_the_second_is_told(
    tmp_path: Path, stop_after: Stopping, lrnet: Callable[..., Any]
) -> None:
    reporter, should_stop = stop_after(12)
    train(quick(tmp_path / "run", epochs=5000), reporter, should_stop)
    command = [sys.executable, "-P", "-m", "lrnet_cli", "train", "--resume", str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as first:
        assert first.stderr is not None
        while "Resuming" not in first.stderr.readline():
            pass
        second = lrnet("train", "--resume", tmp_path / "run")
        assert second.exit_code == 1
        assert "another process is at work on this run" in second.stderr
        first.kill()  # the lock goes with it
    assert resume(tmp_path / "run", should_stop=lambda: True)["status"] == "interrupted"
