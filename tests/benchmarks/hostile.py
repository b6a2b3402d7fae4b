"""Damaged and hostile files of every kind that is read, each of which must be read or refused in a sentence, soon.

    python tests/benchmarks/hostile.py --inputs 100000 --seconds 280 --state hostile.json

tries them in a process that they may end, for at most so many seconds; run again, it goes on where it stopped. It ends
with a table, and with exit code 1 if a file raised anything else, took more than five seconds of processor time, or
ended the process. A file follows from its kind and number, so that any can be tried again: ``attempt("TIFF", 17)``.
"""

import argparse
import contextlib
import csv
import gzip
import io
import json
import random
import resource
import struct
import sys
import tempfile
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from lrnet_cli.data.images import Preprocessing, prepare
from lrnet_cli.data.reader import EndedError, Reader
from lrnet_cli.data.readers.by_path import read_raw
from lrnet_cli.errors import LRNetError
from lrnet_cli.models.engine import to_device
from lrnet_cli.models.registry import build
from lrnet_cli.runs.folder import (
    figures_of,
    read_config,
    read_result,
    read_rows,
    read_series,
    write_config,
    write_series,
)
from lrnet_cli.runs.suspects import find_suspects
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.training.checkpoint import load_checkpoint, save_checkpoint
from lrnet_cli.training.class_weights import class_weights_of
from lrnet_cli.training.state import TrainingState
from lrnet_cli.weights.card import WeightsCard
from lrnet_cli.weights.file import load_weights, save_weights

Chance = random.Random
CONFIG = TrainConfig(epochs=1, limit=100, seed=1)
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
NUMBERS = [0, 1, 2, 3, 7, 8, 255, 256, 257, 32767, 32768, 65535, 65536, 10**6, 2**24, 2**31 - 1, 2**31, 2**32 - 1]
PIECES = [
    b"\0" * 64,
    b"\xff" * 64,
    b"9" * 5000,
    b"[" * 20_000,
    b'{"a":' * 5000,
    b"NaN",
    b"-1",
    b"1e999",
    b"\xef\xbb\xbf",
]
PIECES += [b"\n\r\0\t,;\"'", b"\x1f\x8b", b"PK\3\4", b""]
JUNK = [None, True, -1, 0, 2**70, 1.5, 1e308, float("nan"), "", "x" * 10_000, "\0\x1b[31m", [], [[]], {}, [None] * 1000]


def edited(content: bytes, chance: Chance) -> bytes:
    """Return ``content`` with bits flipped, and pieces cut out, doubled, replaced or put in, mostly near its ends."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 3)):
        size, length = len(changed), chance.randint(0, 200)
        near = [chance.randint(0, min(300, size)), max(0, size - chance.randint(1, 300)), chance.randint(0, size)]
        position = chance.choice(near)
        piece = chance.choice([*PIECES, chance.randbytes(length % 64), struct.pack("<I", chance.choice(NUMBERS))])
        match chance.randrange(6):
            case 0 if position < size:
                changed[position] ^= 1 << length % 8
            case 1:
                del changed[position : position + length]
            case 2:
                del changed[position:]
            case 3:
                changed[position:position] = changed[position : position + length]
            case 4:
                changed[position : position + len(piece)] = piece
            case _:
                changed[position:position] = piece
    return bytes(changed)


# Images.


def encoded(form: str, chance: Chance) -> bytes:
    """Return an intact image in the format ``form``."""
    width, height = chance.choice([(24, 20), (1, 1), (33, 5), (64, 64)])
    pixels = np.frombuffer(chance.randbytes(width * height * 4), np.uint8).reshape(height, width, 4)
    modes = {
        "PNG": ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"],
        "JPEG": ["L", "RGB", "CMYK"],
        "GIF": ["1", "L", "P"],
        "BMP": ["1", "L", "P", "RGB"],
        "PPM": ["1", "L", "RGB"],
        "TIFF": ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "F", "I;16"],
    }
    image = Image.fromarray(pixels, "RGBA")
    mode = chance.choice(modes.get(form, ["RGB", "L"]))
    image = image.convert("L").convert(mode) if mode in ("I;16", "F", "P", "LA") else image.convert(mode)
    target, more = io.BytesIO(), dict[str, Any]()
    if form in ("JPEG", "PNG", "WEBP", "TIFF"):
        exif = Image.Exif()
        exif[0x0112] = chance.choice([1, 3, 6, 8])
        more["exif"] = exif
    if form == "JPEG":
        more["progressive"] = chance.random() < 0.5
    if form == "TIFF":
        more["compression"] = chance.choice([None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
    if form in ("GIF", "WEBP", "TIFF") and chance.random() < 0.3:
        more |= {"save_all": True, "append_images": [image] * chance.randint(1, 5)}
    image.save(target, form, **more)
    return target.getvalue()


def png(chance: Chance) -> bytes:
    """Return a PNG file with its chunks altered, and right checksums."""
    content, position, chunks = encoded("PNG", chance), 8, list[tuple[bytes, bytes]]()
    while position + 8 <= len(content):
        (length,) = struct.unpack_from(">I", content, position)
        chunks.append((content[position + 4 : position + 8], content[position + 8 : position + 8 + length]))
        position += 12 + length
    for _ in range(chance.randint(1, 3)):
        number = chance.randrange(len(chunks))
        kind, data = chunks[number]
        match chance.randrange(6):
            case 0 if kind == b"IHDR":
                fields = list(struct.unpack(">IIBBBBB", data.ljust(13, b"\0")[:13]))
                place = chance.randrange(7)
                fields[place] = chance.choice(NUMBERS) % (2**32 if place < 2 else 256)
                data = struct.pack(">IIBBBBB", *fields)
            case 0 if kind == b"IDAT":
                with contextlib.suppress(zlib.error):  # what has been edited before may be of no use
                    data = zlib.decompressobj().decompress(data)
                data = zlib.compress(edited(data, chance))
            case 1:
                data = edited(data, chance)
            case 2:
                kinds = [
                    b"tRNS",
                    b"PLTE",
                    b"gAMA",
                    b"iCCP",
                    b"zTXt",
                    b"iTXt",
                    b"tEXt",
                    b"eXIf",
                    b"acTL",
                    b"fcTL",
                    b"fdAT",
                ]
                chunks.insert(number, (chance.choice(kinds), chance.randbytes(chance.choice([0, 1, 3, 257, 768]))))
                continue
            case 3 if len(chunks) > 1:
                del chunks[number]
                continue
            case 4:
                chunks.insert(chance.randrange(len(chunks)), (kind, data))
                continue
            case _:
                kind = chance.choice([b"IDAT", b"IEND", b"tRNS", b"PLTE", kind])
        chunks[number] = kind, data
    parts = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return content[:8] + b"".join(parts)


def tiff(chance: Chance) -> bytes:
    """Return a TIFF file with entries of its first directory altered."""
    content = bytearray(encoded("TIFF", chance))
    (start,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, start)
    for _ in range(chance.randint(1, 4)):
        position = start + 2 + 12 * chance.randrange(count)
        entry = list(struct.unpack_from("<HHII", content, position))
        place = chance.randrange(4)
        tags = [254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 317, 320, 322, 323, 324, 338, 339, 700]
        entry[place] = [
            chance.choice(tags),
            chance.randint(0, 18),
            chance.choice(NUMBERS),
            chance.choice([*NUMBERS, start, len(content) - 1]),
        ][place]
        struct.pack_into("<HHII", content, position, *entry)
    if chance.random() < 0.1:  # the following directory is this one
        struct.pack_into("<I", content, start + 2 + 12 * count, start)
    return bytes(content)


def tiff_from_nothing(chance: Chance) -> bytes:
    """Return a TIFF file of random kinds of pixels."""
    width, height = chance.choice([(8, 8), (1, 1000), (1000, 1), (3, 70_000), (40, 40)])
    samples, colours = chance.choice([(1, 0), (1, 1), (1, 3), (2, 1), (3, 2), (3, 6), (4, 2), (4, 5), (5, 5), (2, 2)])
    bits = chance.choice([8, 8, 8, 1, 2, 4, 16, 32])
    size = min(width * height * samples * bits // 8 + 1, 200_000)
    strips = chance.choice([1, 1, 2, height, 5000])
    tags = {
        256: (4, 1, width),
        257: (4, 1, height),
        259: (3, 1, chance.choice([1, 1, 1, 2, 5, 7, 8, 32773, 34712, 50000])),
        262: (3, 1, colours),
        277: (3, 1, samples),
        278: (4, 1, max(1, height // strips)),
        284: (3, 1, chance.choice([1, 1, 1, 2])),
    }
    if samples in (2, 4) and chance.random() < 0.8:
        tags[338] = (3, 1, chance.choice([0, 1, 2, 9]))
    if chance.random() < 0.2:
        tags[339] = (3, 1, chance.choice([1, 2, 3, 4, 5]))
    head = 8 + 2 + 12 * (len(tags) + 3) + 4
    tags[258] = (3, samples, bits if samples == 1 else bits | bits << 16 if samples == 2 else head)
    tags[273] = (4, strips, head + 20 if strips == 1 else head + 16)
    tags[279] = (4, strips, size if strips == 1 else head + 16)
    entries = b"".join(struct.pack("<HHII", tag, *tags[tag]) for tag in sorted(tags))
    body = struct.pack("<5H", *[bits] * 5) + b"\0" * 6 + struct.pack("<I", head + 16) * strips + chance.randbytes(size)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0" * 4 + body


def jpeg(chance: Chance) -> bytes:
    """Return a JPEG file with its segments altered, and right lengths."""
    content, position, segments = encoded("JPEG", chance), 2, list[tuple[int, bytes]]()
    while content[position + 1] != 0xDA:
        (length,) = struct.unpack_from(">H", content, position + 2)
        segments.append((content[position + 1], content[position + 4 : position + 2 + length]))
        position += 2 + length
    for _ in range(chance.randint(1, 3)):
        number = chance.randrange(len(segments))
        marker, data = segments[number]
        match chance.randrange(4):
            case 0:
                segments[number] = marker, edited(data, chance)[:60_000]
            case 1:
                segments.insert(number, (chance.choice([0xC0, 0xC2, 0xC4, 0xDB, 0xDD, 0xE0, 0xE1, 0xE2, 0xEE]), data))
            case 2:
                segments[number] = chance.choice([0xC0, 0xC1, 0xC2, 0xC9, 0xCA, 0xFE]), data
            case _ if len(segments) > 1:
                del segments[number]
    head = b"".join(struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data for marker, data in segments)
    rest = content[position:]
    return b"\xff\xd8" + head + (rest if chance.random() < 0.7 else edited(rest, chance))


def of_bytes(form: str) -> Callable[[Chance], bytes]:
    """Return what makes images in ``form`` with bytes altered."""
    return lambda chance: edited(encoded(form, chance), chance)


# Data files.


def idx(chance: Chance) -> dict[str, bytes]:
    """Return four IDX files of which one is altered, half of them in the numbers that it begins with."""
    labels = b"\0\0\x08\x01" + (6).to_bytes(4, "big") + bytes([0, 1, 0, 1, 0, 1])
    images = b"\0\0\x08\x03" + struct.pack(">III", 6, 8, 8) + bytes(384)
    names = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]
    files = dict(zip(names, [images, labels] * 2, strict=True))
    name = chance.choice(names)
    if chance.random() < 0.5:
        changed = bytearray(files[name])
        struct.pack_into(">I", changed, 4 * chance.randrange(1 + (len(changed) > 100) * 3), chance.choice(NUMBERS))
        files[name] = bytes(changed)
    else:
        files[name] = edited(files[name], chance)
    return files


def idx_gz(chance: Chance) -> dict[str, bytes]:
    """Return the same, compressed, with bytes altered before or after that."""
    files = {f"{name}.gz": gzip.compress(content, 1) for name, content in idx(chance).items()}
    if chance.random() < 0.4:
        name = chance.choice(sorted(files))
        files[name] = edited(files[name], chance)
    return files


def npz(chance: Chance) -> bytes:
    """Return an NPZ file with the head of an array, or the archive, altered."""
    arrays = {f"{part}_images": np.zeros((6, 8, 8), np.uint8) for part in ("train", "val", "test")}
    arrays |= {f"{part}_labels": np.array([[0], [1]] * 3) for part in ("train", "val", "test")}
    arrays["class_names"] = np.array(["a", "b"])
    target, altered = io.BytesIO(), chance.choice(sorted(arrays))
    packing = chance.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
    with zipfile.ZipFile(target, "w", packing) as archive:
        for name, array in arrays.items():
            piece = io.BytesIO()
            np.save(piece, array)
            content = piece.getvalue()
            if name == altered and chance.random() < 0.8:
                shape = tuple(chance.choice([*NUMBERS, 6, 8, -1]) for _ in range(chance.randint(0, 5)))
                kind = chance.choice(
                    ["|u1", "<i8", "<f4", "|O", "|S9", "<U3", "<c16", "<M8[s]", "|V1000000", "|b1", ">u2"]
                )
                head = f"{{'descr': '{kind}', 'fortran_order': {chance.choice([True, False, 3])}, 'shape': {shape}, }}"
                head = head if chance.random() < 0.9 else edited(head.encode(), chance).decode("latin-1")
                text = (head + "\n").encode("latin-1")
                version = chance.choice([1, 1, 1, 2, 3, 9])
                length = struct.pack("<H" if version == 1 else "<I", len(text) % 65536)
                content = b"\x93NUMPY" + bytes([version, 0]) + length + text + content[128:]
            archive.writestr(f"{name}.npy", content)
            if chance.random() < 0.03:
                with warnings.catch_warnings(action="ignore"):
                    archive.writestr(f"{name}.npy", content)
    content = target.getvalue()
    return edited(content, chance) if chance.random() < 0.3 else content


def cells(chance: Chance, rows: list[list[str]]) -> str:
    """Return a CSV table with cells, rows or columns altered."""
    junk = [
        "",
        "NaN",
        "-1",
        "1e999",
        "9" * 5000,
        "x" * 200_000,
        '"',
        "\r",
        "\0",
        "=1+1",
        "../..",
        "\ud83d\ude00",
        "None",
    ]
    for _ in range(chance.randint(1, 3)):
        row = chance.choice(rows)
        match chance.randrange(5):
            case 0 if row:
                row[chance.randrange(len(row))] = chance.choice(junk)
            case 1 if row:
                del row[chance.randrange(len(row))]
            case 2:
                row.insert(chance.randint(0, len(row)), chance.choice([*junk, *row]))
            case 3:
                rows.insert(chance.randint(0, len(rows)), list(row))
            case _ if len(rows) > 1:
                rows.remove(row)
    target = io.StringIO()
    csv.writer(target, chance.choice(["excel", "unix", "excel-tab"])).writerows(rows)
    return target.getvalue()


def text_table(rows: list[list[str]]) -> Callable[[Chance], bytes]:
    """Return what makes CSV tables with cells, or bytes, altered."""

    def make(chance: Chance) -> bytes:
        content = cells(chance, [list(row) for row in rows]).encode("utf-8", "surrogatepass")
        return edited(content, chance) if chance.random() < 0.3 else content

    return make


LISTED = [["file_name", "label", "split", "group"], *([f"{n}.png", "xy"[n % 2], "", str(n // 2)] for n in range(8))]
PIXELS = [["label", *(f"pixel{n}" for n in range(16))], ["1", *["0"] * 15, "255"], ["0", *["7"] * 16]]


def json_lines(chance: Chance) -> bytes:
    """Return a list in JSON lines with values altered."""
    rows = [{"file_name": f"{n}.png", "label": "xy"[n % 2], "split": "", "group": n // 2} for n in range(6)]
    lines = [json.dumps(mistyped(row, chance) if chance.random() < 0.3 else row) for row in rows]
    content = "\n".join(lines).encode("utf-8", "surrogatepass")
    return edited(content, chance) if chance.random() < 0.4 else content


def parquet(chance: Chance) -> bytes:
    """Return a Parquet list with columns of other types, or bytes altered, half of them in its footer."""
    import pyarrow
    from pyarrow import parquet as files

    texts = pyarrow.array(["a.png", "b.png", "c.png", "d.png"])
    labels = [
        pyarrow.array(["x", "y", "x", "y"]),
        pyarrow.array([1, 2, 1, None]),
        pyarrow.array([1.0, float("nan"), 2.5, 1e300]),
        pyarrow.array([True, False, True, False]),
        pyarrow.array([b"x", b"\xff", b"", b"y"]),
        pyarrow.array([[1], [], None, [2, 3]]),
        pyarrow.array([{"a": 1}] * 4),
        pyarrow.array([10**17, -1, 0, 1], pyarrow.timestamp("ns")),
        pyarrow.array(["x", "y", "x", "y"]).dictionary_encode(),
        pyarrow.nulls(4),
    ]
    names = chance.choice([["file_name", "label"], ["file_name", "label"], ["label", "label"], ["file_name", "split"]])
    target = io.BytesIO()
    files.write_table(pyarrow.table([texts, chance.choice(labels)], names=names), target)
    content = target.getvalue()
    if chance.random() < 0.5:
        return content if chance.random() < 0.5 else edited(content, chance)
    (length,) = struct.unpack_from("<I", content, len(content) - 8)
    footer = edited(content[-8 - length : -8], chance)
    return content[: -8 - length] + footer + struct.pack("<I", len(footer)) + b"PAR1"


# What this tool writes and reads back.


def mistyped(value: Any, chance: Chance) -> Any:
    """Return a JSON value with a part of it replaced, renamed or taken out."""
    if isinstance(value, dict) and value and chance.random() < 0.8:
        name = chance.choice(sorted(value))
        rest = {key: item for key, item in value.items() if key != name}
        match chance.randrange(4):
            case 0:
                return rest
            case 1:
                return rest | {"other": value[name]}
        return rest | {name: mistyped(value[name], chance)}
    if isinstance(value, list) and value and chance.random() < 0.8:
        place = chance.randrange(len(value))
        return [*value[:place], mistyped(value[place], chance), *value[place + 1 :]]
    return chance.choice(JUNK)


def document(name: str) -> Callable[[Chance], bytes]:
    """Return what makes JSON documents of a run with values, or bytes, altered."""

    def make(chance: Chance) -> bytes:
        whole = documents()[name]
        return (
            edited(whole, chance) if chance.random() < 0.3 else json.dumps(mistyped(json.loads(whole), chance)).encode()
        )

    return make


@cache
def documents() -> dict[str, bytes]:
    """Return intact files that this tool writes."""
    figures = {"run_dir": "a", "weights": "a", "dataset": "a", "device": "cpu", "seed": 1, "epochs": 1, "best_epoch": 1}
    figures |= {"val_accuracy": 0.5, "test_images": 10, "test_accuracy": 0.5, "test_accuracy_ci95": [0.2, 0.8]}
    figures |= {"test_images_per_second": 9.0, "train_images_per_second": 9.0, "parameters": 9, "multiply_adds": 9}
    device = torch.device("cpu")
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        write_config(folder, CONFIG)
        write_series(folder, CONFIG, 2, None)
        save_weights(folder / "model.safetensors", build(CARD.arch, **CARD.arch_args), CARD)
        (folder / "checkpoint").mkdir()
        save_checkpoint(folder, fresh_state(device), "0" * 64)
        found = {name: (folder / name).read_bytes() for name in ("config.json", "series.json", "model.safetensors")}
        found["latest.safetensors"] = (folder / "checkpoint" / "latest.safetensors").read_bytes()
    return found | {
        "result.json": json.dumps({"status": "finished", "seconds": 1.0, "test_reads": 1} | figures).encode(),
        "class_weights.json": b'{"a": 1, "b": 2.5, "c": 0}',
    }


def fresh_state(device: torch.device) -> TrainingState:
    """Return the state of a run that has not begun."""
    return TrainingState.start(to_device(build(CARD.arch, **CARD.arch_args), device), CONFIG, device)


def safetensors(name: str) -> Callable[[Chance], bytes]:
    """Return what makes safetensors files whose head, which has the right length, or bytes are altered."""

    def make(chance: Chance) -> bytes:
        content = documents()[name]
        if chance.random() < 0.3:
            return edited(content, chance)
        (length,) = struct.unpack_from("<Q", content)
        head, body = json.loads(content[8 : 8 + length]), content[8 + length :]
        metadata = head["__metadata__"]
        metadata.pop("digest", None)
        match chance.randrange(4):
            case 0:
                key = chance.choice(sorted(metadata))
                inner = metadata[key]
                value = json.loads(inner) if inner[0] in '{["0123456789' else inner
                metadata[key] = chance.choice([json.dumps(mistyped(value, chance)), "[" * 50_000, "", "nan"])
            case 1:
                tensor = head[chance.choice(sorted(head.keys() - {"__metadata__"}))]
                part = chance.choice(sorted(tensor))
                values = {
                    "dtype": ["F16", "F64", "BF16", "I8", "BOOL", "F8_E4M3", "C64", "X"],
                    "shape": [[], [0], [1] * 70, [2**63, 2], [chance.choice(NUMBERS)], tensor["shape"][::-1]],
                    "data_offsets": [[0, 0], [0, len(body)], [5, 1], [-1, 2], [0, 2**63]],
                }
                tensor[part] = chance.choice(values[part])
            case 2:
                head = mistyped(head, chance)
            case _:  # the numbers themselves
                place = chance.randrange(max(1, len(body) - 8))
                values = [struct.pack("<f", number) for number in (float("nan"), float("inf"), 3e38, -1.0, 1e-45)]
                body = body[:place] + chance.choice(values) * 2 + body[place + 8 :]
        text = json.dumps(head).encode()
        return struct.pack("<Q", len(text)) + text + body

    return make


@cache
def exported() -> bytes:
    """Return an intact ONNX file, of a linear network."""
    from onnx import TensorProto, helper, numpy_helper

    from lrnet_cli.export.onnx import with_card

    weights = np.linspace(-1, 1, 64 * 3, dtype=np.float32).reshape(64, 3)
    nodes = [
        helper.make_node("Flatten", ["images"], ["flat"], axis=1),
        helper.make_node("Cast", ["flat"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["pixels", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("logits", "probabilities")],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return with_card(model, CARD)


def onnx(chance: Chance) -> bytes:
    """Return an ONNX file with a node, a tensor, an input or the metadata altered."""
    import onnx as files

    if chance.random() < 0.25:
        return edited(exported(), chance)
    model = files.load_from_string(exported())
    graph = model.graph
    node = chance.choice(graph.node)
    match chance.randrange(6):
        case 0:
            node.op_type = chance.choice(
                ["Loop", "Expand", "Tile", "Range", "Identity", "Sqrt", "Log", "Cast", "Shape"]
            )
        case 1 if node.attribute:
            attribute = chance.choice(node.attribute)
            attribute.i, attribute.f = chance.choice(NUMBERS), chance.choice([0.0, -1.0, float("nan")])
            if attribute.ints:
                attribute.ints[chance.randrange(len(attribute.ints))] = chance.choice([-1, *NUMBERS])
        case 2 if graph.initializer:
            tensor = chance.choice(graph.initializer)
            if tensor.dims:
                tensor.dims[chance.randrange(len(tensor.dims))] = chance.choice(NUMBERS)
        case 3:
            entry = chance.choice(model.metadata_props)
            entry.value = chance.choice(["", "[" * 50_000, "nan", json.dumps(chance.choice(JUNK))])
        case 4:
            shape = graph.input[0].type.tensor_type.shape.dim
            shape[chance.randrange(len(shape))].dim_value = chance.choice(NUMBERS)
        case _:
            names = [name for other in graph.node for name in other.output]
            place = chance.randrange(max(1, len(node.input)))
            if node.input:
                node.input[place] = chance.choice(names)
    return model.SerializeToString()


# Kinds, and how each is read.


@dataclass(frozen=True)
class Kind:
    """How many times as many inputs as of others there are, what makes their files, and what reads them."""

    make: Callable[[Chance], bytes | dict[str, bytes]]
    name: str
    read: Callable[[Path], object]
    share: float = 1.0


def read_image(path: Path) -> object:
    """Prepare an image, as a prediction does."""
    return prepare(path, Preprocessing(28, 3, "mixed", "none", "ground", "reduced"))


def read_onnx(path: Path) -> object:
    """Open an ONNX file."""
    from lrnet_cli.weights.onnx import load_onnx

    return load_onnx(path)


def read_latest(path: Path) -> object:
    """Read a checkpoint into a run that has not begun."""
    folder = path.parent / "checkpoint"
    folder.mkdir(exist_ok=True)
    path.replace(folder / path.name)
    return load_checkpoint(path.parent, fresh_state(torch.device("cpu")), "0" * 64, lambda _text: None)


def read_finished(path: Path) -> object:
    """Read the figures of a run."""
    result = read_result(path.parent)
    return result and figures_of(result, path.parent)


def read_class_weights(path: Path) -> object:
    """Read weights of three classes."""
    return class_weights_of(str(path), ("a", "b", "c"), torch.tensor([0, 1, 2]))


METRICS = [["epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate"], ["1"] * 6]
PREDICTED = [["path", "true", "predicted", "probability a", "probability b"], ["x.png", "a", "b", "0.25", "0.75"]]
KINDS = {
    "PNG": Kind(png, "a.png", read_image),
    "PNG, bytes": Kind(of_bytes("PNG"), "a.png", read_image),
    "TIFF": Kind(tiff, "a.tif", read_image),
    "TIFF, from nothing": Kind(tiff_from_nothing, "a.tif", read_image),
    "JPEG": Kind(jpeg, "a.jpg", read_image),
    "JPEG, bytes": Kind(of_bytes("JPEG"), "a.jpg", read_image),
    "GIF": Kind(of_bytes("GIF"), "a.gif", read_image),
    "WebP": Kind(of_bytes("WEBP"), "a.webp", read_image),
    "BMP": Kind(of_bytes("BMP"), "a.bmp", read_image),
    "PPM": Kind(of_bytes("PPM"), "a.ppm", read_image),
    "JPEG 2000": Kind(of_bytes("JPEG2000"), "a.jp2", read_image, 0.5),
    "AVIF": Kind(of_bytes("AVIF"), "a.avif", read_image, 0.25),
    "IDX": Kind(idx, "", read_raw),
    "IDX, gzip": Kind(idx_gz, "", read_raw),
    "NPZ": Kind(npz, "a.npz", read_raw),
    "CSV of files": Kind(text_table(LISTED), "a.csv", read_raw),
    "CSV of pixels": Kind(text_table(PIXELS), "a.csv", read_raw),
    "JSON lines": Kind(json_lines, "a.jsonl", read_raw),
    "Parquet": Kind(parquet, "a.parquet", read_raw),
    "config.json": Kind(document("config.json"), "config.json", lambda path: read_config(path.parent)),
    "series.json": Kind(document("series.json"), "series.json", lambda path: read_series(path.parent)),
    "result.json": Kind(document("result.json"), "result.json", read_finished),
    "metrics.csv": Kind(text_table(METRICS), "metrics.csv", lambda path: read_rows(path.parent)),
    "predictions.csv": Kind(text_table(PREDICTED), "predictions.csv", lambda path: find_suspects([path.parent])),
    "class weights": Kind(document("class_weights.json"), "w.json", read_class_weights),
    "weights": Kind(safetensors("model.safetensors"), "model.safetensors", load_weights, 0.5),
    "checkpoints": Kind(safetensors("latest.safetensors"), "latest.safetensors", read_latest, 0.25),
    "ONNX": Kind(onnx, "m.onnx", read_onnx, 0.1),  # each of which is run in a process of its own
}


@dataclass
class Tried:
    """What came of the files of a kind; ``escaped`` are the numbers and errors of those that raised anything else."""

    read: int = 0
    refused: int = 0
    longest: float = 0.0
    peak: int = 0
    escaped: list[tuple[int, str]] = field(default_factory=list)


def attempt(kind: str, number: int) -> tuple[str, float]:
    """Return whether a file was ``read`` or ``refused``, or what else it raised, and the seconds that it took."""
    tried, chance = KINDS[kind], Chance(f"{kind} {number}")
    content = tried.make(chance)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, tried.name)
        for name, piece in (content if isinstance(content, dict) else {tried.name: content}).items():
            Path(folder, name).write_bytes(piece)
        begun = time.process_time()
        try:
            tried.read(path)
            outcome = "read"
        except LRNetError as error:
            outcome = "refused" if str(error).strip() else "an error without a sentence"
        except Exception as error:
            outcome = f"{type(error).__name__}: {error!s:.200}"
        return outcome, time.process_time() - begun


def attempts(one: tuple[str, int, int]) -> list[tuple[str, float, int]]:
    """Return what ``attempt`` returns for the numbers of a kind from one to another, and the memory taken by then."""
    kind, first, end = one
    warnings.simplefilter("ignore")
    return [(*attempt(kind, n), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) for n in range(first, end)]


def try_chunk(kind: str, first: int, end: int, found: Tried, reader: Reader) -> Reader:
    """Note what came of a chunk of files in ``found``; return the process that read them, or a new one."""
    import hostile  # by which name the other process knows it

    try:
        [results] = reader.read(hostile.attempts, [(kind, first, end)])
    except EndedError as error:
        if end - first == 1:
            found.escaped.append((first, str(error)))
            return Reader()
        reader = Reader()
        for number in range(first, end):
            reader = try_chunk(kind, number, number + 1, found, reader)
        return reader
    for number, (outcome, seconds, peak) in enumerate(results, first):
        found.read += outcome == "read"
        found.refused += outcome == "refused"
        found.longest, found.peak = max(found.longest, seconds), max(found.peak, peak)
        if outcome not in ("read", "refused"):
            found.escaped.append((number, outcome))
    return reader


def try_all(tally: dict[str, Tried], each: float, end: float) -> None:
    """Try ``each`` files of every kind, by its share, until the time ``end``."""
    reader = Reader()
    for kind, found in tally.items():
        most, chunk = -(-each * KINDS[kind].share // 1), 3 if kind in ("ONNX", "checkpoints") else 20
        while (done := found.read + found.refused + len(found.escaped)) < most and time.monotonic() < end:
            reader = try_chunk(kind, done, min(done + chunk, int(most)), found, reader)
    reader.end()


def main() -> int:
    """Try files until there are enough or the time is over; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--state", type=Path)
    options = parser.parse_args()
    state = json.loads(options.state.read_text()) if options.state and options.state.exists() else {}
    for package, kind in (("pyarrow", "Parquet"), ("onnx", "ONNX")):
        if find_spec(package) is None:
            print(f"{kind} is not tried: {package} is not installed.")
            del KINDS[kind]
    tally = {kind: Tried(**state.get(kind, {})) for kind in KINDS}
    each = options.inputs / sum(kind.share for kind in KINDS.values())
    end = time.monotonic() + options.seconds
    try_all(tally, each, end)
    if options.state:
        options.state.write_text(json.dumps({kind: asdict(found) for kind, found in tally.items()}))
    print("| files | inputs | read | refused | other | longest | most memory |\n|---|---|---|---|---|---|---|")
    for kind, found in tally.items():
        inputs = found.read + found.refused + len(found.escaped)
        row = [
            kind,
            f"{inputs:,}",
            f"{found.read:,}",
            f"{found.refused:,}",
            len(found.escaped),
            f"{found.longest:.1f} s",
        ]
        print(f"| {' | '.join(map(str, row))} | {found.peak / 1e6:.1f} GB |")
    for kind, found in tally.items():
        for number, problem in found.escaped[:5]:
            print(f"{kind} {number}: {problem}")
    return int(any(found.escaped for found in tally.values()))


if __name__ == "__main__":
    sys.exit(main())
