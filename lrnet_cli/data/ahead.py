"""Reading ahead in threads, in order and through bounded memory."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

_CHUNK = 64  # things that a thread reads at a time
_CHUNKS_AHEAD = 8
_READER = "reader"  # begins the name of each thread
_READERS = min(4, os.cpu_count() or 1)  # more would wait for each other

_Source = TypeVar("_Source")
_Read = TypeVar("_Read")


def read_ahead(sources: Iterable[_Source], read: Callable[[_Source], _Read]) -> Iterator[tuple[_Source, _Read]]:
    """Yield each of ``sources``, in order, with the result of ``read``.

    Threads read ahead while the caller works; memory holds a few hundred results, however many there will be.
    """

    def read_chunk(chunk: list[_Source]) -> list[tuple[_Source, _Read]]:
        return [(source, read(source)) for source in chunk]

    remaining, pending = iter(sources), deque[Future[list[tuple[_Source, _Read]]]]()
    pool = ThreadPoolExecutor(_READERS, thread_name_prefix=_READER)
    try:
        while chunk := list(islice(remaining, _CHUNK)):
            pending.append(pool.submit(read_chunk, chunk))
            if len(pending) == _CHUNKS_AHEAD:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    finally:
        # An iterator that was given up may be collected in one of these threads, which cannot wait for itself.
        is_reader = threading.current_thread().name.startswith(_READER)
        pool.shutdown(wait=not is_reader, cancel_futures=True)
