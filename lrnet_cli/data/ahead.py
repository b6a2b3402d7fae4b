"""Reading ahead in order and through bounded memory: files in processes, which they may end, all else in threads."""

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

from lrnet_cli.data.reader import EndedError, LargeImageError, Reader, keep_idle, outcome_of, reader_at_hand, set_idle
from lrnet_cli.errors import DataError, ImageError
from lrnet_cli.threads import own_cores

_CHUNK = 96  # things that are read at a time
_CHUNKS_AHEAD = 8
_THREAD = "reader"  # begins the name of each thread
_MOST_READERS = 8
_MOST_ENDED = 20  # processes, each by a file of its own; beyond, the files are not the cause
_turn = threading.Lock()  # of the image that is large

_Source = TypeVar("_Source")
_Read = TypeVar("_Read")


def _is_path(source: object) -> bool:
    return isinstance(source, str | os.PathLike)


def read_ahead(
    sources: Iterable[_Source], read: Callable[[_Source], _Read], is_file: Callable[[_Source], bool] = _is_path
) -> Generator[tuple[_Source, _Read | ImageError]]:
    """Yield each of ``sources``, in order, with the result of ``read``, or the ``ImageError`` that it raises.

    While the caller works, files are read ahead in processes, to which they and ``read`` are sent, and all else in
    threads. Memory holds about a thousand results, however many there will be, and one large image. The result of a
    file that ends its process, such as by a fault in its decoder or by taking too long, is an ``ImageError``.

    Raises ``DataError`` if such processes are killed again and again.
    """
    remaining, pending = iter(sources), deque[tuple[list[_Source], Future[list[Any]]]]()
    readers = _Readers(read, is_file)
    threads = ThreadPoolExecutor(min(_MOST_READERS, own_cores()), thread_name_prefix=_THREAD)
    try:
        while chunk := list(islice(remaining, _CHUNK)):
            pending.append((chunk, threads.submit(readers.results, chunk)))
            if len(pending) == _CHUNKS_AHEAD:
                yield from _taken(pending)
        while pending:
            yield from _taken(pending)
    finally:
        readers.end()
        # An iterator that was given up may be collected in one of these threads, which cannot wait for itself.
        threads.shutdown(wait=not threading.current_thread().name.startswith(_THREAD), cancel_futures=True)
        keep_idle(1)  # which few files do not have to wait for


def _taken(pending: deque[tuple[list[_Source], Future[list[Any]]]]) -> Iterator[tuple[_Source, Any]]:
    chunk, future = pending.popleft()
    yield from zip(chunk, future.result(), strict=True)


class _Readers:
    """The processes that ``read`` the files of one iterator."""

    def __init__(self, read: Callable[[Any], Any], is_file: Callable[[Any], bool]) -> None:
        self._read, self._is_file = read, is_file
        self._busy: set[Reader] = set()
        # Held as a process changes hands; a thread that holds it may have to end an iterator that is collected.
        self._handing = threading.RLock()
        self._ended, self._is_over = 0, False

    def results(self, chunk: Sequence[object]) -> list[Any]:
        """Return the result of ``read`` for each of ``chunk``."""
        of_files = iter(self._of_files([source for source in chunk if self._is_file(source)]))
        return [next(of_files) if self._is_file(source) else outcome_of(self._read, source) for source in chunk]

    def _of_files(self, files: Sequence[object]) -> list[Any]:
        if not files or self._is_over:
            return []
        try:
            with self._reader() as reader:
                results = reader.read(self._read, files)
        except EndedError as error:
            if len(files) == 1:
                return [self._error(files[0], error)]
            return [self._of_files([file])[0] for file in files]  # one of them ended it, or somebody from outside
        return [
            self._alone(file) if isinstance(result, LargeImageError) else result
            for file, result in zip(files, results, strict=True)
        ]

    def _alone(self, file: object) -> Any:
        try:
            with _turn, self._reader() as reader:
                return reader.read(self._read, [file], alone=True)[0]
        except EndedError as error:
            return self._error(file, error)

    def _error(self, file: object, error: EndedError) -> ImageError:
        self._ended += not error.by_time
        if self._ended > _MOST_ENDED:
            raise DataError(
                f"The processes that read files are killed again and again, at last one that read {file}: by the "
                "system, for want of memory, or by a fault in a decoder. Free memory or remove such files, and run the "
                "command again."
            ) from error
        return ImageError(str(error))

    @contextmanager
    def _reader(self) -> Iterator[Reader]:
        """Yield a process that has nothing to do, which is new if there is none."""
        reader = reader_at_hand()
        with self._handing:
            self._busy.add(reader)
        try:
            if self._is_over:
                raise GeneratorExit
            yield reader
        except BaseException:
            self._free(reader, is_of_use=False)
            raise
        self._free(reader, is_of_use=True)

    def _free(self, reader: Reader, *, is_of_use: bool) -> None:
        with self._handing:
            self._busy.discard(reader)
            if is_of_use and not self._is_over:
                set_idle(reader)
                return
        reader.end()

    def end(self) -> None:
        """Give up what is not read yet."""
        with self._handing:
            self._is_over = True
            for reader in self._busy:
                reader.kill()
