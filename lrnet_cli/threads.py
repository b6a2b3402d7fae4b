"""Threads on the CPU: how many there may be, how many are fastest, and the network's work shared among them.

The threads of one operation wait for each other thousands of times a second. On a machine that is busy with other
programs, each of these waits can cost a time slice of the scheduler, so that two threads are slower than one.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import psutil
import torch

from lrnet_cli import ranks

_Part = TypeVar("_Part")
_Result = TypeVar("_Result")

BUSY = 0.25  # cores in use by other programs, from which the fewest threads are tried first
_CALLS, _LEAST_SECONDS, _MOST_CALLS = 2, 0.15, 20  # that are timed for each number of threads
_SLOWER, _HOPELESS = 1.1, 2.5  # times as slow as the best, from which no more numbers, or calls, are tried
_CLEARLY = 0.95  # of the usual number's time: another must need less to count as faster
_here = threading.local()


@cache
def usable_cores() -> int:
    """Return how many cores this process may use, by its affinity and by the quota of a container."""
    from loky import cpu_count

    return int(cpu_count())


def own_cores() -> int:
    """Return how many of the cores are this process's share, beside those of its command on the same machine."""
    return max(1, usable_cores() // ranks.local_count())


_fixed: int | None = None


def fix_threads(count: int | None) -> None:
    """Use ``count`` threads from now on; None leaves it to ``OMP_NUM_THREADS``, PyTorch's own setting and the cores."""
    global _fixed  # noqa: PLW0603  # like PyTorch's own number of threads, it is the process's
    _fixed = count
    torch.set_num_threads(available_threads())


def available_threads() -> int:
    """Return how many threads may compute: what is fixed, else the cores to use or PyTorch's own number, if smaller."""
    return _fixed or _of_environment() or min(torch.get_num_threads(), own_cores())


def are_fixed() -> bool:
    """Return whether the user, or a launcher, has said how many threads there are to be."""
    return _fixed is not None or _of_environment() is not None


def candidates() -> tuple[int, ...]:
    """Return the numbers of threads to choose from: what is fixed, or all, a half of them and so on down to one."""
    counts = [available_threads()]
    while counts[-1] > 1 and not are_fixed():
        counts.append(counts[-1] // 2)
    return tuple(counts)


def _of_environment() -> int | None:
    """Return what ``OMP_NUM_THREADS`` says, which PyTorch's launchers also set."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) or None if first.isdecimal() else None


class ForeignLoad:
    """How many cores other programs use, measured from one call to the next."""

    since_start: "ForeignLoad"  # since this module was imported

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._before = self._seconds()

    def cores(self) -> float:
        """Return the mean since the last call, or since this object was made."""
        before, self._before = self._before, self._seconds()
        elapsed, others = (now - then for now, then in zip(self._before, before, strict=True))
        return max(0.0, others / max(elapsed, 1e-3))

    def _seconds(self) -> tuple[float, float]:
        """Return the time, and how long other programs have computed, in seconds of a core."""
        every, own = psutil.cpu_times(), self._process.cpu_times()
        idle = every.idle + getattr(every, "iowait", 0.0)
        guests = getattr(every, "guest", 0.0) + getattr(every, "guest_nice", 0.0)  # counted in user, too
        return time.monotonic(), sum(every) - idle - guests - own.user - own.system


ForeignLoad.since_start = ForeignLoad()


def threads_for_now() -> int:
    """Return all threads that may compute, or one while other programs use the cores, for work too short to time."""
    return 1 if ForeignLoad.since_start.cores() > BUSY else available_threads()


@dataclass(frozen=True)
class Timing:
    """The number of threads that is fastest, and the seconds that a call took with each number that was tried."""

    count: int
    seconds: dict[int, float]


def fastest_threads(work: Callable[[], object], counts: Sequence[int], foreign_cores: float) -> Timing:
    """Time ``work`` with each of ``counts`` threads, of which the first is the largest and the usual one.

    On a machine where other programs use ``foreign_cores``, the smaller numbers come first. It ends where a number is
    slower than the best. The usual number counts as the fastest unless another is clearly faster, on an idle machine
    twice: what else starts for a moment must not cost the run its threads.
    """
    seconds: dict[int, float] = {}

    def fastest() -> int:
        return min(seconds, key=lambda count: seconds[count] * (_CLEARLY if count == counts[0] else 1.0))

    with threads_of_operations(torch.get_num_threads()):
        for count in reversed(counts) if foreign_cores > BUSY else counts:
            torch.set_num_threads(count)
            best = min(seconds.values(), default=float("inf"))
            # To find out that fewer threads are slower, as on every quiet machine, one call is enough.
            seconds[count] = _seconds_per_call(work, best, _SLOWER if count < counts[0] else _HOPELESS)
            if seconds[count] > _SLOWER * best:
                break
        if foreign_cores <= BUSY and (rival := fastest()) != counts[0]:
            for count in (counts[0], rival):
                torch.set_num_threads(count)
                seconds[count] = min(seconds[count], _seconds_per_call(work, float("inf"), _HOPELESS))
    return Timing(fastest(), seconds)


def _seconds_per_call(work: Callable[[], object], best: float, slower: float) -> float:
    """Return the mean of a few calls after a first one; it ends when they are clearly ``slower`` than ``best``."""
    times: list[float] = []
    while len(times) <= _CALLS or (sum(times[1:]) < _LEAST_SECONDS and len(times) <= _MOST_CALLS):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
        # The first call prepares much that the others find ready.
        if times[0] > _HOPELESS * best or (len(times) > 1 and times[-1] > slower * best):
            break
    return sum(times[1:]) / len(times[1:]) if len(times) > 1 else times[0]


@contextmanager
def threads_of_operations(count: int) -> Iterator[None]:
    """Let PyTorch's operations in this thread use ``count`` threads each during the body."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_workers(work: Callable[[_Part], _Result], parts: Iterable[_Part]) -> list[_Result]:
    """Return ``work`` of each of ``parts``, in order, as computed by single-threaded workers side by side.

    Workers need not wait for each other: one on a core that another program uses takes fewer parts. A worker that calls
    this works on all parts itself, since the others may be waiting for the same.
    """
    if getattr(_here, "is_worker", False):
        return [work(part) for part in parts]
    return list(_pool(available_threads()).map(work, parts))


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, "worker", initializer=_begin_worker)


def _begin_worker() -> None:
    _here.is_worker = True
    torch.set_num_threads(1)


def even_parts(count: int, most: int) -> int:
    """Return how many of ``count`` things a part holds so that all workers have as much, but not over ``most``."""
    workers = available_threads()
    parts = workers * max(1, -(-count // (most * workers)))
    return max(1, -(-count // parts))
