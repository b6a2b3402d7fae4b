import gzip
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lrnet_cli.data.readers.by_path import read_raw
from lrnet_cli.errors import DataError

RANDOM = np.random.default_rng(0)


def images(count: int, *shape: int) -> np.ndarray:
    return RANDOM.integers(0, 256, (count, *(shape or (8, 8))), dtype=np.uint8)


def arrays(**changes: Any) -> dict[str, np.ndarray]:
    valid = {
        "train_images": images(6),
        "train_labels": np.array([0, 1, 2] * 2),
        "test_images": images(3),
        "test_labels": np.array([[0], [1], [2]], dtype=np.uint8),
    }
    return {name: value for name, value in (valid | changes).items() if value is not None}


def write_idx(path: Path, array: np.ndarray) -> None:
    content = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def idx_folder(folder: Path, **changes: np.ndarray) -> Path:
    values = arrays() | {"test_labels": np.array([0, 1, 2])} | changes
    write_idx(folder / "train-images-idx3-ubyte.gz", values["train_images"])
    write_idx(folder / "train-labels-idx1-ubyte", values["train_labels"].astype(np.uint8))
    write_idx(folder / "t10k-images.idx3-ubyte", values["test_images"])
    write_idx(folder / "t10k-labels-idx1-ubyte.gz", values["test_labels"].astype(np.uint8))
    return folder


def class_folders(root: Path, *names: str, count: int = 3) -> Path:
    for name in names:
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(images(1)[0]).save(root / name / f"{number}.png")
    return root


def test_npz_gives_all_its_splits(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "set.npz", **arrays(val_images=images(2), val_labels=np.array([2, 0])))
    raw = read_raw(tmp_path / "set.npz")
    assert raw.classes == ("0", "1", "2")
    assert raw.train.images.shape == (6, 8, 8, 1)
    assert raw.val is not None
    assert raw.test is not None
    assert (raw.val.labels.tolist(), raw.test.labels.tolist()) == ([2, 0], [0, 1, 2])


def test_npz_in_colour_keeps_its_channels(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", **arrays(train_images=images(6, 8, 8, 3), test_images=images(3, 8, 8, 3)))
    assert read_raw(tmp_path / "set.npz").train.images.shape == (6, 8, 8, 3)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"test_images": None}, "test_images is missing"),
        ({"train_labels": None}, "train_labels is missing"),
        ({"train_images": images(6) / 255}, "dtype is float64, expected uint8"),
        ({"train_images": images(5)}, "5 images, but 6 labels"),
        ({"train_images": images(6, 8, 8, 2)}, r"shape is \(6, 8, 8, 2\)"),
        ({"train_labels": np.zeros((6, 14), dtype=int)}, r"one whole number per image.*\(6, 14\)"),
        ({"train_labels": np.linspace(0, 1, 6)}, "float64"),
        ({"train_labels": np.array([0, 1, 2, 0, 1, -1])}, "out of range; the first is -1 of image 6"),
        ({"train_labels": np.array([0, 1, 2, 0, 1, 10**9])}, "1000000000 is out of range"),
        ({"test_labels": np.array([0, 1, 3])}, "test_labels: 1 labels are out of range; the first is 3"),
        ({"train_labels": np.zeros(6, dtype=int), "test_labels": np.zeros(3, dtype=int)}, "only one class"),
        ({"train_images": images(0), "train_labels": np.zeros(0, dtype=int)}, "holds no images"),
        ({"train_images": np.array([{}] * 6)}, "pickled objects"),
    ],
)
def test_damaged_npz_is_named_with_the_reason(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    np.savez(tmp_path / "set.npz", **arrays(**changes), allow_pickle=True)
    with pytest.raises(DataError, match=rf"set\.npz.*{reason}"):
        read_raw(tmp_path / "set.npz")


def test_file_that_is_no_npz_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "array.npy", images(3))
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    with pytest.raises(DataError, match=r"array\.npz: is not an NPZ file"):
        read_raw(tmp_path / "array.npz")


def test_npz_with_a_flipped_byte_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", **arrays())
    content = bytearray((tmp_path / "set.npz").read_bytes())
    content[300] ^= 0xFF
    (tmp_path / "set.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"set\.npz: is damaged"):
        read_raw(tmp_path / "set.npz")


def csv_text(rows: list[list[int]], header: str = "") -> str:
    columns = header or "label," + ",".join(f"pixel{i}" for i in range(len(rows[0]) - 1))
    return "\n".join([columns, *(",".join(map(str, row)) for row in rows)]) + "\n"


def test_csv_gives_square_images_and_labels(tmp_path: Path) -> None:
    rows = [[label, *range(64)] for label in (0, 1, 1)]
    (tmp_path / "set.csv").write_text(csv_text(rows))
    raw = read_raw(tmp_path / "set.csv")
    assert raw.train.images.shape == (3, 8, 8, 1)
    assert raw.train.images[2].ravel().tolist() == list(range(64))
    assert raw.train.labels.tolist() == [0, 1, 1]
    assert raw.test is None


def test_csv_finds_its_label_column_anywhere(tmp_path: Path) -> None:
    header = ",".join([*(f"p{i}" for i in range(4)), "label"])
    (tmp_path / "set.csv").write_text(csv_text([[1, 2, 3, 4, 0], [5, 6, 7, 8, 1]], header))
    raw = read_raw(tmp_path / "set.csv")
    assert raw.train.images[1].ravel().tolist() == [5, 6, 7, 8]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no column named label"),
        ("a,b\n1,2\n", "no column named label"),
        ("file_name;label\na.png;1\n", "no column named label; write commas instead of semicolons"),
        ("filename,label\na.png,1\n", "needs the column file_name, and has: filename, label"),
        ("path,label,split\na.png,1,train\n", "needs the column file_name, and has: path, label, split"),
        (csv_text([[0, 1, 2, 3]]), "3 pixel columns do not make a square"),
        (csv_text([[0, 1, 2, 3, 4]]).splitlines()[0] + "\n", "holds no images"),
        (csv_text([[0, 1, 2, 3, 256], [1, 0, 0, 0, 0]]), "image 1 has pixel values outside 0 to 255"),
        (csv_text([[-1, 1, 2, 3, 4], [1, 0, 0, 0, 0]]), "label.*out of range; the first is -1"),
        (csv_text([[0, 1, 2, 3, 4]]) + "1,2,3\n", "number of columns changed"),
        (csv_text([[0, 1, 2, 3, 4]]) + "1,2,3,4,x\n", "could not convert string 'x'"),
        ("label,p\n\xff\xfe,1\n", "out of range|convert|UTF-8"),
    ],
)
def test_damaged_csv_is_named_with_the_reason(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "set.csv").write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=rf"set\.csv.*({reason})"):
        read_raw(tmp_path / "set.csv")


def test_idx_folder_mixes_plain_compressed_and_dotted_names(tmp_path: Path) -> None:
    raw = read_raw(idx_folder(tmp_path))
    assert raw.test is not None
    assert (len(raw.train.labels), len(raw.test.labels), raw.classes) == (6, 3, ("0", "1", "2"))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"train_images": images(5)}, "holds 5 images, but .*train-labels-idx1-ubyte 6 labels"),
        ({"test_labels": np.array([0, 1, 7])}, "test labels: 1 labels are out of range; the first is 7 of image 3"),
        ({"train_images": images(0), "train_labels": np.array([])}, "holds no images"),
    ],
)
def test_damaged_idx_folder_is_named_with_the_reason(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        read_raw(idx_folder(tmp_path, **changes))


def test_idx_folder_with_a_missing_file_says_which(tmp_path: Path) -> None:
    idx_folder(tmp_path)
    (tmp_path / "t10k-images.idx3-ubyte").unlink()
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte.*missing"):
        read_raw(tmp_path)


def test_class_folders_are_sorted_and_an_empty_class_keeps_its_index(tmp_path: Path) -> None:
    class_folders(tmp_path, "dog", "ant")
    (tmp_path / "bee").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "dog" / "notes.txt").write_text("not an image")
    raw = read_raw(tmp_path)
    assert raw.classes == ("ant", "bee", "dog")
    assert raw.train.labels.tolist() == [0] * 3 + [2] * 3
    assert raw.test is None


def test_class_folders_with_splits_share_one_list_of_classes(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", "a", "c")
    class_folders(tmp_path / "test", "b", "c", count=1)
    raw = read_raw(tmp_path)
    assert raw.test is not None
    assert raw.classes == ("a", "b", "c")
    assert raw.test.labels.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("names", "reason"),
    [((), "has no class folders with images"), (("only",), "has only one class folder with images, only;")],
)
def test_folder_without_classes_is_refused(tmp_path: Path, names: tuple[str, ...], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        read_raw(class_folders(tmp_path, *names))


def test_images_without_class_folders_are_counted(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"holds 2 images, but not in class folders.* Sort them into folders"):
        read_raw(tmp_path)


def test_class_folders_without_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no images \(\.(avif, \.)?bmp"):
        read_raw(class_folders(tmp_path, "a", "b", count=0))


def test_path_that_is_no_data_set_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match=r"notes\.txt: is not a data set"):
        read_raw(tmp_path / "notes.txt")
    with pytest.raises(DataError, match="no such file or folder"):
        read_raw(tmp_path / "nowhere")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are a Unix thing")
def test_named_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(DataError, match="pipe or device"):
        read_raw(tmp_path / "pipe.csv")


def test_a_label_far_beyond_the_number_of_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("label,pixel0\n0,0\n60000,0\n")
    with pytest.raises(DataError, match="label 60000 is out of range; at most 1000 classes are read from 2 images"):
        read_raw(tmp_path / "a.csv")
