"""Prepared images are kept, found again, and never those of another file."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file

from lrnet_cli.data import prepared, reading
from lrnet_cli.data.ahead import read_ahead
from lrnet_cli.data.datasets import Dataset, load_dataset
from lrnet_cli.data.images import ImageOptions
from lrnet_cli.settings.place import Source

COUNT = 300


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for label in ("a", "b"):
        (tmp_path / "set" / label).mkdir(parents=True)
        for number in range(COUNT // 2):
            Image.fromarray(random.integers(0, 256, (10, 12), np.uint8)).save(
                tmp_path / "set" / label / f"{number}.png"
            )
    return tmp_path / "set"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Give a list of the files that are decoded."""
    files: list[Path] = []

    def noted(sources: Iterable[Path], read: Any) -> Any:
        for source, outcome in read_ahead(sources, read):
            files.append(source)
            yield source, outcome

    monkeypatch.setattr(reading, "read_ahead", noted)
    return files


def same(one: Dataset, other: Dataset) -> bool:
    return one.content_sha256 == other.content_sha256 and one.train.paths == other.train.paths


def test_the_second_time_nothing_is_decoded(folders: Path, decoded: list[Path]) -> None:
    first = load_dataset(str(folders))
    assert len(decoded) == COUNT
    decoded.clear()
    second = load_dataset(str(folders))
    assert (decoded, same(first, second)) == ([], True)
    assert torch.equal(first.train.images, second.train.images)


@pytest.mark.parametrize("options", [ImageOptions(12), ImageOptions(channels=3), ImageOptions(invert="yes")])
def test_other_preprocessing_is_another_pack(folders: Path, decoded: list[Path], options: ImageOptions) -> None:
    load_dataset(str(folders))
    decoded.clear()
    load_dataset(str(folders), options)
    assert len(decoded) == COUNT
    assert len(prepared.packs()) == 2


def changed_content(path: Path) -> None:
    path.write_bytes((path.parent / "8.png").read_bytes())


def changed_in_place(path: Path) -> None:
    """Change the content, but neither the size nor the time of the last change."""
    before = path.stat()
    Image.new("L", (10, 12), 90).save(path)
    content = path.read_bytes()
    path.write_bytes(content + b"\0" * (before.st_size - len(content)))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def replaced(path: Path) -> None:
    other = path.with_suffix(".tmp")
    Image.new("L", (10, 12), 200).save(other, format="PNG")
    other.replace(path)


@pytest.mark.parametrize("change", [changed_content, changed_in_place, replaced])
def test_only_a_file_that_changed_is_decoded_again(
    folders: Path, decoded: list[Path], change: Callable[[Path], None]
) -> None:
    load_dataset(str(folders))
    decoded.clear()
    change(folders / "b" / "7.png")
    Image.new("L", (4, 4), 9).save(folders / "a" / "new.png")
    (folders / "a" / "3.png").unlink()
    again = load_dataset(str(folders))
    assert sorted(path.name for path in decoded) == ["7.png", "new.png"]
    prepared.packs()[0].path.unlink()
    assert same(again, load_dataset(str(folders)))


def test_unreadable_files_are_tried_every_time_and_never_kept(folders: Path, decoded: list[Path]) -> None:
    (folders / "b" / "7.png").write_bytes(b"")
    assert len(load_dataset(str(folders)).skipped) == 1
    decoded.clear()
    assert len(load_dataset(str(folders)).skipped) == 1
    assert [path.name for path in decoded] == ["7.png"]


@pytest.mark.parametrize("content", [b"", b"damaged" * 100])
def test_a_damaged_pack_is_passed_by_and_replaced(folders: Path, decoded: list[Path], content: bytes) -> None:
    first = load_dataset(str(folders))
    prepared.packs()[0].path.write_bytes(content)
    decoded.clear()
    assert same(first, load_dataset(str(folders)))
    assert len(decoded) == COUNT
    decoded.clear()
    load_dataset(str(folders))
    assert decoded == []


def test_a_pack_with_a_flipped_bit_or_other_shapes_is_passed_by(folders: Path, decoded: list[Path]) -> None:
    first = load_dataset(str(folders))
    path = prepared.packs()[0].path
    whole = path.read_bytes()
    flipped = whole[:-1000] + bytes([whole[-1000] ^ 1]) + whole[-999:]
    arrays = load_file(path)
    del arrays["digest"]
    for name, values in {"several": np.zeros(3, bool), "identities": np.array(3, np.uint8)}.items():
        other = arrays | {name: values}
        save_file(other | {"digest": prepared._digest_of(other)}, path)
        decoded.clear()
        assert same(first, load_dataset(str(folders)))
        assert len(decoded) == COUNT
    path.write_bytes(flipped)
    decoded.clear()
    assert same(first, load_dataset(str(folders)))
    assert len(decoded) == COUNT


def test_a_cache_that_cannot_be_written_stops_nothing(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    assert len(load_dataset(str(folders), source=Source(data_dir=tmp_path / "file")).train) == COUNT * 4 // 5


def test_the_total_is_bounded_and_the_least_used_go_first(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for side in (8, 9):
        load_dataset(str(folders), ImageOptions(side))
    oldest = prepared.packs()[-1].path
    os.utime(oldest, (1, 1))
    monkeypatch.setattr(prepared, "MOST_BYTES", sum(pack.size for pack in prepared.packs()) + 1000)
    load_dataset(str(folders), ImageOptions(10))
    left = [pack.path for pack in prepared.packs()]
    assert oldest not in left
    assert 1 <= len(left) <= 2


def test_a_pack_that_is_too_large_is_not_even_written(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []
    monkeypatch.setattr(prepared, "save_file", lambda _, path: written.append(path))
    monkeypatch.setattr(prepared, "MOST_BYTES", COUNT * 28 * 28 - 1)
    load_dataset(str(folders))
    assert written == []


def test_few_images_are_not_kept(folders: Path) -> None:
    for path in sorted((folders / "a").iterdir())[50:]:
        path.unlink()
    load_dataset(str(folders))
    assert prepared.packs() == []


def test_the_command_shows_and_deletes_what_is_kept(lrnet: Callable[..., Any], folders: Path) -> None:
    assert "0 packs" in lrnet("cache").stdout
    load_dataset(str(folders))
    shown = lrnet("cache")
    assert (shown.exit_code, "1 packs of prepared images, 0.2 MB of at most 4 GB" in shown.stdout) == (0, True)
    assert "1 packs of prepared images, 0.2 MB deleted" in lrnet("cache", "--clear").stdout
    assert prepared.packs() == []


def test_a_pack_that_was_left_half_written_goes_after_a_while(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "prepared").mkdir()
    old, new = tmp_path / "prepared" / "a.safetensors.1.lrnet.tmp", tmp_path / "prepared" / "b.safetensors.2.lrnet.tmp"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    load_dataset(str(folders), source=Source(data_dir=tmp_path))
    assert (old.exists(), new.exists()) == (False, True)
