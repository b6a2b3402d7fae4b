import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher import api

from lrnet_cli.cli import launch
from lrnet_cli.data.datasets import load_dataset
from lrnet_cli.errors import DataError, UsageError
from lrnet_cli.evaluation.setup import load_setup
from lrnet_cli.models.engine import Engine
from lrnet_cli.processes import Processes, gathered, summed
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.settings.requests import EvalRequest
from lrnet_cli.training import batches
from lrnet_cli.training.train import resume, train

pytestmark = [pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and Gloo"), pytest.mark.slow]

SAME_STEP = """
import sys
from pathlib import Path
import torch
from lrnet_cli.models.fused import FusedLRNet
from lrnet_cli.models.lrnet import LRNet, LRNetShort
from lrnet_cli.processes import joined

with joined(torch.device("cpu"), lambda: "Start again.") as processes:
    assert processes.count == int(sys.argv[1])
    for head in (LRNet, LRNetShort):
        torch.manual_seed(0)
        one = head(2, 16, 5, dropout=0.25).double().train()
        many = head(2, 16, 5, dropout=0.25).double().train()
        many.load_state_dict(one.state_dict())
        images, labels = torch.rand(12, 2, 16, 16, dtype=torch.float64), torch.randint(5, (12,))
        torch.manual_seed(1)
        whole = FusedLRNet(one)(images)
        torch.nn.functional.cross_entropy(whole, labels).backward()
        torch.manual_seed(1)
        part = FusedLRNet(many, processes)(processes.own_rows(images))
        torch.nn.functional.cross_entropy(part, processes.own_rows(labels)).backward()
        processes.average_gradients(many)
        torch.testing.assert_close(processes.collect(part.detach(), 12), whole.detach(), rtol=1e-9, atol=1e-12)
        for (name, a), b in zip(one.named_parameters(), many.parameters(), strict=True):
            torch.testing.assert_close(b.grad, a.grad, rtol=1e-9, atol=1e-12, msg=lambda text: name + text)
        for (name, a), b in zip(one.named_buffers(), many.buffers(), strict=True):
            torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-12, msg=lambda text: name + text)
    assert [processes.collect(torch.arange(n)[processes.share(n)], n).tolist() for n in range(1, 8)] == [
        list(range(n)) for n in range(1, 8)
    ]
# A thread of Gloo that is left when Python shuts down can abort it (there is no /proc but on Linux).
left = {path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")}
assert not any("gloo" in name for name in left), left
print("same")
"""


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def started(arguments: list[str], **settings: Any) -> "subprocess.Popen[str]":
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([sys.executable, *arguments], **output | settings)


def training(out: Path, *options: str) -> list[str]:
    return ["-m", "lrnet_cli", "train", "--seed", "3", "--limit", "150", "--out", str(out), *options]


def finished(process: "subprocess.Popen[str]") -> str:
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 0, text
    return text


def until_epoch(process: "subprocess.Popen[str]", epoch: int) -> str:
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if line.startswith(f"epoch {epoch}"):
            break
    return text


def workers_of(process: "subprocess.Popen[str]") -> list[int]:
    """Return the process numbers of its workers, in the order of their ranks."""
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return sorted(int(pid) for pid in listed if b"lrnet_cli" in Path(f"/proc/{pid}/cmdline").read_bytes())


@pytest.mark.parametrize("count", [3])
def test_a_step_in_several_processes_is_that_of_one(count: int, tmp_path: Path) -> None:
    (tmp_path / "step.py").write_text(SAME_STEP)
    text = finished(
        started(["-m", "torch.distributed.run", f"--nproc-per-node={count}", str(tmp_path / "step.py"), str(count)])
    )
    assert text.count("same") == count


@pytest.mark.parametrize("count", [2])
def test_several_processes_give_the_weights_of_one(count: int, tmp_path: Path) -> None:
    # One epoch of five steps: rounding grows with every step, in one process as in several.
    options = ["--epochs", "1", "--batch-size", "24", "--precision", "fp32", "--optimizer", "adamw", "--lr", "1e-4"]
    together = started(training(tmp_path / "many", *options, "--procs", str(count), "--json"), stderr=None)
    alone = train(
        TrainConfig(
            seed=3, limit=150, epochs=1, batch_size=24, precision="fp32", optimizer="adamw", lr=1e-4, procs=1,
            out=tmp_path / "one",
        )
    )  # fmt: skip
    result = json.loads(finished(together))
    assert (result["processes"], alone["processes"]) == (count, 1)
    one, many = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "many"))
    for name in one:
        torch.testing.assert_close(many[name], one[name], rtol=1e-2, atol=2e-3)
    assert result["val_accuracy"] == pytest.approx(alone["val_accuracy"], abs=0.04)
    # Every test image was counted, and counted once.
    setup = load_setup(tmp_path / "many" / "model.safetensors", EvalRequest(), Engine(torch.device("cpu")))
    assert result["test_accuracy"] == setup.evaluate().metrics.accuracy


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_all_with_one_message_and_a_checkpoint(rank: int, tmp_path: Path) -> None:
    process = started(training(tmp_path / "run", "--epochs", "30", "--procs", "2"))
    until_epoch(process, 2)
    workers = workers_of(process)
    os.kill(workers[rank], signal.SIGKILL)
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    errors = [line for line in text.splitlines() if not line.startswith("epoch ") and line]
    assert errors == [
        f"Error: Process {rank} was killed by SIGKILL, which ends the others. "
        f"Resume from the last checkpoint with: lrnet train --resume {tmp_path / 'run'}"
    ]
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
    if not rank:  # the second one's end shows how a run goes on
        return
    position = len((tmp_path / "run" / "metrics.csv").read_text().splitlines())
    resumed = started(["-m", "lrnet_cli", "train", "--resume", str(tmp_path / "run"), "--procs", "2"])
    until_epoch(resumed, position)
    resumed.send_signal(signal.SIGTERM)
    rest, _ = resumed.communicate(timeout=120)
    assert resumed.returncode == 130
    assert "Interrupted; the weights kept so far" in rest
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()[1:]
    assert [int(row.split(",")[0]) for row in rows] == list(range(1, len(rows) + 1))


def test_ctrl_c_stops_all_processes_after_a_checkpoint_and_one_goes_on(tmp_path: Path) -> None:
    process = started(training(tmp_path / "run", "--epochs", "3", "--procs", "2"))
    until_epoch(process, 1)
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert text.count("Stopping after this step") == 1
    assert f"to resume: lrnet train --resume {tmp_path / 'run'}" in text
    assert resume(tmp_path / "run", {"procs": 1})["epochs"] == 3


def test_several_processes_agree_on_the_batch_size_that_the_time_allows(tmp_path: Path) -> None:
    process = started(training(tmp_path / "run", "--max-time", "60s", "--procs", "2", "--no-test"))
    until_epoch(process, 1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["settings"]["batch_size"] == 16
    assert json.loads((tmp_path / "run" / "result.json").read_text())["processes"] == 2


def test_two_trainings_at_once_do_not_meet(tmp_path: Path) -> None:
    processes = [
        started(training(tmp_path / name, "--epochs", "1", "--procs", "2", "--no-test")) for name in ("one", "other")
    ]
    for process in processes:
        finished(process)
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "other"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_torchrun_on_two_machines_trains_as_well(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    # Two launchers, as on two machines that see the same folder.
    launcher = ["-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=2", "--rdzv-backend=c10d"]
    launcher += [f"--rdzv-endpoint=localhost:{port}", "--rdzv-id=test"]
    words = training(tmp_path / "run", "--epochs", "1", "--batch-size", "16")
    machines = [started([*launcher, *words]) for _ in range(2)]
    told = [finished(machine).count("Test accuracy") for machine in machines]
    assert sorted(told) == [0, 1]
    assert json.loads((tmp_path / "run" / "result.json").read_text())["processes"] == 4


def test_what_the_first_process_cannot_use_is_told_once(tmp_path: Path) -> None:
    process = started(training(tmp_path / "run", "--procs", "2", "--dataset", "digits", "--mirror", str(tmp_path)))
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert text.count("Error: ") == 1
    assert "train-images-idx3-ubyte" in text


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(UsageError, match="batch_size 32 cannot be shared by 3 processes; give a multiple, such as 33"):
        batches.batch_size_of(32, 1000, 3)
    assert batches.batch_size_of(None, 10000, 3) == 129
    with pytest.raises(DataError, match="1 training images are too few for 2 processes"):
        batches.batch_size_of(None, 1, 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"procs": 2, "gpus": 2}, "procs is for CPUs and gpus for GPUs"),
        ({"procs": 2, "device": "cuda"}, "procs uses the CPU and device cuda does not"),
        ({"procs": 2, "fuse": False}, "fuse=False trains in one process"),
    ],
)
def test_contradictions_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TrainConfig(**settings)


@pytest.mark.parametrize(
    ("exit_codes", "expected", "message"),
    [
        ({0: 2, 1: -15}, 2, None),  # the first process has told what is wrong
        ({0: 130}, 130, None),
        ({0: 75, 1: -9}, 1, "Process 1 was killed by SIGKILL, which ends the others. Resume from the last"),
        ({1: 1, 0: -15}, 1, "Process 1 failed with exit code 1, which ends the others. Resume from the last"),
        ({0: -11, 1: 75}, 1, "Process 0 was killed by SIGSEGV"),
    ],
)
def test_the_launcher_tells_how_it_ended(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    exit_codes: dict[int, int],
    expected: int,
    message: str | None,
) -> None:
    def ended(config: api.LaunchConfig, entrypoint: str) -> Any:
        def run(*arguments: str) -> None:
            assert arguments[:2] == ("-m", "lrnet_cli")
            assert config.nproc_per_node == 2
            launch.note_recovery_hint("Resume from the last checkpoint with: lrnet train --resume runs/mine")
            failures = {rank: ProcessFailure(rank, 1, code, "") for rank, code in exit_codes.items()}
            raise ChildFailedError("lrnet", failures)

        return run

    monkeypatch.setattr(api, "elastic_launch", ended)
    assert launch.launch(2) == expected
    told = capsys.readouterr().err
    if message is None:
        assert told == ""
    else:
        assert message in told
        assert "lrnet train --resume runs/mine" in told
    assert not launch.is_launched()


def test_the_launcher_passes_a_signal_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(config: api.LaunchConfig, entrypoint: str) -> Any:
        def run(*arguments: str) -> None:
            raise SignalException("", signal.SIGINT)

        return run

    monkeypatch.setattr(api, "elastic_launch", interrupted)
    assert launch.launch(2) == 130


def test_the_exchanges_are_sound_operators() -> None:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        values = torch.rand(3, 2)
        torch.testing.assert_close(gathered(values), values[None])
        torch.testing.assert_close(summed(values), values)
        for operator in (gathered, summed):
            torch.library.opcheck(operator, (values,))
    finally:
        dist.destroy_process_group()


def test_one_process_needs_no_others() -> None:
    alone = Processes()
    assert alone.agree("word") == "word"
    assert alone.share(7) == slice(0, 7)
    alone.wait()
    assert load_dataset("optdigits").train.images[alone.share(5)].shape[0] == 5
