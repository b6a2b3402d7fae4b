"""Killed at random moments, a prediction, a download and the keeping of images lose and double nothing.

A training is killed in ``tests/training/test_resume.py``.
"""

import contextlib
import gzip
import hashlib
import os
import pickle
import random
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from PIL import Image

from lrnet_cli.data.catalog import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, CatalogEntry, CatalogFile
from lrnet_cli.data.datasets import load_dataset
from lrnet_cli.data.download import check_files

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")]
KILLS = 10

# A process that has loaded everything and works in a copy of itself for each line that it reads: a kill costs no start
# of Python. Python forks before PyTorch has any thread.
NURSERY = """
import os, pickle, sys
from pathlib import Path
import sklearn.datasets
import lrnet_cli.predict.job
from lrnet_cli.cli.app import app
from lrnet_cli.data import download, prepared, transfer
from lrnet_cli.data.datasets import load_dataset

prepared.FEWEST = 2
for line in sys.stdin:
    kind, *words = line.rstrip().split("\\t")
    child = os.fork()
    if child:
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if kind == "predict":
        try:
            app(["predict", *words])
        except SystemExit as end:
            os._exit(end.code or 0)
    elif kind == "keep":
        load_dataset(words[0], data_dir=Path(words[1]))
    else:
        entry = pickle.loads(Path(words[0]).read_bytes())
        download.download(entry, Path(words[1]), mirror=words[2])
    os._exit(0)
"""


@pytest.fixture
def killed() -> Iterator[Callable[..., int]]:
    """Give a function that starts a piece of work again and again, ten times killed, and returns how often it ended."""
    chance = random.Random(0)
    environment = os.environ | {"LRNET_OFFLINE": "0"}
    with subprocess.Popen(
        [sys.executable, "-c", NURSERY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as nursery:
        assert nursery.stdin is not None
        assert nursery.stdout is not None

        def work(*words: object, seconds: float, again: Callable[[], None]) -> int:
            ended = kills = 0
            while kills < KILLS:
                nursery.stdin.write("\t".join(map(str, words)) + "\n")
                nursery.stdin.flush()
                child = int(nursery.stdout.readline())
                time.sleep(chance.uniform(0.0, seconds))
                with contextlib.suppress(ProcessLookupError):  # it has ended
                    os.kill(child, signal.SIGKILL)
                code = int(nursery.stdout.readline())
                assert code in (0, -signal.SIGKILL)
                if code == 0:
                    ended += 1
                    again()
                else:
                    kills += 1
            return ended

        yield work
        nursery.stdin.close()


def write_images(folder: Path, count: int) -> Path:
    generator = np.random.default_rng(0)
    for number in range(count):
        target = folder / "ab"[number % 2] / f"{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (40, 40), dtype=np.uint8)).save(target)
    return folder


def test_a_prediction(killed: Callable[..., int], tmp_path: Path) -> None:
    images, rows = write_images(tmp_path / "images", 300), tmp_path / "rows.csv"
    whole = subprocess.run(
        [sys.executable, "-m", "lrnet_cli", "predict", str(images), "--format", "csv"],
        check=True,
        capture_output=True,
    ).stdout

    def check() -> None:
        assert rows.read_bytes() == whole
        assert [path.name for path in tmp_path.glob("[!.]*") if path.is_file()] == ["rows.csv"]
        rows.unlink()

    words = ("predict", images, "--output", rows, "--resume")
    killed(*words, seconds=1.0, again=check)
    subprocess.run([sys.executable, "-m", "lrnet_cli", *map(str, words)], check=True, capture_output=True)
    check()


def test_kept_images(killed: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = write_images(tmp_path / "images", 600)
    whole = load_dataset(str(images), data_dir=tmp_path / "other").content_sha256

    def again() -> None:
        os.utime(images / "a" / "0.png")  # it must be read again, and all be kept anew

    killed("keep", images, tmp_path / "data", seconds=0.5, again=again)
    monkeypatch.setattr("lrnet_cli.data.prepared.FEWEST", 2)
    for _ in range(2):
        assert load_dataset(str(images), data_dir=tmp_path / "data").content_sha256 == whole
    assert len(list((tmp_path / "data" / "prepared").glob("*.safetensors"))) == 1


class Slow(BaseHTTPRequestHandler):
    """Serves ``files``, with ranges, a few kilobytes at a time."""

    files: dict[str, bytes] = {}  # noqa: RUF012 # set by the test

    def do_GET(self) -> None:
        body = self.files.get(self.path.rsplit("/", 1)[-1])
        if body is None:
            self.send_error(404)
            return
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("ETag", '"same"')
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        with contextlib.suppress(OSError):  # the other end was killed
            for position in range(start, len(body), 8192):
                self.wfile.write(body[position : position + 8192])
                time.sleep(0.02)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


def test_a_download(killed: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator, files = np.random.default_rng(0), dict[str, bytes]()
    for images, labels, count in ((TRAIN_IMAGES, TRAIN_LABELS, 200), (TEST_IMAGES, TEST_LABELS, 100)):
        pixels = generator.integers(0, 256, count * 784, dtype=np.uint8).tobytes()
        files[images] = struct.pack(">HBBIII", 0, 8, 3, count, 28, 28) + pixels
        files[labels] = struct.pack(">HBBI", 0, 8, 1, count) + bytes(n % 2 for n in range(count))
    known = tuple(CatalogFile(name, len(c), sha256=hashlib.sha256(c).hexdigest()) for name, c in files.items())
    entry = CatalogEntry("noise", "Noise", ("even", "odd"), "CC0", "this test", 200, 100, (), known)
    (tmp_path / "entry.pickle").write_bytes(pickle.dumps(entry))
    monkeypatch.setattr(Slow, "files", {f"{name}.gz": gzip.compress(content) for name, content in files.items()})
    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url, folder = f"http://127.0.0.1:{server.server_port}/", tmp_path / "data" / "noise"

        def check() -> None:
            assert set(check_files(entry, tmp_path / "data").values()) == {"ok"}
            assert {path.name for path in folder.iterdir()} - {".lock"} == set(files)
            (folder / TRAIN_IMAGES).unlink()

        work = ("download", tmp_path / "entry.pickle", tmp_path / "data", url)
        while not killed(*work, seconds=1.0, again=check):
            pass
        server.shutdown()
