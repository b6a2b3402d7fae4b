"""Servers that drip, stay silent, ask for credentials or answer nonsense; each is a real socket."""

import base64
import contextlib
import gzip
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lrnet_cli.data import answer, transfer
from lrnet_cli.data.catalog import TRAIN_IMAGES, CatalogEntry
from lrnet_cli.data.download import check_files, download
from lrnet_cli.errors import DownloadError

Answer = Callable[[socket.socket, str], None]
SECRET = "s3cr3t"


class RawServer:
    """Gives every connection and the request on it to ``answer``; ``ended`` is set when the test is over."""

    def __init__(self, answer: Answer, ended: threading.Event) -> None:
        self.answer, self.ended = answer, ended
        self.asked: list[str] = []
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.place = f"127.0.0.1:{self.listening.getsockname()[1]}"
        self.url = f"http://{self.place}/"

    def serve(self) -> None:
        with contextlib.suppress(OSError):  # the test closes the socket
            while True:
                threading.Thread(target=self._talk, args=self.listening.accept()[:1], daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:  # clients break off on purpose here
            request = connection.recv(1 << 16).decode("latin-1")
            self.asked.append(request)
            self.answer(connection, request)


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], RawServer]]:
    """Start a server that answers as a function does."""
    ended, servers = threading.Event(), []

    def start(answer: Answer) -> RawServer:
        servers.append(RawServer(answer, ended))
        threading.Thread(target=servers[-1].serve, daemon=True).start()
        return servers[-1]

    yield start
    ended.set()
    for server in servers:
        server.listening.shutdown(socket.SHUT_RDWR)
        server.listening.close()


@pytest.fixture(autouse=True)
def online_and_impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LRNET_OFFLINE")
    monkeypatch.setattr(transfer, "_FIRST_PAUSE", 0)
    monkeypatch.setattr(answer, "_WINDOW", 0.3)


@pytest.fixture
def files(tiny_files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: gzip.compress(content) for name, content in tiny_files.items()}


def good(files: dict[str, bytes]) -> Answer:
    """Return the answer that sends the files, from where they are asked for."""

    def send(connection: socket.socket, request: str) -> None:
        body = files[request.split()[1].rsplit("/", 1)[-1].removesuffix(".gz")]
        asked = re.search(r"Range: bytes=(\d+)-", request)
        start = int(asked[1]) if asked else 0
        place = f"Content-Range: bytes {start}-{len(body) - 1}/{len(body)}\r\n" if start else ""
        head = f"HTTP/1.1 {206 if start else 200} OK\r\n{place}Content-Length: {len(body) - start}\r\n\r\n"
        connection.sendall(head.encode() + body[start:])

    return send


@pytest.mark.parametrize(
    ("at_once", "dripped", "reason"),
    [
        (b"", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10_000, "does not answer"),
        (b"HTTP/1.1 200 OK\r\n", b"X: x\r\n" * 10_000, "does not answer"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100, "does not answer"),
        (b"HTTP/1.1 302 Found\r\n", b"Location: /" + b"x" * 10_000, "does not answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b"\x1f\x8b" * 5000, "less than 1000 bytes per second"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"\x1f\x8b" * 5000, "less than 1000 bytes per second"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"1\r\nx\r\n" * 5000,
            "less than 1000 bytes per second",
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0" * 5000, "less than 1000 bytes per second"),
    ],
)
def test_a_server_that_drips_is_given_up_for_all_files(
    tiny: CatalogEntry,
    serve: Callable[[Answer], RawServer],
    tmp_path: Path,
    at_once: bytes,
    dripped: bytes,
    reason: str,
) -> None:
    def drip(connection: socket.socket, _: str) -> None:
        connection.sendall(at_once)
        for byte in dripped:
            connection.sendall(bytes([byte]))
            if server.ended.wait(0.02):
                return

    server = serve(drip)
    start = time.monotonic()
    with pytest.raises(DownloadError, match=rf"(?s)4 of 4 files.*{reason}.*\(4 attempts\).*not asked again"):
        download(tiny, tmp_path, mirror=server.url)
    assert time.monotonic() - start < 10
    assert len(server.asked) == 4


def test_a_silent_server_costs_its_patience_once_before_the_next_mirror(
    tiny: CatalogEntry,
    serve: Callable[[Answer], RawServer],
    files: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(answer, "_PATIENCE", 0.8)
    silent = serve(lambda connection, request: silent.ended.wait() and None)
    server = serve(good(files))
    start = time.monotonic()
    download(replace(tiny, mirrors=(silent.url, server.url)), tmp_path)
    assert 0.8 < time.monotonic() - start < 5
    assert len(silent.asked) <= 3  # for 0.3 s, 0.3 s, and the rest
    assert set(check_files(tiny, tmp_path).values()) == {"ok"}


def test_what_arrives_renews_the_patience(
    tiny: CatalogEntry,
    serve: Callable[[Answer], RawServer],
    files: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(answer, "_PATIENCE", 0.7)
    whole = good(files)

    def third_by_third(connection: socket.socket, request: str) -> None:
        if TRAIN_IMAGES not in request:
            return whole(connection, request)
        body, asked = files[TRAIN_IMAGES], re.search(r"Range: bytes=(\d+)-", request)
        start = int(asked[1]) if asked else 0
        head = f"HTTP/1.1 206 OK\r\nContent-Range: bytes {start}-\r\nContent-Length: {len(body) - start}\r\n\r\n"
        connection.sendall(head.encode() + body[start : start + 10_000])
        server.ended.wait(30 if start + 10_000 < len(body) else 0)
        return None

    server = serve(third_by_third)
    start = time.monotonic()
    download(tiny, tmp_path, mirror=server.url)
    assert time.monotonic() - start > 0.8  # three times silent
    assert set(check_files(tiny, tmp_path).values()) == {"ok"}


def test_an_answer_that_was_left_behind_is_never_written(
    tiny: CatalogEntry, serve: Callable[[Answer], RawServer], files: dict[str, bytes], tmp_path: Path
) -> None:
    whole, again, sent = good(files), threading.Event(), threading.Event()

    def late(connection: socket.socket, request: str) -> None:
        if TRAIN_IMAGES not in request:
            whole(connection, request)
        elif "Range" not in request:
            body = files[TRAIN_IMAGES]
            connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body[:10_000])
            again.wait(5)
            with contextlib.suppress(OSError):
                connection.sendall(bytes(len(body) - 10_000))
            sent.set()
        else:
            again.set()
            sent.wait(5)
            time.sleep(0.1)
            whole(connection, request)

    server = serve(late)
    download(tiny, tmp_path, mirror=server.url)
    assert sum(TRAIN_IMAGES in request for request in server.asked) == 2
    assert set(check_files(tiny, tmp_path).values()) == {"ok"}


@pytest.mark.parametrize(
    "head",
    [
        "302 Found\r\nLocation: http://…/",
        "302 Found\r\nLocation: http://[::1",
        "302 Found\r\nLocation: http://host:port/",
        "302 Found\r\nLocation: http://" + "a" * 300 + "/",
        "302 Found\r\nLocation: http://.a/",
        "302 Found\r\nLocation: http:///",
        "302 Found\r\nLocation: http://127.0.0.1:99999/",
        "302 Found\r\nLocation: //",
        "302 Found\r\nLocation: file:///etc/passwd",
        "302 Found\r\nLocation: data:,x",
        "302 Found\r\nLocation: /\x00\x1b[2J",
        "302 Found\r\nLocation: /again",
        "302 Found\r\nLocation: /again?" + "x" * 10_000,
        "302 Found\r\nLocation: /again\r\nContent-Length: 999999999999",
        "302 Found\r\nTransfer-Encoding: chunked\r\nLocation: /again",
        "200 OK\r\nContent-Length: " + "9" * 5000,
        "200 OK\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip",
        "206 OK\r\nContent-Range: bytes " + "9" * 5000 + "-",
        "206 OK\r\nContent-Range: bytes ٣-",
        "503 Later\r\nRetry-After: " + "9" * 5000,
        "503 Later\r\nRetry-After: -1",
        "503 Later\r\nRetry-After: Fri, 31 Dec 9999 23:59:59 GMT",
        "9" * 5000,
        "999 " + "x" * 5000,
        "200 OK\r\nETag: \x1b[2J\r\n b",
        "200 OK\r\n" + "X: y\r\n" * 200,
        "200 OK\r\nno header at all",
    ],
    ids=lambda head: ascii(head[:60]),
)
def test_whatever_a_server_answers_only_our_error_comes_out(
    tiny: CatalogEntry, serve: Callable[[Answer], RawServer], tmp_path: Path, head: str
) -> None:
    server = serve(lambda connection, request: connection.sendall(f"HTTP/1.1 {head}\r\n\r\n".encode()))
    with pytest.raises(DownloadError, match="4 of 4 files") as caught:
        download(replace(tiny, mirrors=(server.url,)), tmp_path)
    assert max(map(len, str(caught.value).splitlines())) < 500
    assert "root:" not in str(caught.value)


def test_the_endless_body_of_a_redirect_is_not_read(
    tiny: CatalogEntry, serve: Callable[[Answer], RawServer], files: dict[str, bytes], tmp_path: Path
) -> None:
    whole, sent = good(files), [0]

    def redirect(connection: socket.socket, request: str) -> None:
        if "moved" in request:
            return whole(connection, request)
        name = request.split()[1].rsplit("/", 1)[-1]
        connection.sendall(f"HTTP/1.1 302 Found\r\nLocation: /moved/{name}\r\n\r\n".encode())
        while not server.ended.is_set():  # until the client hangs up
            sent[0] += connection.send(bytes(1 << 16))
        return None

    server = serve(redirect)
    download(tiny, tmp_path, mirror=server.url)
    assert set(check_files(tiny, tmp_path).values()) == {"ok"}
    assert sent[0] < 100_000_000


def only_for(user: str, password: str, files: dict[str, bytes]) -> Answer:
    """Return the answer that sends the files to one user only."""
    held = f"Authorization: Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
    whole = good(files)

    def send(connection: socket.socket, request: str) -> None:
        if held in request:
            whole(connection, request)
        else:
            connection.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")

    return send


@pytest.mark.parametrize("by_environment", [True, False])
@pytest.mark.parametrize(
    ("written", "user", "password"),
    [
        ("me:s3cr3t", "me", SECRET),
        ("m%40e:p%2F%3A%20%C3%A9", "m@e", "p/: é"),
        ("s3cr3t", SECRET, ""),
        ("a@b:c", "a@b", "c"),
    ],
)
def test_credentials_in_the_mirror_are_used(
    tiny: CatalogEntry,
    serve: Callable[[Answer], RawServer],
    files: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    by_environment: bool,
    written: str,
    user: str,
    password: str,
) -> None:
    mirror = f"http://{written}@{serve(only_for(user, password, files)).place}/"
    if by_environment:
        monkeypatch.setenv("LRNET_MIRROR", mirror)
    download(tiny, tmp_path, mirror=None if by_environment else mirror)
    assert set(check_files(tiny, tmp_path).values()) == {"ok"}


@pytest.mark.parametrize(
    "head",
    [
        "401 Unauthorized",
        "503 Later",
        "200 OK\r\nContent-Length: 9",
        "302 Found\r\nLocation: http://[::1",
        "302 Found\r\nLocation: /again",
        "",
    ],
)
def test_credentials_stay_out_of_messages_and_files(
    tiny: CatalogEntry, serve: Callable[[Answer], RawServer], tmp_path: Path, head: str
) -> None:
    server = serve(lambda connection, _: connection.sendall(f"HTTP/1.1 {head}\r\n\r\n".encode() if head else b""))
    messages: list[str] = []
    with pytest.raises(DownloadError) as caught:
        download(tiny, tmp_path, mirror=f"http://me:{SECRET}@{server.place}/", on_message=messages.append)
    assert f"{server.url}tiny/{TRAIN_IMAGES}.gz: " in str(caught.value)
    told = [
        str(caught.value),
        *messages,
        *(path.read_text("latin-1") for path in tmp_path.rglob("*") if path.is_file()),
    ]
    assert not [text for text in told if SECRET in text or "me:" in text]
    if "Content-Length" in head:
        assert server.url in (tmp_path / "tiny" / f"{TRAIN_IMAGES}.part.json").read_text()


def test_credentials_are_not_sent_to_where_a_mirror_redirects(
    tiny: CatalogEntry, serve: Callable[[Answer], RawServer], files: dict[str, bytes], tmp_path: Path
) -> None:
    other = serve(good(files))

    def redirect(connection: socket.socket, request: str) -> None:
        place = f"http://{other.place}{request.split()[1]}"
        connection.sendall(f"HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode())

    server = serve(redirect)
    download(tiny, tmp_path, mirror=f"http://me:{SECRET}@{server.place}/")
    assert all("Authorization" in request for request in server.asked)
    assert not any("Authorization" in request for request in other.asked)


@pytest.mark.parametrize(
    "mirror",
    [
        "http://me:s3/cr3t@127.0.0.1/",
        "https://me:s3#cr3t@127.0.0.1/",
        "https:/me:s3cr3t@127.0.0.1/",
        "https://me:s3cr3t@[::1",
        "https://me:s3cr3t@",
        "https://",
        "~nobody-of-this-name/s3cr3t",
    ],
)
def test_a_mirror_that_cannot_be_read_is_refused_without_being_repeated(
    tiny: CatalogEntry, tmp_path: Path, mirror: str
) -> None:
    with pytest.raises(DownloadError, match="neither a URL nor a folder") as caught:
        download(tiny, tmp_path, mirror=mirror)
    assert "cr3t" not in str(caught.value)


def test_a_mistyped_scheme_does_not_show_the_password_either(tiny: CatalogEntry, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="No such file") as caught:
        download(tiny, tmp_path, mirror=f"htps://me:{SECRET}@host/")
    assert SECRET not in str(caught.value)
