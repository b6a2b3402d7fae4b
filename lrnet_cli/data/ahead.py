"""Reading ahead in order and through bounded memory: first in threads, and many files in processes."""

import os
import pickle
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from itertools import islice
from typing import Any, TypeVar

import psutil

from lrnet_cli.data import files
from lrnet_cli.errors import DataError
from lrnet_cli.threads import own_cores

_CHUNK = 96  # things that are read at a time
_CHUNKS_AHEAD = 8
_READER = "reader"  # begins the name of each thread
_MOST_READERS = 4  # threads; more would wait for each other
# Threads take turns in Python, which is most of the work on a small picture; processes do not, but take half a second
# to start.
_MANY = 4096
_MOST_PROCESSES = 8
_LOWER_PRIORITY = 5 if os.name == "posix" else 0x4000  # niceness; Windows' BELOW_NORMAL_PRIORITY_CLASS

_Source = TypeVar("_Source")
_Read = TypeVar("_Read")


def _is_path(source: object) -> bool:
    return isinstance(source, str | os.PathLike)


def read_ahead(
    sources: Iterable[_Source], read: Callable[[_Source], _Read], is_file: Callable[[_Source], bool] = _is_path
) -> Generator[tuple[_Source, _Read]]:
    """Yield each of ``sources``, in order, with the result of ``read``.

    Threads read ahead while the caller works, and after some thousands that all are files, processes, to which ``read``
    and the sources are sent (if the system has semaphores). Memory holds about a thousand results, however many there
    will be.

    Raises ``DataError`` if such a process is killed.
    """
    remaining, pending = iter(sources), deque[tuple[list[_Source], Future[Any]]]()
    count, only_files, in_processes = 0, True, False
    pool = _threads()
    try:
        while chunk := list(islice(remaining, _CHUNK)):
            only_files = only_files and all(map(is_file, chunk))
            if count >= _MANY and (only_files and _has_semaphores()) != in_processes:
                pool.shutdown()  # so that a large picture is still the only one
                pool = _threads() if in_processes else _processes()
                in_processes = not in_processes
            work = (
                pool.submit(_read_pickled, read, _pickled(chunk)) if in_processes else pool.submit(_read, read, chunk)
            )
            pending.append((chunk, work))
            count += len(chunk)
            if len(pending) == _CHUNKS_AHEAD:
                yield from _taken(pending)
        while pending:
            yield from _taken(pending)
    finally:
        if in_processes:
            pool.shutdown(kill_workers=True)  # type: ignore[call-arg]  # loky's own
        else:
            # An iterator that was given up may be collected in one of these threads, which cannot wait for itself.
            is_reader = threading.current_thread().name.startswith(_READER)
            pool.shutdown(wait=not is_reader, cancel_futures=True)


def _read(read: Callable[[_Source], _Read], chunk: list[_Source]) -> list[_Read]:
    return [read(source) for source in chunk]


# The standard pickles of plain texts and arrays take a tenth of the time of those that loky would make.
def _pickled(chunk: list[Any]) -> bytes:
    return pickle.dumps([os.fspath(source) if isinstance(source, os.PathLike) else source for source in chunk])


def _read_pickled(read: Callable[[Any], Any], chunk: bytes) -> bytes:
    return pickle.dumps(_read(read, pickle.loads(chunk)))  # noqa: S301 # the parent's


def _taken(pending: deque[tuple[list[_Source], Future[Any]]]) -> Iterator[tuple[_Source, Any]]:
    chunk, future = pending.popleft()
    try:
        found = future.result()
    except BrokenProcessPool as error:
        raise DataError(
            f"A process that read the files from {chunk[0]} to {chunk[-1]}, or some after them, was killed: by the "
            "system, for want of memory, or by a picture that its decoder cannot stand. Free memory or remove that "
            "picture, and run the command again."
        ) from error
    results = pickle.loads(found) if isinstance(found, bytes) else found  # noqa: S301 # our own process's
    yield from zip(chunk, results, strict=True)


def _threads() -> Executor:
    return ThreadPoolExecutor(min(_MOST_READERS, own_cores()), thread_name_prefix=_READER)


@cache
def _has_semaphores() -> bool:
    """Whether processes can take turns: not where /dev/shm is missing or read-only, as in some containers."""
    from loky.backend.context import get_context

    try:
        get_context().Lock()
    except (ImportError, OSError):
        return False
    return True


def _processes() -> Executor:
    # The standard library's would run an unguarded script of the user again in every process.
    from loky import ProcessPoolExecutor
    from loky.backend.context import get_context

    pool: Executor = ProcessPoolExecutor(
        min(_MOST_PROCESSES, own_cores()),
        initializer=_begin,
        initargs=(os.getpid(), get_context().Lock()),
        env={"PYTHONSAFEPATH": "1"},  # not even a library is taken from the working folder
    )
    return pool


def _begin(parent: int, turn: Any) -> None:
    # What is read waits for the network, which has the cores first.
    psutil.Process().nice(_LOWER_PRIORITY)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    files.take_turns_by(turn)


def _end_with(parent: int) -> None:
    """End this process once ``parent`` has ended, which may be killed."""
    while os.getppid() == parent and psutil.pid_exists(parent):  # the number is not enough on Windows
        time.sleep(1)
    os._exit(1)
