"""Prediction and evaluation by several processes, each a real one."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lrnet_cli.data.datasets import load_dataset

pytestmark = [pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and Gloo"), pytest.mark.slow]

CliRun = Callable[..., Any]
FOLD = 2  # so many times the same images, which are many more than are predicted when the first rows are written
FAILS_IN_THE_SECOND = """
import torch
from lrnet_cli.errors import DataError
from lrnet_cli.predict.shared import shared_out
from lrnet_cli.processes import joined

with joined(torch.device("cpu"), lambda: "Start again.") as processes:
    def work(items):
        for item in items:
            if item == 900:
                raise DataError(f"no {item}")
            yield -item

    found = []
    try:
        for result in shared_out(range(2000), work, processes):
            found.append(result)
    except DataError as error:
        assert found == [-item for item in range(768)], found[-1]  # a round, and the first batch of the next
        print(f"{error} in {processes.rank}")
"""


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def names(isolated_user: Path) -> list[str]:
    """Give names of 1,200 image files, the 701st of which is damaged, in a folder ``images``."""
    folder, images = isolated_user / "images", load_dataset("optdigits").train.images.numpy()
    folder.mkdir()
    for number in range(1200):
        Image.fromarray(images[number, 0]).save(folder / f"{number:04}.png")
    damaged = folder / "0700.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    return [f"images/{number:04}.png" for number in range(1200)]


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "lrnet_cli", *map(str, words)]


def nearly(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: nearly(item) for name, item in value.items()}
    if isinstance(value, list):
        return [nearly(item) for item in value]
    return pytest.approx(value, abs=1e-3) if isinstance(value, float) else value


def test_the_rows_of_several_processes_are_those_of_one(names: list[str], trained_run: Path, lrnet: CliRun) -> None:
    count = 3  # which share no batch evenly
    alone = lrnet("predict", "images", "--weights", trained_run, "--output", "alone.csv", "--save-inputs", "one")
    words = command("predict", "-", "--weights", trained_run, "--output", "many.csv", "--procs", count)
    many = subprocess.run(
        [*words, "--save-inputs", "many"], input="\n".join(names), capture_output=True, text=True, check=False
    )
    assert (alone.exit_code, many.returncode) == (3, 3)
    assert Path("many.csv").read_text().replace("many/", "one/") == Path("alone.csv").read_text()
    inputs = [{path.name: path.read_bytes() for path in Path(name).iterdir()} for name in ("one", "many")]
    assert inputs[0] == inputs[1]
    assert len(inputs[0]) == 1199
    told = many.stderr.splitlines()
    assert [line for line in told if line.startswith("Error: ")] == [
        line for line in alone.stderr.splitlines() if line.startswith("Error: ")
    ]
    assert told[0].endswith(f", in {count} processes.")
    assert told[-1].startswith("1199 images have a row")


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
@pytest.mark.parametrize("rank", [0, 1])
def test_a_prediction_whose_process_is_killed_is_resumed_without_loss(
    names: list[str], trained_run: Path, lrnet: CliRun, rank: int
) -> None:
    Path("list.txt").write_text("\n".join(names * FOLD), encoding="utf-8")
    words = command("predict", "-", "--weights", trained_run, "--output", "rows.jsonl", "--procs", 2)
    with Path("list.txt").open() as listed:
        process = subprocess.Popen(words, stdin=listed, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while not any(part.stat().st_size for part in Path().glob("rows.jsonl.*.part")):
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.02)
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ranks = sorted(int(pid) for pid in workers if b"lrnet_cli" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(ranks[rank], signal.SIGKILL)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 1
    assert told.splitlines()[-1] == (
        f"Error: Process {rank} was killed by SIGKILL, which ends the others. "
        "The rows so far are kept; continue with --resume."
    )
    assert not any(Path(f"/proc/{pid}").exists() for pid in ranks)
    if not rank:  # the second one's end shows how a prediction goes on
        return
    with Path("list.txt").open() as listed:
        subprocess.run([*words, "--resume"], stdin=listed, stderr=subprocess.PIPE, check=False)
    assert [json.loads(line)["path"] for line in Path("rows.jsonl").read_text().splitlines()] == names * FOLD


TOO_LITTLE_MEMORY_IN_THE_SECOND = """
import os, psutil
if os.environ.get("RANK") == "1":
    psutil.virtual_memory = lambda real=psutil.virtual_memory: real()._replace(available=1000)
"""


def test_the_reason_of_another_process_is_reported(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(TOO_LITTLE_MEMORY_IN_THE_SECOND)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    words = command("eval", "--weights", trained_run, "--procs", 2)
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (1, "")
    (told,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert "GB of memory, but 0.0 GB are free" in told
    assert "Process" not in told


def test_an_error_in_one_process_is_raised_in_all_after_what_came_before_it(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(FAILS_IN_THE_SECOND)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", str(script)]
    told = subprocess.run(launcher, capture_output=True, text=True, check=True).stdout
    assert sorted(re.findall(r"no \d+ in \d", told)) == ["no 900 in 0", "no 900 in 1"]


def test_several_processes_on_two_machines_evaluate_as_one(trained_run: Path, lrnet: CliRun) -> None:
    words = ["eval", "--weights", trained_run, "--corruptions", "--limit", "10", "--precision", "fp32", "--json"]
    alone = json.loads(lrnet(*words).stdout)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    # Two launchers, as on two machines that see the same folder.
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=2"]
    launcher += ["--rdzv-backend=c10d", f"--rdzv-endpoint=localhost:{port}", "--rdzv-id=test", "-m", "lrnet_cli"]
    machines = [
        subprocess.Popen([*launcher, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for _ in range(2)
    ]
    told = [machine.communicate(timeout=200)[0] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0]
    [document] = [json.loads(text) for text in told if text]
    for single in (alone, document):
        del single["images_per_second"], single["device"]
    assert document == nearly(alone)  # batches of other sizes are rounded otherwise


@pytest.mark.parametrize("words", ["predict images", "eval"])
def test_places_that_contradict_each_other_are_refused(lrnet: CliRun, words: str) -> None:
    result = lrnet(f"{words} --procs 2 --gpus 1")
    assert result.exit_code == 2
    assert "--procs is for CPUs and --gpus for GPUs; give one of them." in result.stderr
