"""A real HTTP server on the loopback interface that serves files, with ranges, and fails as it is told to."""

import threading
import time
from collections import defaultdict
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class MirrorServer(ThreadingHTTPServer):
    """Serves ``files`` by path. ``faults[path]`` is a list used up one request at a time.

    A fault is a status code, or one of: ``cut`` (half the body, then the connection breaks), ``drop`` (no answer),
    ``wrong`` (other bytes), ``html``, ``slow`` (in small pieces), ``stall`` (nothing after the first half), ``drip``
    (a byte at a time after it), ``short`` (half the body with a length to match), ``no-ranges`` (the whole body
    whatever is asked).
    """

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.faults: defaultdict[str, list[object]] = defaultdict(list)
        self.requests: list[tuple[str, str | None]] = []
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"

    def __enter__(self) -> "MirrorServer":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        self.thread.join()

    def handle_error(self, *_: object) -> None:
        """Stay silent: clients break off on purpose here."""


class _Handler(BaseHTTPRequestHandler):
    server: MirrorServer

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.requests.append((self.path, asked))
        faults = self.server.faults[self.path]
        fault = faults.pop(0) if faults else None
        body = self.server.files.get(self.path)
        if fault == "drop":
            self.close_connection = True
            return
        if isinstance(fault, int) or body is None:
            self.send_error(fault if isinstance(fault, int) else 404)
            return
        start = 0
        if fault == "html":
            body = b"<!DOCTYPE html><html><body>Please sign in.</body></html>"
        elif fault == "wrong":
            body = body[:-20] + bytes(20)
        elif fault == "short":
            body = body[: len(body) // 2]
        elif asked and fault != "no-ranges":
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.send_header("ETag", f'"{hash(body)}"')
        self.send_header("Last-Modified", formatdate(0, usegmt=True))
        self.end_headers()
        rest = body[start:]
        if fault in ("cut", "stall", "drip"):
            self.wfile.write(rest[: len(rest) // 2])
            self.wfile.flush()
            if fault == "stall":
                time.sleep(3)
            for position in range(len(rest) // 2, len(rest) if fault == "drip" else 0):
                self.wfile.write(rest[position : position + 1])
                time.sleep(0.05)
            self.close_connection = True
        elif fault == "slow":
            for position in range(0, len(rest), len(rest) // 8 or 1):
                self.wfile.write(rest[position : position + (len(rest) // 8 or 1)])
                self.wfile.flush()
                time.sleep(0.1)
        else:
            self.wfile.write(rest)

    def log_message(self, *_: object) -> None:
        """Stay silent."""
