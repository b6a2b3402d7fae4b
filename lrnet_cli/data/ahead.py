"""Reading ahead in order and through bounded memory: first in threads, and many files in processes."""

import os
import pickle
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from functools import cache
from itertools import islice
from typing import Any, TypeVar

import psutil

from lrnet_cli.data import files
from lrnet_cli.errors import DataError, ImageError
from lrnet_cli.threads import own_cores

_CHUNK = 96  # things that are read at a time
_CHUNKS_AHEAD = 8
_READER = "reader"  # begins the name of each thread
_MOST_READERS = 4  # threads; more would wait for each other
# Threads take turns in Python, which is most of the work on a small image; processes do not, but take half a second
# to start.
_MANY = 4096
_MOST_PROCESSES = 8
_MOST_KILLED = 20  # processes, each by a file of its own; beyond, the files are not the cause
_LOWER_PRIORITY = 5 if os.name == "posix" else 0x4000  # niceness; Windows' BELOW_NORMAL_PRIORITY_CLASS

_Source = TypeVar("_Source")
_Read = TypeVar("_Read")


def _is_path(source: object) -> bool:
    return isinstance(source, str | os.PathLike)


def read_ahead(
    sources: Iterable[_Source], read: Callable[[_Source], _Read], is_file: Callable[[_Source], bool] = _is_path
) -> Generator[tuple[_Source, _Read | ImageError]]:
    """Yield each of ``sources``, in order, with the result of ``read``.

    Threads read ahead while the caller works, and after some thousands that all are files, processes, to which ``read``
    and the sources are sent (if the system has semaphores). Memory holds about a thousand results, however many there
    will be. The result of a file that ends such a process, such as by a fault in its decoder, is an ``ImageError``.

    Raises ``DataError`` if such processes are killed again and again.
    """
    remaining, pending = iter(sources), deque[tuple[list[_Source], Future[Any]]]()
    count, only_files, in_processes = 0, True, False
    readers: _Threads | _Processes = _Threads(read)
    try:
        while chunk := list(islice(remaining, _CHUNK)):
            only_files = only_files and all(map(is_file, chunk))
            if count >= _MANY and (only_files and _has_semaphores()) != in_processes:
                readers.finish()  # so that a large image is still the only one
                readers = _Threads(read) if in_processes else _Processes(read)
                in_processes = not in_processes
            pending.append((chunk, readers.submit(chunk)))
            count += len(chunk)
            if len(pending) == _CHUNKS_AHEAD:
                yield from _taken(pending, readers)
        while pending:
            yield from _taken(pending, readers)
    finally:
        readers.close()


def _taken(
    pending: deque[tuple[list[_Source], Future[Any]]], readers: "_Threads | _Processes"
) -> Iterator[tuple[_Source, Any]]:
    chunk, future = pending.popleft()
    try:
        results = future.result()
    except BrokenProcessPool:  # by a file of this chunk, of another one that was being read, or from outside
        assert isinstance(readers, _Processes)
        results = readers.one_by_one(chunk)
        for place, (other, lost) in enumerate(pending):
            if not lost.done() or lost.exception() is not None:
                pending[place] = other, readers.submit(other)
    results = pickle.loads(results) if isinstance(results, bytes) else results  # noqa: S301 # our own process's
    yield from zip(chunk, results, strict=True)


def _read(read: Callable[[_Source], _Read], chunk: Sequence[_Source]) -> list[_Read]:
    return [read(source) for source in chunk]


# The standard pickles of plain texts and arrays take a tenth of the time of those that loky would make.
def _pickled(chunk: Sequence[object]) -> bytes:
    return pickle.dumps([os.fspath(source) if isinstance(source, os.PathLike) else source for source in chunk])


def _read_pickled(read: Callable[[Any], Any], chunk: bytes) -> bytes:
    return pickle.dumps(_read(read, pickle.loads(chunk)))  # noqa: S301 # the parent's


class _Threads:
    """Threads that ``read`` chunks."""

    def __init__(self, read: Callable[[Any], Any]) -> None:
        self._read = read
        self._pool = ThreadPoolExecutor(min(_MOST_READERS, own_cores()), thread_name_prefix=_READER)

    def submit(self, chunk: Sequence[object]) -> Future[Any]:
        """Begin to read ``chunk``."""
        return self._pool.submit(_read, self._read, chunk)

    def finish(self) -> None:
        """Wait until all is read."""
        self._pool.shutdown()

    def close(self) -> None:
        """Give up what is not read yet."""
        # An iterator that was given up may be collected in one of these threads, which cannot wait for itself.
        is_reader = threading.current_thread().name.startswith(_READER)
        self._pool.shutdown(wait=not is_reader, cancel_futures=True)


class _Processes:
    """Processes that ``read`` chunks, and are replaced when one of them is killed."""

    def __init__(self, read: Callable[[Any], Any]) -> None:
        self._read, self._pool, self._killed = read, _process_pool(), 0

    def submit(self, chunk: Sequence[object]) -> Future[Any]:
        """Begin to read ``chunk``; the result, or ``BrokenProcessPool`` if a process was killed, is the future's."""
        try:
            return self._pool.submit(_read_pickled, self._read, _pickled(chunk))
        except BrokenProcessPool as error:
            broken: Future[Any] = Future()
            broken.set_exception(error)
            return broken

    def one_by_one(self, chunk: Sequence[object]) -> list[Any]:
        """Return the results of ``chunk``, with fresh processes; that of a file which ends one is an ``ImageError``.

        Raises ``DataError`` if too many were ended.
        """
        self._replace()
        results = []
        for source in chunk:
            try:
                results += pickle.loads(self.submit([source]).result())  # noqa: S301 # our own process's
            except BrokenProcessPool as error:
                self._killed += 1
                if self._killed > _MOST_KILLED:
                    raise DataError(
                        f"The processes that read files are killed again and again, at last one that read {source}: by "
                        "the system, for want of memory, or by a fault in a decoder. Free memory or remove such files, "
                        "and run the command again."
                    ) from error
                results.append(ImageError("ends the process that reads it; it is damaged, or needs too much memory"))
                self._replace()
        return results

    def _replace(self) -> None:
        self.close()
        self._pool = _process_pool()

    def finish(self) -> None:
        """Wait until all is read."""
        self._pool.shutdown()

    def close(self) -> None:
        """Give up what is not read yet."""
        self._pool.shutdown(kill_workers=True)  # type: ignore[call-arg]  # loky's own


@cache
def _has_semaphores() -> bool:
    """Whether processes can take turns: not where /dev/shm is missing or read-only, as in some containers."""
    from loky.backend.context import get_context

    try:
        get_context().Lock()
    except (ImportError, OSError):
        return False
    return True


def _process_pool() -> Executor:
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


def _begin(parent: int, turn: AbstractContextManager[Any]) -> None:
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
