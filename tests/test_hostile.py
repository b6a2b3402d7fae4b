"""Damaged and hostile files of every kind that is read: only our errors come out, soon, and without much memory.

``LRNET_EXAMPLES=2000 pytest tests/test_hostile.py -s`` tries more, and prints a row for each kind.
"""

import gzip
import io
import json
import os
import resource
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save

from lrnet_cli.data.files import IMAGE_SUFFIXES
from lrnet_cli.data.images import Preprocessing, prepare
from lrnet_cli.data.readers.by_path import read_raw
from lrnet_cli.errors import LRNetError
from lrnet_cli.models.engine import to_device
from lrnet_cli.models.registry import build
from lrnet_cli.runs.folder import read_config, read_result, read_rows, read_series, write_config, write_series
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.training.checkpoint import load_checkpoint, save_checkpoint
from lrnet_cli.training.state import TrainingState
from lrnet_cli.weights.card import WeightsCard
from lrnet_cli.weights.file import load_weights, save_weights

EXAMPLES = int(os.environ.get("LRNET_EXAMPLES", "12"))
MOST_SECONDS = 5.0  # of processor time, which does not depend on what else the machine does
MOST_BYTES = 400_000_000  # that Python's own allocations may reach
CONFIG = TrainConfig(epochs=1, limit=100, seed=1)

pytestmark = pytest.mark.slow


@dataclass
class Tried:
    """What came of the examples of one kind."""

    read: int = 0
    refused: int = 0
    slowest: float = 0.0


@pytest.fixture(scope="module")
def tally() -> Iterator[dict[str, Tried]]:
    tried: dict[str, Tried] = {}
    yield tried
    if "LRNET_EXAMPLES" in os.environ:
        rows = [
            f"| {kind} | {found.read + found.refused:,} | {found.read:,} | {found.refused:,} | {found.slowest:.1f} s |"
            for kind, found in tried.items()
        ]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        sys.stdout.write("\n".join(["", *rows, f"peak memory {peak:.0f} MB", ""]))


def attempt(found: Tried, read: Callable[[], object]) -> None:
    """Read once: it works, or one of our errors says in a sentence why not."""
    begun = time.process_time()
    tracemalloc.start()
    try:
        read()
        found.read += 1
    except LRNetError as error:
        assert str(error).strip()
        found.refused += 1
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    seconds = time.process_time() - begun
    found.slowest = max(found.slowest, seconds)
    assert seconds < MOST_SECONDS
    assert peak < MOST_BYTES


# Bytes.

FRAGMENTS = [
    b"",
    b"\0" * 64,
    b"\xff" * 64,
    b"\x7f\xff\xff\xff",
    b"9" * 5000,
    b"[" * 20_000,
    b'{"a":' * 5000,
    b"NaN",
    b"-1",
    b"1e999",
    b"\xef\xbb\xbf",
    b"\n\r\0\t,;\"'",
    b"\x1f\x8b",
    b"PK\3\4",
]


# What is drawn is kept in memory, so that only the edits are drawn, and not the edited files.
EDIT = st.tuples(
    st.sampled_from(["flip", "cut", "end", "double", "replace", "insert"]),
    # Most of what is read with care lies at the beginning and the end.
    st.one_of(st.integers(0, 300), st.integers(-300, -1), st.floats(0, 1)),
    st.integers(0, 200),
    st.one_of(st.sampled_from(FRAGMENTS), st.binary(max_size=64)),
)
EDITS = st.lists(EDIT, min_size=1, max_size=4)


def edited(content: bytes, edits: list[tuple[str, float, int, bytes]]) -> bytes:
    """Give ``content`` with bits flipped, and pieces cut out, doubled, replaced or put in."""
    changed = bytearray(content)
    for kind, where, length, piece in edits:
        size = len(changed)
        place = (
            int(where * size) if isinstance(where, float) else min(where, size) if where >= 0 else max(0, size + where)
        )
        match kind:
            case "flip" if place < size:
                changed[place] ^= 1 << length % 8
            case "cut":
                del changed[place : place + length]
            case "end":
                del changed[place:]
            case "double":
                changed[place:place] = changed[place : place + length]
            case "replace":
                changed[place : place + len(piece)] = piece
            case "insert":
                changed[place:place] = piece
    return bytes(changed)


def bounded(examples: int) -> Any:
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize="LRNET_EXAMPLES" not in os.environ,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def encoded(suffix: str) -> bytes:
    pixels = np.arange(24 * 20 * 3, dtype=np.uint8).reshape(24, 20, 3)
    image, target = Image.fromarray(pixels), io.BytesIO()
    form = Image.registered_extensions()[suffix]
    exif = Image.Exif()
    exif[0x0112] = 6
    more: dict[str, Any] = {"exif": exif} if form in ("PNG", "JPEG", "WEBP", "TIFF", "AVIF") else {}
    (image.convert("1") if suffix == ".pbm" else image.convert("L") if suffix == ".pgm" else image).save(
        target, form, **more
    )
    return target.getvalue()


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_images(tmp_path: Path, tally: dict[str, Tried], suffix: str) -> None:
    content, found = encoded(suffix), tally.setdefault("images", Tried())
    path = tmp_path / f"image{suffix}"

    @bounded(EXAMPLES)
    @given(EDITS)
    def check(edits: Any) -> None:
        path.write_bytes(edited(content, edits))
        attempt(found, lambda: prepare(path, Preprocessing(28, 3, "mixed", "none", "ground", "reduced")))

    check()


def idx_files() -> dict[str, bytes]:
    images, labels = np.zeros((6, 8, 8), np.uint8), np.array([0, 1, 0, 1, 0, 1], np.uint8)
    images = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in images.shape) + images.tobytes()
    names = b"\0\0\x08\x01" + (6).to_bytes(4, "big") + labels.tobytes()
    return {
        "train-images-idx3-ubyte": images,
        "train-labels-idx1-ubyte": names,
        "t10k-images-idx3-ubyte.gz": gzip.compress(images),
        "t10k-labels-idx1-ubyte.gz": gzip.compress(names),
    }


def npz_file() -> bytes:
    target = io.BytesIO()
    arrays = {f"{part}_images": np.zeros((6, 8, 8), np.uint8) for part in ("train", "val", "test")}
    labels = {f"{part}_labels": np.array([[0], [1]] * 3) for part in ("train", "val", "test")}
    np.savez_compressed(target, **arrays, **labels, class_names=np.array(["a", "b"]))
    return target.getvalue()


def parquet_file() -> bytes:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    target = io.BytesIO()
    parquet.write_table(arrow.table({"file_name": ["a.png", "b.png"], "label": ["x", "y"]}), target)
    return target.getvalue()


LISTED = b"file_name,label,split,group\na.png,x,train,1\nb.png,y,train,2\nc.png,x,test,3\nd.png,y,test,4\n"
TABLE = (
    b"label,"
    + b",".join(b"pixel%d" % n for n in range(16))
    + b"\n"
    + b"1,"
    + b"0," * 15
    + b"255\n0"
    + b",7" * 16
    + b"\n"
)
LINES = b'{"file_name": "a.png", "label": "x"}\n{"file_name": "b.png", "label": 2, "split": "test"}\n'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *((name, lambda name=name: idx_files()[name]) for name in idx_files()),
        ("data.npz", npz_file),
        ("list.parquet", parquet_file),
        ("list.csv", lambda: LISTED),
        ("table.csv", lambda: TABLE),
        ("list.jsonl", lambda: LINES),
    ],
)
def test_data_files(tmp_path: Path, tally: dict[str, Tried], name: str, content: Callable[[], bytes]) -> None:
    found = tally.setdefault(
        f"data files ({'IDX' if 'idx' in name else Path(name).suffix.strip('.').upper()})", Tried()
    )
    for other, whole in idx_files().items() if "idx" in name else ():
        (tmp_path / other).write_bytes(whole)
    path, whole = tmp_path / name, content()

    @bounded(4 * EXAMPLES)
    @given(EDITS)
    def check(edits: Any) -> None:
        path.write_bytes(edited(whole, edits))
        attempt(found, lambda: read_raw(tmp_path if "idx" in name else path))

    check()


# What is written by this tool and read back: damaged as bytes, and with values of other types in its JSON.

JUNK = [
    None,
    True,
    -1,
    2**70,
    1.5,
    float("nan"),
    "",
    "x" * 10_000,
    "\0\x1b[31m",
    [],
    [[]],
    {},
    {"a": {}},
    [None] * 1000,
]


@st.composite
def mistyped(draw: st.DrawFn, document: Any) -> Any:
    """Give a JSON value with one part replaced by junk, renamed or taken out."""
    if isinstance(document, dict) and document and draw(st.booleans()):
        name = draw(st.sampled_from(sorted(document)))
        rest = {key: value for key, value in document.items() if key != name}
        match draw(st.sampled_from(["within", "out", "renamed"])):
            case "within":
                return rest | {name: draw(mistyped(document[name]))}
            case "renamed":
                return rest | {"other": document[name]}
        return rest
    if isinstance(document, list) and document and draw(st.booleans()):
        place = draw(st.integers(0, len(document) - 1))
        return [*document[:place], draw(mistyped(document[place])), *document[place + 1 :]]
    return draw(st.sampled_from(JUNK))


def documents(folder: Path) -> dict[str, tuple[Path, Callable[[], object]]]:
    """Write each document of a run to ``folder``; give its path and what reads it."""
    write_config(folder, CONFIG)
    write_series(folder, CONFIG, 2, None)
    figures = {"dataset": "a", "arch": "lrnet", "seed": 1, "test_accuracy": 0.5, "test_images": 10, "epochs": 1}
    (folder / "result.json").write_text(json.dumps({"status": "finished"} | figures))
    (folder / "metrics.csv").write_text(
        "epoch,train_loss,train_accuracy,val_loss,val_accuracy,learning_rate\n1,1,1,1,1,1\n"
    )
    return {
        "config.json": (folder / "config.json", lambda: read_config(folder)),
        "series.json": (folder / "series.json", lambda: read_series(folder)),
        "result.json": (folder / "result.json", lambda: read_result(folder)),
        "metrics.csv": (folder / "metrics.csv", lambda: read_rows(folder)),
    }


@pytest.mark.parametrize("name", ["config.json", "series.json", "result.json", "metrics.csv"])
def test_documents_of_a_run(tmp_path: Path, tally: dict[str, Tried], name: str) -> None:
    path, read = documents(tmp_path)[name]
    content, found = path.read_bytes(), tally.setdefault("documents of a run", Tried())
    mistypes = st.nothing() if name.endswith("csv") else mistyped(json.loads(content))

    @bounded(8 * EXAMPLES)
    @given(st.one_of(mistypes.map(lambda value: (value, None)), EDITS.map(lambda edits: (None, edits))))
    def check(example: tuple[Any, Any]) -> None:
        value, edits = example
        path.write_bytes(json.dumps(value).encode() if edits is None else edited(content, edits))
        attempt(found, read)

    check()


def rewritten(path: Path, data: st.DataObject) -> bytes:
    """Give a safetensors file edited, or undigested with one of its metadata or tensors replaced."""
    if data.draw(st.booleans()):
        return edited(path.read_bytes(), data.draw(EDITS))
    with safe_open(path, framework="pt") as file:
        metadata = {name: text for name, text in file.metadata().items() if name != "digest"}
    tensors = load_file(path)
    if data.draw(st.booleans()):
        name = data.draw(st.sampled_from(sorted(metadata)))
        value = metadata[name]
        junk = data.draw(mistyped(json.loads(value) if value[0] in '{["0123456789' else value))
        metadata[name] = data.draw(st.sampled_from([json.dumps(junk), "[" * 50_000, "", "nan"]))
    else:
        name = data.draw(st.sampled_from(sorted(tensors)))
        kind = data.draw(st.sampled_from([torch.float8_e4m3fn, torch.complex64, torch.int8, torch.bool, torch.float64]))
        others = [torch.zeros(0), torch.zeros(2, 2), torch.tensor(torch.nan), tensors[name].to(kind)]
        place = data.draw(st.sampled_from([name, "other", "optimizer.0.x.y", "optimizer.7.0.x"]))
        tensors[place] = others[data.draw(st.integers(0, len(others) - 1))]
    return save({key: tensor.contiguous() for key, tensor in tensors.items()}, metadata)


CARD = WeightsCard(
    arch="lrnet",
    arch_args={"in_channels": 1, "image_size": 8, "num_classes": 3},
    classes=("a", "b", "c"),
    head="softmax",
    preprocessing=Preprocessing(8, 1, "light-on-dark"),
    seed=7,
    dataset={"name": "x", "train": 3},
    protocol={"validation": "none", "recipe": {"robust": 1.0}, "test_fold": (1, 2)},
    metrics={"val_accuracy": 0.5},
)


def try_rewritten(path: Path, found: Tried, examples: int, read: Callable[[], object]) -> None:
    """Read the safetensors file at ``path`` after each of ``examples`` ways of damaging it."""
    whole = path.with_suffix(".whole")
    whole.write_bytes(path.read_bytes())

    @bounded(examples)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        path.write_bytes(rewritten(whole, data))
        attempt(found, read)

    check()


def test_weight_files(tmp_path: Path, tally: dict[str, Tried]) -> None:
    path = tmp_path / "model.safetensors"
    save_weights(path, build(CARD.arch, **CARD.arch_args), CARD)
    try_rewritten(path, tally.setdefault("weight files", Tried()), 8 * EXAMPLES, lambda: load_weights(path))


def test_checkpoints(tmp_path: Path, tally: dict[str, Tried]) -> None:
    def fresh() -> TrainingState:
        device = torch.device("cpu")
        return TrainingState.start(to_device(build(CARD.arch, **CARD.arch_args), device), CONFIG, device)

    def read() -> bool:
        return load_checkpoint(tmp_path, fresh(), "0" * 64, lambda _text: None)

    path = tmp_path / "checkpoint" / "latest.safetensors"
    path.parent.mkdir()
    save_checkpoint(tmp_path, fresh(), "0" * 64)
    try_rewritten(path, tally.setdefault("checkpoints", Tried()), 4 * EXAMPLES, read)
