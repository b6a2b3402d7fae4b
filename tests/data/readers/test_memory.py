import gzip
import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

from lrnet_cli.data.datasets import load_dataset
from lrnet_cli.data.images import ImageOptions
from lrnet_cli.data.readers.by_path import read_raw
from lrnet_cli.errors import DataError, UsageError
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.training.train import train

ZEROS = 50_000_000


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=20_000_000))


def idx(shape: tuple[int, ...], content: bytes) -> bytes:
    return struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape) + content


def idx_folder(folder: Path, images: bytes, count: int) -> Path:
    for part in ("train", "t10k"):
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx((count,), bytes(n % 2 for n in range(count))))
        (folder / f"{part}-images-idx3-ubyte").write_bytes(images)
    return folder


def npz(path: Path, compression: int = zipfile.ZIP_DEFLATED, **members: Any) -> Path:
    """Write a valid NPZ file with ``members`` besides, arrays or bytes."""
    arrays: dict[str, Any] = {}
    for part in ("train", "test"):
        arrays |= {f"{part}_images": np.zeros((4, 8, 8), np.uint8), f"{part}_labels": np.array([0, 1, 0, 1])}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, value in (arrays | members).items():
            content = io.BytesIO()
            if isinstance(value, np.ndarray):
                np.lib.format.write_array(content, value)
            archive.writestr(f"{name}.npy", value if isinstance(value, bytes) else content.getvalue())
    return path


def header(shape: tuple[int, ...]) -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return content.getvalue()


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_header_that_promises_terabytes_takes_none(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    images = pack(idx((4, 1_000_000, 1_000_000), bytes(100)))
    with pytest.raises(DataError, match="announces 4 × 1000000 × 1000000 bytes, but the file is too short for that"):
        read_raw(idx_folder(tmp_path, images, 4))


def test_a_packed_file_is_not_unpacked_where_it_does_not_fit(tmp_path: Path, little_memory: None) -> None:
    images = gzip.compress(idx((4, 1000, ZEROS // 4000), bytes(ZEROS)))
    assert len(images) < 100_000
    with pytest.raises(DataError, match=r"train-images.*needs 0\.1 GB of memory, but 0\.0 GB are free"):
        read_raw(idx_folder(tmp_path, images, 4))


def test_images_without_as_many_labels_are_not_unpacked(tmp_path: Path, little_memory: None) -> None:
    images = gzip.compress(idx((50, 1000, 1000), bytes(ZEROS)))
    with pytest.raises(DataError, match=r"holds 50 images, but .* 4 labels"):
        read_raw(idx_folder(tmp_path, images, 4))


def test_of_an_npz_only_what_is_used_is_unpacked(tmp_path: Path, little_memory: None) -> None:
    path = npz(tmp_path / "data.npz", other=np.zeros(ZEROS, np.uint8), more=b"no array at all")
    assert len(read_raw(path).train.labels) == 4
    used = npz(tmp_path / "used.npz", train_images=np.zeros((4, 1000, ZEROS // 4000), np.uint8))
    with pytest.raises(DataError, match=r"used\.npz: needs 0\.1 GB of memory"):
        read_raw(used)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        (
            {"train_images": header((4, 10**6, 10**6)) + bytes(100)},
            "train_images announces 4000000000000 bytes and has",
        ),
        ({"train_images": b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 60_000}, "is damaged"),
        ({"train_images": b"\x93NUMPY\x09\x00\x00"}, "is damaged: we only support|unknown version"),
        ({"train_images": b""}, "is damaged"),
    ],
)
def test_an_array_that_is_not_what_it_says_is_named(tmp_path: Path, members: dict[str, Any], reason: str) -> None:
    with pytest.raises(DataError, match=rf"data\.npz: .*({reason})"):
        read_raw(npz(tmp_path / "data.npz", **members))


@pytest.mark.parametrize("compression", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED])
def test_damage_within_any_packing_is_told(tmp_path: Path, compression: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 64, 64), dtype=np.uint8)
    path = npz(tmp_path / "data.npz", compression, train_images=images)
    content = bytearray(path.read_bytes())
    content[2000:2200] = bytes(200)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"data\.npz: is damaged: "):
        read_raw(path)


def test_an_encrypted_npz_is_refused(tmp_path: Path) -> None:
    path = npz(tmp_path / "data.npz")
    content = bytearray(path.read_bytes())
    for start in (b"PK\3\4", b"PK\1\2"):
        place = -1
        while (place := content.find(start, place + 1)) >= 0:
            content[place + (6 if start == b"PK\3\4" else 8)] |= 1  # the flag of encryption
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"data\.npz: is damaged: .*encrypted"):
        read_raw(path)


def test_images_that_do_not_fit_at_the_size_asked_for_are_refused(little_memory: None) -> None:
    with pytest.raises(DataError, match=r"1797 images of 200×200 pixels: needs 0\.1 GB.*give a smaller --image-size"):
        load_dataset("optdigits", ImageOptions(200))


@pytest.mark.usefixtures("isolated_user")
def test_a_step_that_does_not_fit_is_refused_with_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=100_000_000))
    config = TrainConfig(image_size=64, batch_size=1000, epochs=1, seed=0, out=tmp_path / "run")
    with pytest.raises(
        UsageError, match=r"A step on 1000 images of 64 pixels per side needs \d+\.\d GB of memory, but"
    ):
        train(config)
    assert not (tmp_path / "run").exists()
