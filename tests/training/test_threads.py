import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lrnet_cli.errors import UsageError
from lrnet_cli.reporter import Reporter
from lrnet_cli.runs.folder import read_result
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.settings.units import as_text, thread_counts
from lrnet_cli.threads import ForeignLoad, fix_threads, own_cores
from lrnet_cli.training import threads
from lrnet_cli.training.step import Step
from lrnet_cli.training.train import resume, train

pytestmark = pytest.mark.usefixtures("free_threads")


def config(out: Path, **settings: Any) -> TrainConfig:
    return TrainConfig(**{"epochs": 2, "limit": 200, "seed": 11, "keep_checkpoint": True, "out": out} | settings)


def assert_same_weights(one: Path, other: Path) -> None:
    assert (one / "metrics.csv").read_bytes() == (other / "metrics.csv").read_bytes()
    for file in ("model.safetensors", "checkpoint/latest.safetensors"):
        first, second = load_file(one / file), load_file(other / file)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first), file


def test_a_schedule_reads_as_it_is_written() -> None:
    assert thread_counts("2") == ((0, 2),)
    assert thread_counts("1,57:2,80:1") == ((0, 1), (57, 2), (80, 1))
    assert as_text([(0, 1), (57, 2)]) == "1,57:2"


@pytest.mark.parametrize("text", ["", "0", "two", "1,2", "1,57:0", "1,57:2,57:1", "1,0:2", "-1", "1,5:2,3:1"])
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="threads takes a whole number"):
        thread_counts(text)


def test_recorded_threads_are_repeated_by_a_resumed_run(tmp_path: Path, stop_after: Any) -> None:
    counts = "1,7:2,15:1"
    train(config(tmp_path / "whole", threads=counts))
    reporter, should_stop = stop_after(12)
    train(config(tmp_path / "stopped", threads=counts), reporter, should_stop)
    assert resume(tmp_path / "stopped")["threads"] == counts
    assert_same_weights(tmp_path / "whole", tmp_path / "stopped")


def test_a_run_without_threads_given_goes_on_with_those_of_its_checkpoint(
    tmp_path: Path, stop_after: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fix_threads(None)
    reporter, should_stop = stop_after(15)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        train(config(tmp_path / "run"), reporter, should_stop)
    shutil.copytree(tmp_path / "run", tmp_path / "fixed")
    assert resume(tmp_path / "run")["threads"].startswith("1")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert resume(tmp_path / "fixed")["threads"] == "1,15:2"


def test_deterministic_runs_do_not_choose_by_timing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Step, "rehearse", lambda self, images: pytest.fail("timed"))
    torch.set_num_threads(2)
    try:
        result = train(config(tmp_path / "run", deterministic=True, epochs=1))
    finally:
        torch.use_deterministic_algorithms(False)
    assert result["threads"] == str(min(2, len(os.sched_getaffinity(0)) if sys.platform == "linux" else 2))


def test_a_rehearsal_changes_nothing(tmp_path: Path) -> None:
    first = train(config(tmp_path / "timed", epochs=1, threads=None))
    train(config(tmp_path / "given", epochs=1, threads=first["threads"]))
    assert_same_weights(tmp_path / "timed", tmp_path / "given")


class Slowed(Reporter):
    """Slows steps down after the twelfth, as another program would, and frees the machine after the thirtieth."""

    def __init__(self) -> None:
        self.taken, self.texts = 0, list[str]()

    @property
    def is_busy(self) -> bool:
        return 12 <= self.taken < 30

    def step(self, epoch: int, done: int, total: int) -> None:
        self.taken += 1
        time.sleep(0.5 if self.is_busy and torch.get_num_threads() > 1 else 0.0)

    def message(self, text: str) -> None:
        self.texts.append(text)


@pytest.mark.skipif(own_cores() < 2, reason="two threads on one core are slow without any load")
def test_threads_follow_the_load_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reporter = Slowed()

    def rehearse(step: Step, images: int) -> None:
        time.sleep((0.002 if torch.get_num_threads() == 1 else 0.05) if reporter.is_busy else 0.01)

    monkeypatch.setattr(Step, "rehearse", rehearse)
    monkeypatch.setattr(ForeignLoad, "cores", lambda self: 1.0 if reporter.is_busy else 0.0)
    monkeypatch.setattr(threads, "candidates", lambda: (2, 1))
    monkeypatch.setattr(threads, "_WAIT", 0.01)
    result = train(config(tmp_path / "run", epochs=5, batch_size=16), reporter)
    counts = thread_counts(result["threads"])
    assert [count for _, count in counts] == [2, 1, 2]
    assert 12 < counts[1][0] < 30 < counts[2][0]
    assert any(text.startswith("Computing with 1 of 2 threads") for text in reporter.texts)


def test_a_time_that_allows_no_result_is_reported_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reporter = Slowed()
    monkeypatch.setattr(threads, "candidates", lambda: (2, 1))
    monkeypatch.setattr(Step, "rehearse", lambda self, images: time.sleep(0.4))
    train(config(tmp_path / "run", epochs=None, max_time=4.0), reporter)
    [warning] = [text for text in reporter.texts if "too few for a result" in text]
    assert "--max-time" in warning


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_run_killed_beside_other_programs_and_resumed_on_a_quiet_machine_equals_one_with_the_same_threads(
    tmp_path: Path,
) -> None:
    run, settings = tmp_path / "run", "--epochs 4 --limit 200 --seed 11 --keep-checkpoint --compile off"
    lrnet = [sys.executable, "-P", "-m", "lrnet_cli", "train"]
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        killed = subprocess.Popen([*lrnet, *settings.split(), "--out", str(run)], stderr=subprocess.DEVNULL)
        while not (run / "checkpoint" / "latest.safetensors").exists():
            assert killed.poll() is None, "ended before it was killed"
            time.sleep(0.05)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
    assert read_result(run) is None
    subprocess.run([*lrnet, "--resume", str(run)], check=True, capture_output=True)
    recorded = json.loads((run / "result.json").read_text())["threads"]
    other = [*settings.split(), "--out", str(tmp_path / "other"), "--threads", recorded]
    subprocess.run([*lrnet, *other], check=True, capture_output=True)
    assert_same_weights(run, tmp_path / "other")
