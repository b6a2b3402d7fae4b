"""A process that reads image files for this one: a file may crash it, or take all its time, and ends nothing else."""

import atexit
import contextlib
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lrnet_cli.errors import ImageError

MOST_SECONDS = 5.0  # of processor time for a file
reads_large = True  # or, in a process that reads for another, leaves a large image until no other one is read
_LOWER_PRIORITY = 5  # niceness: what is read waits for the network, which has the cores first
_PROGRAM = (  # what reading takes is imported at once: the first file may not be known yet
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from lrnet_cli.data import images, reader; reader.serve()"
)


class LargeImageError(ImageError):
    """An image is so large that only one such may be in memory at a time; it was not read."""


class EndedError(Exception):
    """The process has ended, perhaps ``by_time``; the text says how, of a file that alone was read."""

    def __init__(self, reason: str, *, by_time: bool = False) -> None:
        super().__init__(reason)
        self.by_time = by_time


class Reader:
    """A process that reads files; what it imports is what this one would, but nothing from the working folder."""

    def __init__(self) -> None:
        from multiprocessing.spawn import get_executable  # which programs that embed Python set

        self._process = subprocess.Popen(  # noqa: S603 # this Python
            [get_executable(), "-P", "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for this process, which ends the other
            creationflags=getattr(subprocess, "BELOW_NORMAL_PRIORITY_CLASS", 0),  # Windows'
        )
        self._send([path for path in sys.path if path])

    def read(self, read: Callable[[Any], Any], files: Sequence[object], *, alone: bool = False) -> list[Any]:
        """Return the result of ``read`` for each of ``files``; for a large image it is an error, unless read ``alone``.

        An ``ImageError`` that ``read`` raises is its result. Raises ``EndedError`` if the process ends, as it does when
        a file takes too much of its time, and what else ``read`` raises.
        """
        assert self._process.stdout is not None
        try:
            # Texts take a tenth of the time that paths do.
            sent = [os.fspath(x) if isinstance(x, os.PathLike) else x for x in files]
            self._send((read, sent, MOST_SECONDS, alone, Path.cwd()))
            results = pickle.load(self._process.stdout)  # noqa: S301 # from our own process
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            self.end()
            if -self._process.returncode == getattr(signal, "SIGPROF", None):
                raise EndedError(
                    f"takes more than {MOST_SECONDS:g} seconds of processor time to read", by_time=True
                ) from error
            raise EndedError("ends the process that reads it; it is damaged, or needs too much memory") from error
        if isinstance(results, Exception):
            raise results
        return list(results)

    def _send(self, message: object) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, as its missing answer will say
            self._process.stdin.write(pickle.dumps(message))
            self._process.stdin.flush()

    @property
    def is_alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def kill(self) -> None:
        """Make the process end, whatever it does; who waits for its answer learns it."""
        self._process.kill()

    def end(self) -> None:
        """End the process, and give back what it took."""
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        self._process.wait()


def serve() -> None:
    """Read files for the process that started this one, until it ends or closes its pipe."""
    global reads_large  # as each request says

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a decoder prints is no answer
    if hasattr(os, "nice"):
        os.nice(_LOWER_PRIORITY)
    while True:
        try:
            read, sources, seconds, reads_large, folder = pickle.load(sys.stdin.buffer)  # noqa: S301 # the parent's
        except (EOFError, pickle.UnpicklingError):  # the other process has ended, perhaps as it asked
            os._exit(0)
        results: object
        try:
            with contextlib.suppress(OSError):  # of a folder that one may be in, but not enter
                os.chdir(folder)  # from which names are relative; the other process may have changed its own
            results = [_timed(read, source, seconds) for source in sources]
        except Exception as error:
            results = error
        try:
            answers.write(pickle.dumps(results))
            answers.flush()
        except BrokenPipeError:  # the other process has ended
            os._exit(0)


def outcome_of(read: Callable[[Any], Any], source: object) -> Any:
    """Return the result of ``read``, or the ``ImageError`` that it raises: one image ends nothing."""
    try:
        return read(source)
    except ImageError as error:
        return error


def _timed(read: Callable[[Any], Any], source: object, seconds: float) -> Any:
    """Return the outcome of ``read``, which ends this process if it takes longer: no decoder can be interrupted."""
    if not hasattr(signal, "ITIMER_PROF"):  # as on Windows
        return outcome_of(read, source)
    signal.setitimer(signal.ITIMER_PROF, seconds)  # its signal ends a process that does not handle it
    try:
        return outcome_of(read, source)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


_idle: list[Reader] = []  # have nothing to do
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)  # they answer this process only


def set_idle(reader: Reader) -> None:
    """Keep ``reader``, which has nothing to do, for files that come."""
    _idle.append(reader)


def reader_at_hand() -> Reader:
    """Return a process that has nothing to do, a new one if there is none; those that were killed are given up."""
    with contextlib.suppress(IndexError):
        while True:
            if (reader := _idle.pop()).is_alive:
                return reader
            reader.end()
    return Reader()


def keep_idle(most: int) -> None:
    """End the processes that have nothing to do, but for ``most``."""
    with contextlib.suppress(IndexError):
        while len(_idle) > most:
            _idle.pop().end()


atexit.register(keep_idle, 0)
