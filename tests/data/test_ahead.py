import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from lrnet_cli.data import ahead, reader
from lrnet_cli.data.ahead import read_ahead
from lrnet_cli.data.images import Preprocessing, Read, read_image
from lrnet_cli.errors import DataError, ImageError

# What the processes that read import.
READS = """
import os
import signal

def process_of(name):
    return os.getpid()

def killed_by_500(name):
    if name == "500.png":
        os.kill(os.getpid(), signal.SIGKILL)

def killed(name):
    os.kill(os.getpid(), signal.SIGKILL)

def never_done_with_100(name):
    while name == "100.png":
        pass

def fails(name):
    return 1 // 0
"""
NAMES = [f"{number}.png" for number in range(1000)]


@pytest.fixture
def reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    reader.keep_idle(0)  # which do not know where the module is
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "reads_of_test_ahead.py").write_text(READS)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    sys.modules.pop("reads_of_test_ahead", None)
    yield importlib.import_module("reads_of_test_ahead")
    reader.keep_idle(0)


# No guard against running it again: the processes must not do so.
READS_SLOWLY = """
import os
import time
from lrnet_cli.data.ahead import read_ahead
from reads_of_test_ahead import process_of

for _, process in read_ahead([f"{number}.png" for number in range(1000)], process_of):
    print(process, flush=True)
    time.sleep(60)
"""


def test_everything_is_read_in_order() -> None:
    assert list(read_ahead(range(1000), lambda number: -number)) == [(number, -number) for number in range(1000)]


def test_what_a_reader_raises_reaches_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        list(read_ahead([1, 0], lambda number: 1 // number))


def test_reading_stays_a_bounded_way_ahead() -> None:
    read: list[int] = []
    results = read_ahead(range(100_000), read.append)
    next(results)
    time.sleep(0.2)
    assert 0 < len(read) < 2000
    results.close()


def test_an_iterator_given_up_can_be_closed_in_one_of_its_own_threads() -> None:
    failures: list[BaseException] = []
    closed = threading.Event()

    def read(number: int) -> int:
        if number == 96 * 7 and started.wait(5):  # in a chunk that is read while the first results are out
            try:
                results.close()
            except BaseException as error:
                failures.append(error)
            closed.set()
        return number

    started = threading.Event()
    results = read_ahead(range(10_000), read)
    next(results)
    started.set()
    assert closed.wait(10)
    assert failures == []


def test_files_are_read_in_order_by_processes_of_which_one_is_kept(reads: Any) -> None:
    outcomes = list(read_ahead(NAMES, reads.process_of))
    assert [source for source, _ in outcomes] == NAMES
    processes = {process for _, process in outcomes}
    assert os.getpid() not in processes
    [kept] = [process for process in processes if psutil.pid_exists(process)]
    assert [process for _, process in read_ahead(NAMES[:3], reads.process_of)] == [kept] * 3
    assert psutil.Process(kept).nice() > psutil.Process().nice()


def test_what_is_no_file_is_read_in_this_process(reads: Any) -> None:
    outcomes = list(read_ahead([1, "2.png", 3], reads.process_of))
    assert [process == os.getpid() for _, process in outcomes] == [True, False, True]


def test_what_a_process_raises_reaches_the_caller_and_leaves_none_behind(reads: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        list(read_ahead(NAMES, reads.fails))
    assert not reader._idle


def test_a_reading_that_is_given_up_ends_its_processes_whatever_they_do(
    reads: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "MOST_SECONDS", 3600.0)  # no reader ends by itself
    outcomes = read_ahead(NAMES, reads.never_done_with_100)
    next(outcomes)
    outcomes.close()
    assert len([child for child in psutil.Process().children() if "lrnet_cli.data.reader" in str(child.cmdline())]) <= 1


def test_a_reader_that_is_killed_with_nothing_to_do_costs_nothing(reads: Any) -> None:
    [(_, before)] = read_ahead(NAMES[:1], reads.process_of)
    os.kill(before, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(before)], timeout=0.1)  # until it has ended
    [(_, after)] = read_ahead(NAMES[:1], reads.process_of)
    assert isinstance(after, int)
    assert after != before


def test_a_file_that_ends_its_reader_is_an_error_and_all_others_are_read(reads: Any) -> None:
    outcomes = list(read_ahead(NAMES, reads.killed_by_500))
    assert [source for source, _ in outcomes] == NAMES
    assert [source for source, outcome in outcomes if isinstance(outcome, ImageError)] == ["500.png"]
    assert "ends the process that reads it" in str(outcomes[500][1])


@pytest.mark.skipif(sys.platform == "win32", reason="has no timer of processor time")
def test_a_file_that_takes_too_long_is_an_error_and_all_others_are_read(
    reads: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "MOST_SECONDS", 0.3)
    outcomes = list(read_ahead(NAMES, reads.never_done_with_100))
    assert [source for source, outcome in outcomes if outcome is not None] == ["100.png"]
    assert str(outcomes[100][1]) == "takes more than 0.3 seconds of processor time to read"


def test_a_reader_that_is_killed_from_outside_costs_nothing(reads: Any) -> None:
    read: list[str] = []
    for number, (source, process) in enumerate(read_ahead(NAMES * 10, reads.process_of)):
        read.append(source)
        if number % 1000 == 500 and psutil.pid_exists(process):
            os.kill(process, signal.SIGKILL)
    assert read == NAMES * 10


def test_readers_that_are_always_killed_are_reported(reads: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "_MOST_ENDED", 1)
    with pytest.raises(DataError, match=r"killed again and again, at last one that read \d+\.png"):
        list(read_ahead(NAMES, reads.killed))


def test_the_processes_of_a_reading_that_is_killed_end_with_it(reads: Any, tmp_path: Path) -> None:
    script = tmp_path / "reads.py"
    script.write_text(READS_SLOWLY)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    reader = int(process.stdout.readline())
    assert psutil.pid_exists(reader)
    process.kill()
    until = time.monotonic() + 30
    while psutil.pid_exists(reader):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert process.communicate()[1] == ""  # not even of a reader that has an answer for nobody


def test_a_large_image_is_read_once_it_is_its_turn(tmp_path: Path) -> None:
    Image.new("1", (3000, 2000)).save(tmp_path / "large.png")
    sources = [tmp_path / "none.png"] * 100 + [tmp_path / "large.png"] * 100
    read = partial(read_image, preprocessing=Preprocessing(8, 1, "light-on-dark"), invert="no")
    outcomes = list(read_ahead(sources, read))
    assert [isinstance(outcome, Read) for _, outcome in outcomes] == [False] * 100 + [True] * 100


def test_relative_names_follow_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = partial(read_image, preprocessing=Preprocessing(8, 1, "light-on-dark"), invert="no")
    for level in (10, 200):
        (tmp_path / str(level)).mkdir()
        Image.new("L", (8, 8), level).save(tmp_path / str(level) / "a.png")
        monkeypatch.chdir(tmp_path / str(level))
        [(_, outcome)] = read_ahead(["a.png"], read)
        assert isinstance(outcome, Read)
        assert (outcome.pixels == level).all()
