import threading
import time

import pytest

from lrnet_cli.data.ahead import read_ahead


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
        if number == 64 * 7 and started.wait(5):  # in a chunk that is read while the first results are out
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
