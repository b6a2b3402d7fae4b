import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lrnet_cli.models.logits import predict_logits
from lrnet_cli.settings.place import Place
from lrnet_cli.threads import (
    ForeignLoad,
    available_threads,
    candidates,
    even_parts,
    fastest_threads,
    fix_threads,
    in_workers,
    threads_of_operations,
)

COUNT = "from lrnet_cli.threads import candidates; print(candidates())"

pytestmark = pytest.mark.usefixtures("free_threads")


def counted(**environment: str) -> str:
    """Return what a new process chooses from."""
    clean = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [sys.executable, "-c", COUNT]
    return subprocess.run(command, env=clean | environment, check=True, capture_output=True, text=True).stdout.strip()


def test_what_the_user_has_fixed_is_the_only_choice() -> None:
    assert counted(OMP_NUM_THREADS="3") == "(3,)"
    fix_threads(5)
    assert candidates() == (5,)
    assert torch.get_num_threads() == 5
    fix_threads(None)
    torch.set_num_threads(1)
    assert candidates() == (1,)  # a program that uses this package may have said so to PyTorch


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_a_process_bound_to_one_core_has_one_thread() -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert counted() == "(1,)"
    finally:
        os.sched_setaffinity(0, allowed)


def seconds_by_threads(seconds: dict[int, float], called: list[int]) -> None:
    called.append(torch.get_num_threads())
    time.sleep(seconds[called[-1]])


@pytest.mark.parametrize(
    ("seconds", "foreign", "best"),
    [
        ({4: 0.02, 2: 0.04, 1: 0.08}, 0.0, 4),
        ({4: 0.08, 2: 0.02, 1: 0.04}, 0.0, 2),
        ({4: 0.3, 2: 0.04, 1: 0.02}, 2.0, 1),
        ({4: 0.02, 2: 0.04, 1: 0.08}, 2.0, 4),  # a load that costs nothing
    ],
)
def test_the_number_of_threads_that_takes_the_least_time_is_chosen(
    seconds: dict[int, float], foreign: float, best: int
) -> None:
    before = torch.get_num_threads()
    assert fastest_threads(lambda: seconds_by_threads(seconds, []), (4, 2, 1), foreign).count == best
    assert torch.get_num_threads() == before


def test_beside_other_programs_a_hopeless_number_is_tried_once() -> None:
    called: list[int] = []
    timing = fastest_threads(lambda: seconds_by_threads({2: 0.5, 1: 0.02}, called), (2, 1), 1.0)
    assert timing.count == 1
    assert called.count(2) == 1
    assert called[0] == 1  # the safe one comes first


def test_a_moment_of_disturbance_on_an_idle_machine_costs_no_threads() -> None:
    called: list[int] = []

    def work() -> None:
        disturbed = torch.get_num_threads() == 2 and called.count(1) == 0
        seconds_by_threads({2: 0.03 if disturbed else 0.01, 1: 0.02}, called)

    assert fastest_threads(work, (2, 1), 0.0).count == 2


def test_the_load_of_others_is_measured_and_our_own_is_not() -> None:
    load, begun, used = ForeignLoad(), time.monotonic(), time.process_time()
    while time.monotonic() < begun + 1.0:
        pass
    own = (time.process_time() - used) / (time.monotonic() - begun)
    others = load.cores()
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        time.sleep(1.5)
        theirs = load.cores()
        other.kill()
    assert others < (os.cpu_count() or 1) - own + 0.2  # other tests may run at the same time
    assert theirs > 0.3


def test_workers_answer_in_order_with_one_thread_each() -> None:
    fix_threads(3)
    found = in_workers(lambda part: (part, torch.get_num_threads()), range(20))
    assert found == [(part, 1) for part in range(20)]
    assert torch.get_num_threads() == 3


def test_an_error_in_a_worker_is_raised_and_the_others_go_on_later() -> None:
    def fail(part: int) -> int:
        if part == 3:
            raise ValueError("the third")
        return part

    with pytest.raises(ValueError, match="the third"):
        in_workers(fail, range(10))
    assert in_workers(abs, range(4)) == [0, 1, 2, 3]


@pytest.mark.parametrize(("count", "most", "size"), [(0, 64, 1), (1, 64, 1), (7, 64, 4), (128, 64, 64), (300, 64, 50)])
def test_parts_are_even(count: int, most: int, size: int) -> None:
    fix_threads(2)
    assert even_parts(count, most) == size


def test_predictions_do_not_depend_on_the_number_of_threads() -> None:
    from lrnet_cli.models.engine import Engine
    from lrnet_cli.models.lrnet import LRNet

    torch.manual_seed(0)
    network = Engine.at(Place(device="cpu")).place(LRNet(dropout=0.0)).eval()
    images = torch.randint(256, (40, 1, 28, 28), dtype=torch.uint8)
    answers = []
    for count in (1, 2, 3):
        fix_threads(count)
        with threads_of_operations(count):
            answers.append(predict_logits(network, images))
    assert torch.equal(answers[0], answers[1])
    assert torch.equal(answers[0], answers[2])


def test_every_command_that_computes_takes_a_number_of_threads(lrnet: object, tmp_path: Path) -> None:
    for words in ("predict x.png", "eval", "bench", "train"):
        result = lrnet(f"{words} --threads none")  # type: ignore[operator]
        assert result.exit_code == 2
        assert "--threads takes a whole number from 1 up" in result.stderr
    assert available_threads() >= 1
