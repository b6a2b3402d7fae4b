"""Folders as people and their systems leave them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lrnet_cli.data.datasets import Dataset, load_dataset
from lrnet_cli.data.walk import natural
from lrnet_cli.errors import DataError
from lrnet_cli.reporter import Reporter


def images(folder: Path, count: int = 6, suffix: str = ".png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels = np.zeros((12, 12), np.uint8)
        pixels[3:9, 3 + number % 6] = 255
        Image.fromarray(pixels).save(folder / f"{number}{suffix}")
    return folder


def loaded(root: Path) -> tuple[Dataset, str]:
    messages: list[str] = []
    reporter = Reporter()
    reporter.message = messages.append
    return load_dataset(str(root), reporter=reporter), "\n".join(messages)


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [("Train", "VAL", "Test"), ("training", "validation", "testing"), ("TRAIN", "Valid", "Testing")],
)
def test_splits_are_found_whatever_they_are_called(tmp_path: Path, train: str, val: str, test: str) -> None:
    for split, count in ((train, 5), (val, 3), (test, 4)):
        for label in ("cats", "dogs"):
            images(tmp_path / split / label, count)
    dataset, _ = loaded(tmp_path)
    assert dataset.classes == ("cats", "dogs")
    assert dataset.val is not None
    assert [len(part) for part in (dataset.train, dataset.val, dataset.test)] == [10, 6, 8]


def test_a_split_beside_class_folders_is_never_a_class(tmp_path: Path) -> None:
    for label in ("cats", "dogs"):
        images(tmp_path / label, 5)
        images(tmp_path / "Test" / label, 3)
    dataset, _ = loaded(tmp_path)
    assert (dataset.classes, len(dataset.train), len(dataset.test)) == (("cats", "dogs"), 10, 6)


def test_two_folders_for_one_split_and_tests_alone_are_refused(tmp_path: Path) -> None:
    images(tmp_path / "a" / "test" / "cats")
    with pytest.raises(DataError, match="has test, but no train folder"):
        load_dataset(str(tmp_path / "a"))
    for name in ("train", "Training"):
        images(tmp_path / "b" / name / "cats")
    with pytest.raises(DataError, match="both Training and train look like the train split; rename one"):
        load_dataset(str(tmp_path / "b"))


def test_a_test_folder_without_class_folders_gets_a_true_sentence(tmp_path: Path) -> None:
    for label in ("cats", "dogs"):
        images(tmp_path / "train" / label)
    images(tmp_path / "test")
    with pytest.raises(DataError, match=r"test: holds 6 images, but not in class folders.*lrnet predict"):
        load_dataset(str(tmp_path))


def test_names_sort_as_people_sort_them(tmp_path: Path) -> None:
    for label in ("10", "2", "1", "b2", "B10", "a"):
        images(tmp_path / label)
    dataset, said = loaded(tmp_path)
    assert dataset.classes == ("1", "2", "10", "B10", "a", "b2")
    assert f"{tmp_path.name}: 36 image files in 6 classes: 1, 2, 10, B10, a, b2." in said
    assert sorted(["x10", "x9", "x"], key=natural) == ["x", "x9", "x10"]
    assert dataset.train.paths is not None
    assert Path(dataset.train.paths[0]).parent.name == "1"


def test_what_systems_leave_is_neither_class_nor_image(tmp_path: Path) -> None:
    for label in ("cats", "dogs"):
        images(tmp_path / label)
        images(tmp_path / label / "@eaDir", 2)
        images(tmp_path / label / ".thumbnails", 2)
        Image.new("L", (4, 4)).save(tmp_path / label / "._0.png")
    for name in ("__MACOSX", ".git", "@eaDir", "$RECYCLE.BIN"):
        images(tmp_path / name)
    dataset, said = loaded(tmp_path)
    assert dataset.classes == ("cats", "dogs")
    assert len(dataset.train) + len(dataset.test) == 12
    assert "left out" not in said


def test_one_line_says_what_was_left_out_and_it_is_counted(tmp_path: Path) -> None:
    for label in ("cats", "dogs"):
        images(tmp_path / "set" / label)
        (tmp_path / "set" / label / "notes.txt").write_text("x")
    (tmp_path / "set" / "cats" / "raw.heic").write_bytes(b"x")
    (tmp_path / "set" / "labels.csv").write_text("x")
    (tmp_path / "set" / "cats" / "more").symlink_to(images(tmp_path / "elsewhere"))
    dataset, said = loaded(tmp_path / "set")
    assert dict(dataset.left_out) == {
        "files beside the class folders": 1,
        ".txt files": 2,
        ".heic files": 1,
        "links to folders": 1,
    }
    assert "set: left out 1 file beside the class folders, 1 link to folders, 2 .txt files, 1 .heic file." in said


def test_empty_small_and_lonely_classes_are_named(tmp_path: Path) -> None:
    for label, train, test in (("a", 6, 2), ("b", 6, 2), ("empty", 0, 0), ("only-test", 0, 3), ("tiny", 2, 0)):
        images(tmp_path / "train" / label, train)
        images(tmp_path / "test" / label, test)
    dataset, said = loaded(tmp_path)
    assert dataset.classes == ("a", "b", "empty", "only-test", "tiny")
    assert "class without any image: empty." in said
    assert "class without training images: only-test." in said
    assert "too few to be trained, validated and tested: tiny." in said
    assert "class without test images: tiny." in said


def test_damaged_images_are_skipped_and_listed_with_class_and_reason(tmp_path: Path) -> None:
    for label in ("a", "b"):
        images(tmp_path / label, 50)
    (tmp_path / "b" / "7.png").write_bytes(b"no image")
    (tmp_path / "b" / "9.png").write_bytes((tmp_path / "b" / "8.png").read_bytes()[:50])
    dataset, said = loaded(tmp_path)
    assert len(dataset.train) + len(dataset.test) == 98
    assert [(Path(item.path).name, item.label) for item in dataset.skipped] == [("7.png", "b"), ("9.png", "b")]
    assert dataset.skipped[0].reason == "is not an image in a format that Pillow reads"
    assert "skipped 2 images that cannot be read: " in said
    assert dataset.train.paths is not None
    # What follows a damaged image keeps its own file and label.
    for path, label in zip(dataset.train.paths, dataset.train.labels.tolist(), strict=True):
        assert Path(path).parent.name == dataset.classes[label]


def test_a_class_with_many_damaged_images_is_refused(tmp_path: Path) -> None:
    for label in ("a", "b"):
        images(tmp_path / label, 20)
    for number in (3, 4):
        (tmp_path / "b" / f"{number}.png").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"2 of the 20 images of class b cannot be read, more than 5%.*3\.png: is empty"
    ):
        load_dataset(str(tmp_path))
    (tmp_path / "b" / "4.png").unlink()
    assert len(load_dataset(str(tmp_path)).skipped) == 1


def test_images_of_several_pages_say_that_the_first_was_read(tmp_path: Path) -> None:
    for label in ("a", "b"):
        images(tmp_path / label)
    frames = [Image.new("L", (8, 8), level) for level in (0, 255)]
    frames[0].save(tmp_path / "a" / "pages.tif", save_all=True, append_images=frames[1:])
    dataset, said = loaded(tmp_path)
    assert "1 image has several frames or pages; only the first is read: pages.tif." in said
    assert dataset.train.paths is not None
    everything = [*dataset.train.paths, *(dataset.test.paths or ())]
    assert any(path.endswith("pages.tif") for path in everything)


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".pbm", ".pnm", ".jp2", ".avif", ".JPG", ".tiff", ".webp"])
def test_every_advertised_suffix_is_read(tmp_path: Path, suffix: str) -> None:
    from lrnet_cli.data.files import IMAGE_SUFFIXES

    if suffix.lower() not in IMAGE_SUFFIXES:
        pytest.skip(f"this Pillow reads no {suffix}")
    for label in ("a", "b"):
        folder = images(tmp_path / label)
        for path in sorted(folder.iterdir()):
            mode = "1" if suffix == ".pbm" else "L"
            kind = {".jfif": "JPEG", ".jpe": "JPEG", ".pnm": "PPM"}.get(suffix)
            Image.open(path).convert(mode).save(path.with_suffix(suffix), format=kind)
            path.unlink()
    dataset, said = loaded(tmp_path)
    assert len(dataset.train) + len(dataset.test) == 12
    assert dataset.train.images.max() > 150
    assert "left out" not in said


def test_progress_counts_every_image_of_every_split(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for label in ("a", "b"):
            images(tmp_path / split / label)
    progress: list[tuple[int, int]] = []
    reporter = Reporter()
    reporter.images = lambda done, total: progress.append((done, total))
    load_dataset(str(tmp_path), reporter=reporter)
    assert progress == [(number, 24) for number in range(1, 25)]


def test_copies_of_training_images_among_the_tests_are_counted(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 4)):
        for label in ("a", "b"):
            (tmp_path / split / label).mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 256, (12, 12), np.uint8)
                Image.fromarray(pixels).save(tmp_path / split / label / f"{number}.png")
    assert "are duplicates" not in loaded(tmp_path)[1]
    for number in (1, 3):
        (tmp_path / "test" / "b" / f"{number}.png").write_bytes(
            (tmp_path / "train" / "a" / f"{number}.png").read_bytes()
        )
    assert f"{tmp_path.name}: 2 of the 8 test images are duplicates of training images." in loaded(tmp_path)[1]
