"""What `lrnet check` finds in folders that were spoilt on purpose."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from lrnet_cli.data.check import check
from lrnet_cli.data.readers.by_path import read_raw

CliRun = Callable[..., Any]


def drawn(seed: int, side: int = 64) -> Image.Image:
    """Return a light blot on black, unlike that of any other seed."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray((random.random((6, 6)) * 255).astype(np.uint8)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    pixels = np.asarray(coarse).astype(float)
    pixels[:4], pixels[-4:], pixels[:, :4], pixels[:, -4:] = 0, 0, 0, 0
    return Image.fromarray(np.where(pixels > 130, pixels, 0).astype(np.uint8))


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    for split, start, count in (("train", 0, 20), ("test", 1000, 6)):
        for number, label in enumerate(("a", "b")):
            folder = tmp_path / "set" / split / label
            folder.mkdir(parents=True)
            for place in range(count):
                drawn(start + 100 * number + place).save(folder / f"{place}.png")
    return tmp_path / "set"


def findings(root: Path) -> str:
    return "\n".join(check(read_raw(root)).findings)


def test_a_clean_set_has_nothing_to_look_at(lrnet: CliRun, clean: Path) -> None:
    shown = lrnet("check", clean)
    assert "set: 52 pictures (40 train, 12 test) in 2 classes" in shown.stdout
    assert "Nothing deserves a look." in shown.stdout
    assert "52 light-on-dark" in shown.stdout
    assert shown.exit_code == 0


def test_exact_and_near_copies_are_found_within_and_across_splits(clean: Path) -> None:
    train, test = clean / "train", clean / "test"
    (test / "a" / "copy.png").write_bytes((train / "a" / "3.png").read_bytes())
    Image.open(train / "b" / "5.png").filter(ImageFilter.GaussianBlur(0.5)).save(test / "b" / "near.jpg", quality=90)
    (train / "b" / "other.png").write_bytes((train / "a" / "7.png").read_bytes())
    found = check(read_raw(clean))
    pairs = {(Path(pair.first).name, Path(pair.second).name): pair for pair in found.copies}
    assert set(pairs) == {("3.png", "copy.png"), ("7.png", "other.png"), ("5.png", "near.jpg")}
    assert [pair.exact for pair in found.copies] == [True, True, False]
    assert pairs["7.png", "other.png"].labels == ("a", "b")
    text = "\n".join(found.findings)
    assert "1 exact copy in different splits, which makes a test too easy" in text
    assert "1 near copy in different splits" in text
    assert "1 exact copy with different labels" in text


def test_damaged_faint_small_and_mixed_are_named(clean: Path) -> None:
    (clean / "train" / "a" / "broken.png").write_bytes(b"no picture")
    Image.new("L", (64, 64), 77).save(clean / "train" / "a" / "blank.png")
    for place in range(4):
        Image.eval(drawn(500 + place), lambda value: 255 - value).save(clean / "train" / "b" / f"dark{place}.png")
    drawn(900).save(clean / "train" / "b" / "x.png")
    (clean / "train" / "rare").mkdir()
    drawn(901).save(clean / "train" / "rare" / "only.png")
    text = findings(clean)
    assert "1 picture cannot be read: broken.png." in text
    assert "1 picture has hardly any contrast: blank.png." in text
    assert "1 class has fewer than 20 pictures: rare (1)." in text
    assert "4 dark on light, so that none will be inverted." in text


def test_groups_in_two_splits_are_named(clean: Path, tmp_path: Path) -> None:
    files = sorted(clean.rglob("*.png"))
    rows = [
        f"{file},{file.parent.name},{file.parent.parent.name},page{number // 5}" for number, file in enumerate(files)
    ]
    (tmp_path / "list.csv").write_text("file_name,label,split,group\n" + "\n".join(rows))
    assert "in more than one split" in findings(tmp_path / "list.csv")


def test_the_advised_size_keeps_what_is_there(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for label in ("a", "b"):
        (tmp_path / "fine" / label).mkdir(parents=True)
        (tmp_path / "coarse" / label).mkdir(parents=True)
        for number in range(20):
            fine = random.integers(0, 256, (64, 64), np.uint8)
            Image.fromarray(fine).save(tmp_path / "fine" / label / f"{number}.png")
            coarse = Image.fromarray(fine[:5, :5]).resize((64, 64), Image.Resampling.BICUBIC)
            coarse.save(tmp_path / "coarse" / label / f"{number}.png")
    assert check(read_raw(tmp_path / "fine")).advised_size == 64
    found = check(read_raw(tmp_path / "coarse"))
    assert found.advised_size <= 24
    assert sorted(found.detail.values()) == pytest.approx(list(found.detail.values()), abs=0.02)


def test_the_page_the_document_and_the_exit_code(lrnet: CliRun, clean: Path, tmp_path: Path) -> None:
    (clean / "train" / "a" / "<b>.png").write_bytes(b"no picture")
    result = lrnet("check", clean, "--report", tmp_path / "page.html", "--json")
    assert result.exit_code == 3
    document = json.loads(result.stdout)
    assert (document["schema"], document["counts"]["test"]) == ("lrnet.check/1", {"a": 6, "b": 6})
    assert document["damaged"][0]["label"] == "a"
    page = (tmp_path / "page.html").read_text()
    assert page.count("<img") == 24
    assert "&lt;b&gt;.png" in page
    assert "<b>.png" not in page


def test_arrays_are_checked_too(lrnet: CliRun) -> None:
    result = lrnet("check", "optdigits", "--json")
    document = json.loads(result.stdout)
    assert sum(document["counts"]["train"].values()) == 1797
    assert document["advised_size"] == 8
