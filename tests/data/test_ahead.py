import errno
import os
import signal
import subprocess
import sys
import threading
import time
from itertools import islice
from pathlib import Path

import psutil
import pytest
from loky.backend.context import get_context
from PIL import Image

from lrnet_cli.data import ahead
from lrnet_cli.data.ahead import read_ahead
from lrnet_cli.data.images import Preprocessing, Read, read_image
from lrnet_cli.errors import DataError, ImageError

# No guard against running it again: the processes must not do so.
READS_SLOWLY = """
import os
import time
from lrnet_cli.data.ahead import read_ahead

def process_of(name):
    return os.getpid()

for _, process in read_ahead([f"{number}.png" for number in range(100_000)], process_of):
    if process != os.getpid():
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


def test_many_files_are_read_in_order_by_processes_that_end_with_the_reading() -> None:
    sources = [f"{number}.png" for number in range(6000)]
    outcomes = list(read_ahead(sources, _process_of))
    assert [source for source, _ in outcomes] == sources
    processes = {process for _, process in outcomes}
    assert outcomes[0][1] == os.getpid()
    assert len(processes) > 1
    assert not [process for process in processes - {os.getpid()} if psutil.pid_exists(process)]


def test_many_things_that_are_no_files_stay_in_this_process() -> None:
    assert {process for _, process in read_ahead(range(6000), _process_of)} == {os.getpid()}


def test_without_semaphores_threads_read_many_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(type(get_context()), "Lock", refuse)  # that of joblib, which has a copy of loky, if imported
    ahead._has_semaphores.cache_clear()
    try:
        outcomes = list(read_ahead([f"{number}.png" for number in range(6000)], _process_of))
    finally:
        ahead._has_semaphores.cache_clear()
    assert len(outcomes) == 6000
    assert {process for _, process in outcomes} == {os.getpid()}


def test_a_reading_that_is_given_up_ends_its_processes() -> None:
    outcomes = read_ahead([f"{number}.png" for number in range(100_000)], _process_of)
    process = next(process for _, process in outcomes if process != os.getpid())
    assert psutil.pid_exists(process)
    outcomes.close()
    assert not psutil.pid_exists(process)


def test_a_file_that_ends_its_reader_is_an_error_and_all_others_are_read() -> None:
    sources = [f"{number}.png" for number in range(6000)]
    outcomes = list(read_ahead(sources, _killed_by_5000))
    assert [source for source, _ in outcomes] == sources
    assert [source for source, outcome in outcomes if isinstance(outcome, ImageError)] == ["5000.png"]
    assert "ends the process that reads it" in str(outcomes[5000][1])


def test_a_reader_that_is_killed_from_outside_costs_nothing() -> None:
    sources = [f"{number}.png" for number in range(8000)]
    read = []
    for source, process in (outcomes := read_ahead(sources, _process_of)):
        if process != os.getpid() and len(read) < 7000 and psutil.pid_exists(process):
            os.kill(process, signal.SIGKILL)
            time.sleep(0.2)  # so that the pool knows when it is given the next chunk
            read += [source, *(source for source, _ in islice(outcomes, 7000 - len(read)))]
        else:
            read.append(source)
    assert read == sources


def test_readers_that_are_always_killed_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "_MOST_KILLED", 1)
    with pytest.raises(DataError, match=r"killed again and again, at last one that read 5\d+\.png"):
        list(read_ahead([f"{number}.png" for number in range(6000)], _killed_from_5000))


def test_the_processes_of_a_reading_that_is_killed_end_with_it(tmp_path: Path) -> None:
    script = tmp_path / "reads.py"
    script.write_text(READS_SLOWLY)
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    reader = int(process.stdout.readline())
    assert psutil.pid_exists(reader)
    process.kill()
    until = time.monotonic() + 30
    while psutil.pid_exists(reader):
        assert time.monotonic() < until
        time.sleep(0.1)
    process.communicate()  # of what the readers, had they lived, would have kept open


def test_a_large_image_waits_for_its_turn_in_every_process(tmp_path: Path) -> None:
    Image.new("1", (3000, 2000)).save(tmp_path / "large.png")
    sources = [tmp_path / "none.png"] * 5000 + [tmp_path / "large.png"] * 256
    assert [isinstance(read, ImageError) for _, read in read_ahead(sources, _read)] == [True] * 5000 + [False] * 256


def _process_of(_: object) -> int:
    return os.getpid()


def _killed_by_5000(name: str) -> None:
    if name == "5000.png":
        os.kill(os.getpid(), signal.SIGKILL)


def _killed_from_5000(name: str) -> None:
    if int(name.removesuffix(".png")) >= 5000:
        os.kill(os.getpid(), signal.SIGKILL)


def _read(file: Path) -> Read | ImageError:
    return read_image(file, Preprocessing(8, 1, "light-on-dark"), "no")
