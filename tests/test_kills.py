"""Killed anywhere, a prediction, a download, the keeping of images, a run and a series lose and double nothing.

What is killed counts what it does to files, and ends itself at a certain one, with nothing written after it.
``LRNET_KILLS=200 pytest tests/test_kills.py`` kills each at that many of them instead of a few.
"""

import contextlib
import gzip
import hashlib
import os
import pickle
import shutil
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
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from lrnet_cli.data.catalog import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, CatalogEntry, CatalogFile
from lrnet_cli.data.datasets import load_dataset
from lrnet_cli.data.download import check_files
from lrnet_cli.data.images import Preprocessing
from lrnet_cli.models.registry import build
from lrnet_cli.runs.folder import read_result
from lrnet_cli.settings.place import Source
from lrnet_cli.weights.card import WeightsCard
from lrnet_cli.weights.file import save_weights

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")]
KILLS = int(os.environ.get("LRNET_KILLS", "6"))

# A process that has loaded everything and works in a copy of itself for each line that it reads: a kill costs no start
# of Python. Python forks before PyTorch has any thread.
NURSERY = """
import os, pickle, signal, sys, threading
from pathlib import Path
import sklearn.datasets
import torch
import lrnet_cli.plots
import lrnet_cli.predict.job
import lrnet_cli.review.page
from lrnet_cli.cli.app import app
from lrnet_cli.data import download, prepared, transfer
from lrnet_cli.data.datasets import load_dataset
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.settings.place import Source
from lrnet_cli.training import clock, trial
from lrnet_cli.training.series import resume_series, train_series
from lrnet_cli.training.train import resume, train

prepared.FEWEST = 2
# A checkpoint after every step, so that many kills fall into a write.
clock.CHECKPOINT_SECONDS = trial.CHECKPOINT_SECONDS = 0.0
CHANGES = {"write", "writelines", "close", "flush", "fsync", "open", "replace", "rename", "unlink", "mkdir", "rmdir"}
CHANGES |= {"utime", "truncate", "flock", "serialize_file", "__exit__"}
steps = 0

def end_at(last):
    def count(frame, event, function):
        global steps
        if event in ("c_call", "c_return") and function.__name__ in CHANGES:
            steps += 1
            if steps == last:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.setprofile(count)
    threading.setprofile(count)

def work(kind, words):
    if kind == "predict":
        app(["predict", *words], standalone_mode=False)
    elif kind == "keep":
        load_dataset(words[0], source=Source(data_dir=Path(words[1])))
    elif kind == "download":
        entry = pickle.loads(Path(words[0]).read_bytes())
        download.download(entry, Path(words[1]), mirror=words[2])
    else:
        out = Path(words[1])
        settings = {"arch": "cnn", "image_size": 8, "batch_size": 16, "epochs": 2, "seed": 0, "threads": "1"}
        scans = {"unlabelled": Path(words[2])} if kind == "unlabelled" else {}
        config = TrainConfig(dataset=words[0], out=out, **settings, **scans)
        if (out / "config.json").exists():
            resume(out)
        elif (out / "series.json").exists():
            resume_series(out)
        elif kind == "series":
            train_series(config, folds=2)
        else:
            train(config)

for line in sys.stdin:
    kind, last, *words = line.rstrip().split("\\t")
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        end_at(int(last))
        work(kind, words)
        sys.setprofile(None)
        os.write(writing, str(steps).encode())
        os._exit(0)
    os.close(writing)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(code, os.read(reading, 20).decode() or 0, flush=True)
    os.close(reading)
"""


@pytest.fixture
def work() -> Iterator[Callable[..., Iterator[None]]]:
    """Give a function that does a piece of work once in full, and then again and again, killed and then finished.

    It yields after each time that the work is done.
    """
    environment = os.environ | {"LRNET_OFFLINE": "0", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", NURSERY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as nursery:
        assert nursery.stdin is not None
        assert nursery.stdout is not None

        def once(last: int, kind: str, *words: object) -> tuple[int, int]:
            nursery.stdin.write("\t".join(map(str, (kind, last, *words))) + "\n")
            nursery.stdin.flush()
            code, steps = map(int, nursery.stdout.readline().split())
            return code, steps

        def again_and_again(*words: object) -> Iterator[None]:
            code, total = once(0, *words)
            assert code == 0
            yield
            killed = 0
            for number in range(KILLS):
                code, _ = once(1 + number * total // KILLS, *words)
                killed += code == -signal.SIGKILL
                assert code in (0, -signal.SIGKILL)
                assert once(0, *words)[0] == 0
                yield
            assert killed > 0.7 * KILLS  # threads do not always do as much

        yield again_and_again
        nursery.stdin.close()


def write_images(folder: Path, count: int, seed: int = 0) -> Path:
    """Write images of two classes, of which one is darker on the left, the other on the right."""
    generator = np.random.default_rng(seed)
    for number in range(count):
        target = folder / "ab"[number % 2] / f"{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (40, 40), dtype=np.uint8)
        pixels[:, 20 * (number % 2) :][:, :20] //= 2
        Image.fromarray(pixels).save(target)
    return folder


def test_a_prediction(work: Callable[..., Iterator[None]], tmp_path: Path) -> None:
    images, rows, whole = write_images(tmp_path / "images", 300), tmp_path / "rows.csv", b""
    weights, sizes = tmp_path / "run" / "model.safetensors", {"in_channels": 1, "image_size": 8, "num_classes": 2}
    weights.parent.mkdir()
    card = WeightsCard("cnn", sizes, ("a", "b"), "softmax", Preprocessing(8, 1, "light-on-dark"), 0)
    save_weights(weights, build("cnn", **sizes).eval(), card)
    for _ in work("predict", images, "--weights", weights, "--output", rows, "--resume"):
        whole = whole or rows.read_bytes()
        assert rows.read_bytes() == whole
        assert [path.name for path in tmp_path.glob("[!.]*") if path.is_file()] == ["rows.csv"]
        rows.unlink()
    assert whole.count(b"\n") == 301


def test_kept_images(work: Callable[..., Iterator[None]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = write_images(tmp_path / "images", 200)
    whole = load_dataset(str(images), source=Source(data_dir=tmp_path / "other")).content_sha256
    monkeypatch.setattr("lrnet_cli.data.prepared.FEWEST", 2)
    for _ in work("keep", images, tmp_path / "data"):
        assert load_dataset(str(images), source=Source(data_dir=tmp_path / "data")).content_sha256 == whole
        assert len(list((tmp_path / "data" / "prepared").glob("*.safetensors"))) == 1
        shutil.rmtree(tmp_path / "data")


@pytest.mark.parametrize("kind", ["train", "unlabelled"])
def test_a_run(work: Callable[..., Iterator[None]], tmp_path: Path, kind: str) -> None:
    images, run, whole = write_images(tmp_path / "images", 80), tmp_path / "run", dict[str, Tensor]()
    for _ in work(kind, images, run, write_images(tmp_path / "scans", 60, seed=1)):
        weights = load_file(run / "model.safetensors")
        whole = whole or weights
        assert all(torch.equal(weights[name], whole[name]) for name in whole)
        assert read_result(run)["status"] == "finished"
        assert not (run / "checkpoint").exists()
        assert not (run / "trials").exists()
        assert not list(run.rglob("*.tmp"))
        shutil.rmtree(run)


def test_a_series(work: Callable[..., Iterator[None]], tmp_path: Path) -> None:
    images, series, whole = write_images(tmp_path / "images", 80), tmp_path / "series", dict[Path, bytes]()
    for _ in work("series", images, series):
        suspects = {Path("suspects.csv"): (series / "suspects.csv").read_bytes()}
        found = suspects | {
            path.relative_to(series): b"".join(t.numpy().tobytes() for _, t in sorted(load_file(path).items()))
            for path in series.glob("*/model.safetensors")
        }
        whole = whole or found
        assert found == whole
        assert not list(series.rglob("*.tmp"))
        shutil.rmtree(series)
    assert len(whole) == 3


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
                time.sleep(0.002)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


def test_a_download(work: Callable[..., Iterator[None]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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

        for _ in work("download", tmp_path / "entry.pickle", tmp_path / "data", url):
            assert set(check_files(entry, tmp_path / "data").values()) == {"ok"}
            assert {path.name for path in folder.iterdir()} - {".lock"} == set(files)
            shutil.rmtree(folder)
        server.shutdown()
