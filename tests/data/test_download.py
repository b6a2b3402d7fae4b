import contextlib
import gzip
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lrnet_cli.data import answer, transfer
from lrnet_cli.data import download as download_module
from lrnet_cli.data.catalog import CATALOG, TRAIN_IMAGES, TRAIN_LABELS, CatalogEntry
from lrnet_cli.data.download import check_files, download
from lrnet_cli.errors import DownloadError

_spec = importlib.util.spec_from_file_location("mirror_server", Path(__file__).parent / "mirror_server.py")
assert _spec is not None
assert _spec.loader is not None
mirror_server = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(mirror_server)
IMAGES_PATH = f"/tiny/{TRAIN_IMAGES}.gz"


@pytest.fixture(autouse=True)
def online_and_impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LRNET_OFFLINE")
    monkeypatch.setattr(transfer, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(answer, "_WINDOW", 0.5)


@pytest.fixture
def server(tiny_files: dict[str, bytes]) -> Iterator[Any]:
    files = {f"/tiny/{name}.gz": gzip.compress(content) for name, content in tiny_files.items()}
    with mirror_server.MirrorServer(files) as running:
        yield running


def assert_complete(entry: CatalogEntry, data_dir: Path) -> None:
    assert set(check_files(entry, data_dir).values()) == {"ok"}
    left = {path.name for path in (data_dir / "tiny").iterdir()}
    assert left - {".lock"} == {file.name for file in entry.files}


def test_files_arrive_uncompressed_and_checked(tiny: CatalogEntry, server: Any, tmp_path: Path) -> None:
    seen = []
    folder = download(tiny, tmp_path, mirror=server.url, on_progress=lambda *event: seen.append(event))
    assert folder == tmp_path / "tiny"
    assert_complete(tiny, tmp_path)
    assert {name for name, _, _ in seen} == {file.name for file in tiny.files}
    assert all(0 < done <= total for _, done, total in seen)


def test_files_that_are_there_are_not_fetched_again_unless_forced(
    tiny: CatalogEntry, server: Any, tmp_path: Path
) -> None:
    download(tiny, tmp_path, mirror=server.url)
    server.requests.clear()
    for suffix in (".part", ".part.json"):  # as of a process that was killed just after a file was complete
        (tmp_path / "tiny" / f"{TRAIN_IMAGES}{suffix}").write_bytes(b"left")
    download(tiny, tmp_path, mirror=server.url)
    assert not server.requests
    assert_complete(tiny, tmp_path)
    download(tiny, tmp_path, mirror=server.url, force=True)
    assert len(server.requests) == 4


@pytest.mark.parametrize("fault", ["cut", "drop", "stall", "drip", "slow", "no-ranges", 500, 503, 429, 416])
def test_a_passing_fault_is_overcome_within_one_call(
    tiny: CatalogEntry, server: Any, tmp_path: Path, fault: object
) -> None:
    server.faults[IMAGES_PATH] = [fault]
    download(tiny, tmp_path, mirror=server.url)
    assert_complete(tiny, tmp_path)


@pytest.mark.parametrize("fault", ["cut", "drip"])
def test_a_cut_transfer_goes_on_where_it_stopped(tiny: CatalogEntry, server: Any, tmp_path: Path, fault: str) -> None:
    server.faults[IMAGES_PATH] = [fault, fault]
    download(tiny, tmp_path, mirror=server.url)
    asked = [wanted for path, wanted in server.requests if path == IMAGES_PATH]
    assert asked[0] is None
    starts = [int(wanted.removeprefix("bytes=").removesuffix("-")) for wanted in asked[1:]]
    assert len(server.files[IMAGES_PATH]) / 4 < starts[0] < starts[1]
    assert_complete(tiny, tmp_path)


def test_a_later_call_goes_on_with_what_an_earlier_one_left(tiny: CatalogEntry, server: Any, tmp_path: Path) -> None:
    server.faults[IMAGES_PATH] = ["cut", 503, 503, 503]
    with pytest.raises(DownloadError, match=r"503.*4 attempts"):
        download(tiny, tmp_path, mirror=server.url)
    server.requests.clear()
    download(tiny, tmp_path, mirror=server.url)
    [(path, wanted)] = server.requests
    assert (path, wanted is not None) == (IMAGES_PATH, True)
    assert_complete(tiny, tmp_path)


def test_a_piece_of_a_file_that_has_changed_since_is_not_built_upon(
    tiny: CatalogEntry, server: Any, tmp_path: Path
) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / f"{TRAIN_IMAGES}.part").write_bytes(b"\x1f\x8b old bytes")
    note = {"url": server.url + IMAGES_PATH[1:], "validator": None}
    (tmp_path / "tiny" / f"{TRAIN_IMAGES}.part.json").write_text(json.dumps(note))
    download(tiny, tmp_path, mirror=server.url)
    assert_complete(tiny, tmp_path)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("html", "an HTML page instead of the data file"),
        ("wrong", "truncated or damaged"),
        ("short", "truncated or damaged"),
        (403, "403 Forbidden"),
        (404, "404 Not Found"),
        (503, r"503 Service Unavailable \(4 attempts\)"),
        ("cut", "the connection broke off after"),
        ("drop", "the server closed the connection"),
    ],
)
def test_a_lasting_fault_is_told_keeps_the_rest_and_a_second_try_succeeds(
    tiny: CatalogEntry, server: Any, tmp_path: Path, fault: object, reason: str
) -> None:
    server.faults[IMAGES_PATH] = [fault] * 4
    with pytest.raises(DownloadError, match=f"(?s)1 of 4 files.*{TRAIN_IMAGES}.*{reason}.*--mirror"):
        download(tiny, tmp_path, mirror=server.url)
    states = check_files(tiny, tmp_path)
    assert states.pop(TRAIN_IMAGES) == "missing"
    assert set(states.values()) == {"ok"}
    server.faults.clear()
    download(tiny, tmp_path, mirror=server.url)
    assert_complete(tiny, tmp_path)


def test_a_host_is_given_patience_once_for_all_files(
    tiny: CatalogEntry, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The pauses are counted, not slept: 15 s fit into the patience of 20 s, the 30 s after them do not.
    monkeypatch.setattr(answer, "_PATIENCE", 20.0)
    monkeypatch.setattr(transfer, "_FIRST_PAUSE", 15.0)
    monkeypatch.setattr(transfer, "time", SimpleNamespace(monotonic=time.monotonic, sleep=lambda seconds: None))
    for path in server.files:
        server.faults[path] = [429] * 20
    with pytest.raises(DownloadError, match=r"(?s)4 of 4 files.*429.*2 attempts.*not asked again"):
        download(tiny, tmp_path, mirror=server.url)
    assert len(server.requests) == 2


@pytest.mark.parametrize("endless", [b"HTTP/1.1 100 Continue\r\n\r\n", b"1\r\na\r\n"])
def test_an_endless_answer_takes_the_time_of_the_download_and_leaves_no_thread(
    tiny: CatalogEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endless: bytes
) -> None:
    monkeypatch.setattr(download_module, "_LEAST_SECONDS", 1.0)
    before = set(threading.enumerate())

    def answer_without_end() -> None:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" if endless[:1] == b"1" else b""
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with contextlib.suppress(OSError), connection:
                    connection.sendall(head)
                    while True:
                        connection.sendall(endless)
                        time.sleep(0.0001)

    big = replace(tiny, files=tuple(replace(file, size=10**8) for file in tiny.files))
    monkeypatch.setattr(download_module, "_SLOWEST", 10**12)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = threading.Thread(target=answer_without_end, daemon=True)
        serving.start()
        begun = time.monotonic()
        with pytest.raises(DownloadError, match=r"(?s)4 of 4 files.*not asked"):
            download(big, tmp_path, mirror=f"http://127.0.0.1:{listening.getsockname()[1]}/")
        assert time.monotonic() - begun < 10
        for thread in set(threading.enumerate()) - before - {serving}:
            thread.join(5)
            assert not thread.is_alive()


def test_the_next_mirror_serves_what_the_first_does_not(tiny: CatalogEntry, server: Any, tmp_path: Path) -> None:
    entry = replace(tiny, mirrors=(server.url + "nowhere", server.url + "tiny"))
    download(entry, tmp_path)
    assert_complete(entry, tmp_path)


def test_no_network_is_told_once_a_host(tiny: CatalogEntry, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        with pytest.raises(DownloadError, match=r"(?s)4 of 4 files.*not reachable.*Connection refused"):
            download(tiny, tmp_path, mirror=url)


def test_a_host_that_does_not_exist_is_not_reachable(tiny: CatalogEntry, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="not reachable"):
        download(tiny, tmp_path, mirror="http://nowhere.invalid/")


def test_offline_mode_asks_no_server(
    tiny: CatalogEntry, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LRNET_OFFLINE", "1")
    with pytest.raises(DownloadError, match="LRNET_OFFLINE forbids the network") as caught:
        download(tiny, tmp_path, mirror=server.url)
    assert caught.value.args[-1].startswith("Unset LRNET_OFFLINE, name another source with --mirror, or put ")
    assert not server.requests


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_a_folder_is_a_mirror_even_offline(
    tiny: CatalogEntry, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setenv("LRNET_OFFLINE", "1")
    monkeypatch.setenv("LRNET_MIRROR", form.format(tiny_folder))
    download(tiny, tmp_path / "cache")
    assert_complete(tiny, tmp_path / "cache")


def test_a_file_that_the_user_puts_into_the_cache_is_taken(
    tiny: CatalogEntry, tiny_folder: Path, server: Any, tmp_path: Path
) -> None:
    download(tiny, tmp_path, mirror=str(tiny_folder))
    (tmp_path / "tiny" / TRAIN_IMAGES).unlink()
    (tiny_folder / "tiny" / f"{TRAIN_IMAGES}.gz").rename(tmp_path / "tiny" / f"{TRAIN_IMAGES}.gz")
    download(tiny, tmp_path, mirror=server.url)
    assert not server.requests
    assert set(check_files(tiny, tmp_path).values()) == {"ok"}


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: bytes(len(content))])
def test_a_damaged_file_in_the_cache_is_named_and_fetched_again(
    tiny: CatalogEntry, server: Any, tmp_path: Path, damage: Any
) -> None:
    download(tiny, tmp_path, mirror=server.url)
    path = tmp_path / "tiny" / TRAIN_LABELS
    path.write_bytes(damage(path.read_bytes()))
    messages: list[str] = []
    download(tiny, tmp_path, mirror=server.url, on_message=messages.append)
    assert_complete(tiny, tmp_path)
    assert any(str(path) in text and "fetched again" in text for text in messages)


def test_an_endless_answer_is_broken_off(tiny: CatalogEntry, server: Any, tmp_path: Path) -> None:
    server.files[IMAGES_PATH] = b"\x1f\x8b" + bytes(1_000_000)
    with pytest.raises(DownloadError, match="more bytes than the file has"):
        download(tiny, tmp_path, mirror=server.url)


def test_a_gzip_bomb_is_broken_off(tiny: CatalogEntry, server: Any, tmp_path: Path) -> None:
    server.files[IMAGES_PATH] = gzip.compress(bytes(20_000_000))
    with pytest.raises(DownloadError, match="has more than 31376 bytes"):
        download(tiny, tmp_path, mirror=server.url)


def test_a_server_that_asks_for_patience_is_given_it_and_an_hour_is_too_long(
    tiny: CatalogEntry, server: Any, tmp_path: Path
) -> None:
    send_error = mirror_server._Handler.send_error

    def with_retry_after(self: Any, code: int, *rest: Any) -> None:
        self.send_response(code)
        self.send_header("Retry-After", "3600")
        self.send_header("Content-Length", "0")
        self.end_headers()

    mirror_server._Handler.send_error = with_retry_after
    try:
        server.faults[IMAGES_PATH] = [503]
        with pytest.raises(DownloadError, match="503 Service Unavailable; the server asks to wait 3600 s"):
            download(tiny, tmp_path, mirror=server.url)
    finally:
        mirror_server._Handler.send_error = send_error


@pytest.mark.parametrize("small_disk", ["28k"], indirect=True)  # smaller than the training images
def test_a_full_disk_is_told_and_a_second_try_with_room_succeeds(
    tiny: CatalogEntry, server: Any, small_disk: Path
) -> None:
    with pytest.raises(DownloadError, match=r"cannot write .*No space left on device.*--data-dir"):
        download(tiny, small_disk, mirror=server.url)
    subprocess.run(["mount", "-o", "remount,size=1m", str(small_disk)], check=True)
    download(tiny, small_disk, mirror=server.url)
    assert_complete(tiny, small_disk)


def test_a_folder_without_write_permission_is_told(tiny: CatalogEntry, server: Any, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    as_root = hasattr(os, "geteuid") and os.geteuid() == 0
    if as_root:
        tmp_path.chmod(0o755)
        for parent in tmp_path.parents:
            if parent.stat().st_uid == 0 and str(parent).startswith("/tmp/"):
                parent.chmod(0o755)
        os.seteuid(65534)
    try:
        with pytest.raises(DownloadError, match=r"cannot write .*closed.*Permission denied"):
            download(tiny, closed, mirror=server.url)
    finally:
        if as_root:
            os.seteuid(0)
    assert not list(closed.iterdir())


SCRIPT = """
import json, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background hands down an ignored Ctrl-C
from pathlib import Path
from lrnet_cli.data.catalog import CatalogEntry, CatalogFile
from lrnet_cli.data.download import download
values = json.loads(sys.argv[1])
values["files"] = tuple(CatalogFile(**file) for file in values["files"])
download(CatalogEntry(**values), Path(sys.argv[2]), mirror=sys.argv[3], on_message=print)
"""


def start_process(entry: CatalogEntry, data_dir: Path, mirror: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, json.dumps(asdict(entry)), str(data_dir), mirror]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_processes_at_once_fetch_each_file_once(tiny: CatalogEntry, server: Any, tmp_path: Path) -> None:
    server.faults[IMAGES_PATH] = ["slow"]
    first = start_process(tiny, tmp_path, server.url)
    while not server.requests:
        time.sleep(0.01)
    second = start_process(tiny, tmp_path, server.url)
    (_, first_errors), (second_output, second_errors) = first.communicate(), second.communicate()
    assert (first.returncode, second.returncode) == (0, 0), first_errors + second_errors
    assert len(server.requests) == 4
    assert "waiting" in second_output or not second_output
    assert_complete(tiny, tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_ends_the_wait_for_a_silent_server(tiny: CatalogEntry, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = start_process(tiny, tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}/")
        connection, _ = silent.accept()
        with connection:
            asked = connection.recv(4096)
            process.send_signal(signal.SIGINT)
            start = time.monotonic()
            _, errors = process.communicate()
    assert asked.startswith(b"GET /tiny/")
    assert time.monotonic() - start < 5
    assert "KeyboardInterrupt" in errors


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
@pytest.mark.parametrize(("umask", "mode"), [(0o027, 0o640), (0o077, 0o600), (0o002, 0o664)])
def test_cached_files_have_the_permissions_of_the_users_umask(
    tiny: CatalogEntry, server: Any, tmp_path: Path, umask: int, mode: int
) -> None:
    before = os.umask(umask)
    try:
        download(tiny, tmp_path / "cache", mirror=server.url)
    finally:
        os.umask(before)
    folder = tmp_path / "cache" / "tiny"
    assert {(folder / file.name).stat().st_mode & 0o777 for file in tiny.files} == {mode}
    assert folder.stat().st_mode & 0o777 == 0o777 & ~umask


@pytest.mark.skipif(sys.platform == "win32", reason="needs a right there")
@pytest.mark.parametrize("suffix", [".part", ".part.json"])
def test_a_symbolic_link_in_the_place_of_a_piece_is_not_followed(
    tiny: CatalogEntry, server: Any, tmp_path: Path, suffix: str
) -> None:
    (tmp_path / "tiny").mkdir()
    targets = {".part": tmp_path / "precious", ".part.json": tmp_path / "note"}
    targets[".part"].write_bytes(server.files[IMAGES_PATH][:100])
    targets[".part.json"].write_text(json.dumps({"url": server.url + IMAGES_PATH[1:], "validator": None}))
    before = {target: target.read_bytes() for target in targets.values()}
    for ending, target in targets.items():
        place = tmp_path / "tiny" / f"{TRAIN_IMAGES}{ending}"
        place.symlink_to(target) if ending == suffix else place.write_bytes(target.read_bytes())
    download(tiny, tmp_path, mirror=server.url)
    assert server.requests[0] == (IMAGES_PATH, None)
    assert {target: target.read_bytes() for target in targets.values()} == before
    assert_complete(tiny, tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_process_stopped_in_the_middle_leaves_a_cache_that_goes_on(
    tiny: CatalogEntry, server: Any, tmp_path: Path, number: signal.Signals
) -> None:
    server.faults[IMAGES_PATH] = ["slow"]
    process = start_process(tiny, tmp_path, server.url)
    part = tmp_path / "tiny" / f"{TRAIN_IMAGES}.part"
    while not part.exists() or not part.stat().st_size:
        time.sleep(0.01)
    process.send_signal(number)
    process.communicate()
    assert process.returncode != 0
    assert not (tmp_path / "tiny" / TRAIN_IMAGES).exists()
    server.requests.clear()
    download(tiny, tmp_path, mirror=server.url)
    assert server.requests[0][1] is not None
    assert_complete(tiny, tmp_path)


def test_the_real_files_carry_the_catalogs_hashes(shared_data: Path, tmp_path: Path) -> None:
    for name in ("digits", "fashion"):
        download(CATALOG[name], tmp_path, mirror=str(shared_data))
        assert set(check_files(CATALOG[name], tmp_path).values()) == {"ok"}


def test_a_mirror_without_oracles_training_images_leaves_the_rest_verified(shared_data: Path, tmp_path: Path) -> None:
    with pytest.raises(DownloadError) as caught:
        download(CATALOG["oracle"], tmp_path, mirror=str(shared_data))
    assert f"{TRAIN_IMAGES}.gz" in str(caught.value)
    assert str(shared_data / "oracle") in str(caught.value)
    assert f"put the file into {tmp_path / 'oracle'}" in str(caught.value)
    states = check_files(CATALOG["oracle"], tmp_path)
    assert states.pop(TRAIN_IMAGES) == "missing"
    assert set(states.values()) == {"ok"}
