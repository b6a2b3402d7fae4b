"""A server's answer, read in a thread that is ended when too little arrives.

The timeout of a socket notices silence only. A server that sends a byte per second would pass it for days, in the head
of its answer as well as in the body.
"""

import contextlib
import ctypes
import queue
import threading
import time
from collections.abc import Iterator
from itertools import chain
from typing import Any

import requests
from requests.auth import HTTPBasicAuth

from lrnet_cli.settings.mirror import Credentials

CHUNK = 1 << 13  # bytes; the most that a broken connection loses
_AHEAD = 16  # chunks that may wait to be written
_CONNECT_TIMEOUT = 10.0  # seconds
_WINDOW = 30.0  # seconds in which a server has to begin its answer, and then to keep up the slowest rate
_SLOWEST = 1000  # bytes per second
_PATIENCE = 120.0  # seconds for all attempts and pauses together, since the slowest rate was last kept up
_TICK = 0.5  # seconds; on Windows, Ctrl-C is noticed between two waits only


class UnavailableError(Exception):
    """A location does not provide the file; its text is the reason."""


class UnreachableError(UnavailableError):
    """A server is of no use for other files either."""


class BrokenOffError(Exception):
    """A transfer failed in a way that may be temporary; ``pause`` is the wait the server asked for, in seconds."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


class SilentError(BrokenOffError):
    """Nothing arrives, or too little."""


class Patience:
    """Until when, by ``time.monotonic``, a server may bring too little, and ``last``, until when anything at all."""

    def __init__(self, last: float) -> None:
        self.last = last
        self.renew()

    def renew(self) -> None:
        """Begin anew: enough has arrived."""
        self.end = min(time.monotonic() + _PATIENCE, self.last)

    def of_one_wait(self) -> float:
        """Return until when to wait for the next bytes."""
        return min(time.monotonic() + _WINDOW, self.end)


@contextlib.contextmanager
def answered(
    url: str, headers: dict[str, str], credentials: Credentials | None, patience: Patience
) -> Iterator[tuple[requests.Response, Iterator[bytes]]]:
    """Yield the head of the answer to a request for ``url``, and the pieces of its body.

    Both raise ``BrokenOffError`` where another attempt may help; the head also raises ``UnavailableError``.
    """
    items: queue.Queue[Any] = queue.Queue(_AHEAD)
    left = threading.Event()
    thread = threading.Thread(target=_read, args=(url, headers, credentials, items, left), daemon=True)
    thread.start()
    try:
        yield _head(items, patience), _body(items, patience)
    finally:
        left.set()
        if thread.is_alive():  # or its number may be another thread's by now
            # As soon as it runs Python again, such as to read the next of endless heads.
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit))
        with contextlib.suppress(queue.Empty):  # or the thread would wait for room forever
            while True:
                items.get_nowait()


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return where ``resp`` redirects to, without its body: that would be read however long it is."""
        target = super().get_redirect_target(resp)
        if target is not None:
            resp.close()
        return target


def _read(
    url: str, headers: dict[str, str], credentials: Credentials | None, items: queue.Queue[Any], left: threading.Event
) -> None:
    """Put the head of the answer into ``items``, then its body, then None, or else the exception that ends it."""
    auth = HTTPBasicAuth(*credentials) if credentials else None
    timeout = (_CONNECT_TIMEOUT, _WINDOW)
    try:
        with (
            _Session() as session,
            session.get(url, headers=headers, auth=auth, stream=True, timeout=timeout) as response,
        ):
            for item in chain((response,), response.iter_content(CHUNK)):
                if left.is_set():
                    return
                items.put(item)
        items.put(None)
    except (Exception, SystemExit) as error:  # whatever a server can make the libraries raise, and the end
        if not left.is_set():
            items.put(error)


def _next(items: queue.Queue[Any], end: float) -> Any:
    """Return the next of ``items``, or raise it; raises ``TimeoutError`` if there is none at ``end``."""
    while True:
        try:
            item = items.get(timeout=max(0, min(_TICK, end - time.monotonic())))
        except queue.Empty:
            if time.monotonic() >= end:
                raise TimeoutError from None
            continue
        if isinstance(item, Exception):
            raise item
        return item


def _head(items: queue.Queue[Any], patience: Patience) -> requests.Response:
    try:
        response: requests.Response = _next(items, patience.of_one_wait())
    except (TimeoutError, requests.Timeout) as error:
        raise SilentError("the server does not answer") from error
    except requests.ConnectionError as error:
        if "RemoteDisconnected" in repr(error) or "ConnectionReset" in repr(error):
            raise BrokenOffError("the server closed the connection") from error
        raise UnreachableError(f"not reachable ({_innermost(error):.200})") from error
    except Exception as error:
        raise UnavailableError(f"the server's answer is of no use ({error!s:.200})") from error
    return response


def _body(items: queue.Queue[Any], patience: Patience) -> Iterator[bytes]:
    received = in_time = 0
    end = patience.of_one_wait()
    try:
        while (chunk := _next(items, end)) is not None:
            received += len(chunk)
            if time.monotonic() >= patience.last:
                raise TimeoutError
            if received - in_time >= _SLOWEST * _WINDOW:
                in_time = received
                patience.renew()
                end = patience.of_one_wait()
            yield chunk
    except Exception as error:
        if isinstance(error, TimeoutError) or "timed out" in str(error):
            raise SilentError(f"less than {_SLOWEST} bytes per second arrive ({received} so far)") from error
        raise BrokenOffError(f"the connection broke off after {received} bytes") from error


def _innermost(error: BaseException) -> str:
    """Return the last clause of a nested connection error, the only part that says what happened."""
    return str(error).rsplit(": ", 1)[-1].strip("'\")( ")
