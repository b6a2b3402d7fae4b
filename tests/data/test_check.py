"""What `lrnet check` finds in folders that were spoilt on purpose."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from lrnet_cli.data.check import Check, check_dataset
from lrnet_cli.errors import DataError
from lrnet_cli.reporter import Reporter
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.settings.requests import CheckRequest
from lrnet_cli.training.train import train

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


def check(root: Path) -> Check:
    return check_dataset(CheckRequest(dataset=str(root)), Reporter())


def findings(root: Path) -> str:
    return "\n".join(check(root).findings)


def test_a_clean_set_has_nothing_to_look_at(lrnet: CliRun, clean: Path) -> None:
    shown = lrnet("check", clean)
    assert "set: 52 images (40 train, 12 test) in 2 classes" in shown.stdout
    assert "Nothing is worth checking." in shown.stdout
    assert "52 light-on-dark" in shown.stdout
    assert "32 to train on, 8 to validate with, 12 to test with" in shown.stdout
    assert "There are only 8 validation images" in shown.stdout
    assert shown.exit_code == 0


def test_exact_and_near_copies_are_found_within_and_across_splits(clean: Path) -> None:
    train, test = clean / "train", clean / "test"
    (test / "a" / "copy.png").write_bytes((train / "a" / "3.png").read_bytes())
    Image.open(train / "b" / "5.png").filter(ImageFilter.GaussianBlur(0.5)).save(test / "b" / "near.jpg", quality=90)
    (train / "b" / "other.png").write_bytes((train / "a" / "7.png").read_bytes())
    found = check(clean)
    pairs = {(Path(pair.first).name, Path(pair.second).name): pair for pair in found.copies}
    assert set(pairs) == {("3.png", "copy.png"), ("7.png", "other.png"), ("5.png", "near.jpg")}
    assert [pair.exact for pair in found.copies] == [True, True, False]
    assert pairs["7.png", "other.png"].labels == ("a", "b")
    text = "\n".join(found.findings)
    assert "1 exact duplicate in different splits, which makes a test too easy" in text
    assert "1 near duplicate in different splits" in text
    assert "1 exact duplicate with different labels" in text


def test_damaged_faint_small_and_mixed_are_named(clean: Path) -> None:
    (clean / "train" / "a" / "broken.png").write_bytes(b"no image")
    Image.new("L", (64, 64), 77).save(clean / "train" / "a" / "blank.png")
    for place in range(4):
        Image.eval(drawn(500 + place), lambda value: 255 - value).save(clean / "train" / "b" / f"dark{place}.png")
    drawn(900).save(clean / "train" / "b" / "x.png")
    (clean / "train" / "rare").mkdir()
    drawn(901).save(clean / "train" / "rare" / "only.png")
    drawn(902).save(clean / "train" / "a" / "pages.tif", save_all=True, append_images=[drawn(903)])
    text = findings(clean)
    assert "1 image has several frames or pages, of which only the first is read: pages.tif." in text
    assert "1 image cannot be read: broken.png." in text
    assert "1 image has hardly any contrast: blank.png." in text
    assert "1 class has fewer than 20 images: rare (1)." in text
    assert "4 dark on light, so that none will be inverted." in text


def unreadable_class(folder: Path) -> Path:
    for label in ("a", "b"):
        for place in range(45):
            file = folder / label / f"{place}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            if label == "a" and place < 5:
                file.write_bytes(b"no image")
            else:
                drawn(100 * ord(label) + place).save(file)
    return folder


def few(folder: Path, *, train: int, test: int = 0, damaged: bool = False) -> Path:
    """Make class folders with so many images in each class; those for training may be damaged."""
    for split, count in (("train", train), ("test", test)):
        for place in range(2 * count):
            file = (folder / split if test else folder) / "ab"[place % 2] / f"{place}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            drawn(place, 8).save(file)
            if damaged and split == "train":
                file.write_bytes(b"no image")
    return folder


def listed(folder: Path, rows: str) -> Path:
    folder.mkdir()
    for place in range(5):
        drawn(place, 8).save(folder / f"{place}.png")
    (folder / "broken-1.png").write_bytes(b"no image")
    (folder / "broken-2.png").write_bytes(b"no image")
    (folder / "list.csv").write_text(rows)
    return folder / "list.csv"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (unreadable_class, "5 of the 45 images of class a cannot be read, more than 5%"),
        (lambda folder: few(folder, train=2), "too few images to set a fifth aside for testing"),
        (lambda folder: few(folder, train=1, damaged=True), "too few images to set a fifth aside for testing"),
        (lambda folder: few(folder, train=2, test=3), "4 training images are too few to set 0.2 of each class aside"),
        (lambda folder: few(folder, train=1, test=3, damaged=True), "0 training images are too few"),
        (
            lambda folder: listed(folder, "file_name,label,group\nbroken-1.png,a,x\nbroken-2.png,b,y\n"),
            "too few images to set a fifth aside for testing",
        ),
        (
            lambda folder: listed(
                folder, "file_name,label,split\n0.png,a,train\n1.png,b,val\n2.png,a,val\n3.png,b,test"
            ),
            "1 training and 2 validation images are too few",
        ),
    ],
    ids=["a class", "for testing", "all", "for validation", "all for training", "all in groups", "own validation"],
)
def test_what_training_refuses_is_foretold_in_its_words(
    lrnet: CliRun, tmp_path: Path, make: Callable[[Path], Path], reason: str
) -> None:
    root = make(tmp_path / "set")
    with pytest.raises(DataError, match=reason) as refused:
        train(TrainConfig(dataset=str(root), epochs=1, out=tmp_path / "run"))
    assert check(root).findings[0] == f"lrnet train refuses this data set: {refused.value}"
    assert json.loads(lrnet("check", root, "--json", "--try", "9s").stdout)["advice"] is None


def test_groups_in_two_splits_are_named(clean: Path, tmp_path: Path) -> None:
    files = sorted(clean.rglob("*.png"))
    rows = [
        f"{file},{file.parent.name},{file.parent.parent.name},page{number // 5}" for number, file in enumerate(files)
    ]
    (tmp_path / "list.csv").write_text("file_name,label,split,group\n" + "\n".join(rows))
    assert "in more than one split" in findings(tmp_path / "list.csv")


def test_what_is_alike_in_all_images_is_said_once(lrnet: CliRun, clean: Path) -> None:
    shown = lrnet("check", clean).stdout
    assert re.search(r"longer side   \d+ pixels\n  colour        all grey\n", shown)
    assert re.search(r"in a class      \d+ to train on[;\n]", shown)


def test_the_page_the_document_and_the_exit_code(lrnet: CliRun, clean: Path, tmp_path: Path) -> None:
    (clean / "train" / "a" / "<b>.png").write_bytes(b"no image")
    result = lrnet("check", clean, "--report", tmp_path / "page.html", "--json")
    assert result.exit_code == 3
    document = json.loads(result.stdout)
    assert (document["schema"], document["counts"]["test"]) == ("lrnet.check/1", {"a": 6, "b": 6})
    assert document["damaged"][0]["label"] == "a"
    page = (tmp_path / "page.html").read_text()
    assert page.count("<img") == 24
    assert "&lt;b&gt;.png" in page
    assert "<b>.png" not in page
    assert "<h2>How lrnet would train on it</h2>" in page
    network = document["advice"]["networks"][0]
    assert f"lrnet-short: {network['epochs']} epochs in batches of {network['batch_size']}, about" in page


def test_a_page_that_cannot_be_written_is_refused_before_the_work(lrnet: CliRun, clean: Path) -> None:
    refused = lrnet("check", clean, "--report", "nowhere/page.html")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "nowhere/page.html: cannot be written" in refused.stderr


def test_colours_of_arrays_are_not_said_to_be_lost(lrnet: CliRun) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)
    labels = np.arange(12) % 2
    np.savez("set.npz", train_images=colours, train_labels=labels, test_images=colours, test_labels=labels)
    said = lrnet("check", "set.npz", "--report", "page.html").stdout
    assert "colour        24 images in colour, the others grey\n" in said
    assert "--channels 3" not in Path("page.html").read_text(encoding="utf-8")


def test_arrays_are_checked_too(lrnet: CliRun) -> None:
    result = lrnet("check", "optdigits", "--json")
    document = json.loads(result.stdout)
    assert sum(document["counts"]["train"].values()) == 1797
    advice = document["advice"]
    assert (advice["image_size"], advice["channels"], advice["crop"], advice["few"]) == (8, 1, "off", [])
