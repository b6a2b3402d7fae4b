"""Lists of files, as people and Hugging Face write them."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lrnet_cli.data.check import check_dataset
from lrnet_cli.data.datasets import Dataset, load_dataset
from lrnet_cli.data.readers.by_path import read_raw
from lrnet_cli.data.splits import cut_of
from lrnet_cli.errors import DataError
from lrnet_cli.reporter import Reporter
from lrnet_cli.settings.requests import CheckRequest


def image(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((8, 8), np.uint8)
    pixels[2:6, 2:6] = level % 200 + 50
    Image.fromarray(pixels).save(path)


def rows_of(folder: Path, count: int = 40, **more: Any) -> list[dict[str, Any]]:
    """Write ``count`` images and return their rows; what is in ``more`` are functions of the row's number."""
    rows = []
    for number in range(count):
        image(folder / "scans" / f"{number}.png", number)
        row = {"file_name": f"scans/{number}.png", "label": ("cat", "dog")[number % 2]}
        rows.append(row | {name: make(number) for name, make in more.items()})
    return rows


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".parquet":
        arrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(arrow.Table.from_pylist(rows), path)
    else:
        lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
        path.write_text("\n".join(lines) + "\n")
    return path


def loaded(path: Path, fold: tuple[int, int] | None = None) -> tuple[Dataset, str]:
    messages: list[str] = []
    reporter = Reporter()
    reporter.message = messages.append
    return load_dataset(str(path), fold=fold, reporter=reporter), "\n".join(messages)


@pytest.mark.parametrize("name", ["list.csv", "list.jsonl", "list.parquet", "metadata.csv"])
def test_files_are_found_beside_the_list_and_labelled_by_it(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / name, rows_of(tmp_path))
    dataset, said = loaded(tmp_path if name == "metadata.csv" else path)
    assert dataset.classes == ("cat", "dog")
    assert (len(dataset.train), len(dataset.test)) == (32, 8)
    assert "40 image files in 2 classes: cat, dog." in said
    assert dataset.train.paths is not None
    for file, label in zip(dataset.train.paths, dataset.train.labels.tolist(), strict=True):
        assert int(Path(file).stem) % 2 == label


def test_a_number_is_one_class_however_it_is_written(tmp_path: Path) -> None:
    labels = [1, 1.0, "1", 2, 2.0]
    for name in ("list.jsonl", "floats.parquet"):
        of = labels if name == "list.jsonl" else [1.0, 1.0, 1.0, 2.0, 2.0]
        rows = rows_of(tmp_path, label=lambda number, of=of: of[number % 5])
        assert loaded(written(tmp_path / name, rows))[0].classes == ("1", "2")


@pytest.mark.parametrize(
    ("label", "problem"), [(None, "has no label"), (float("nan"), "has no label"), (True, "label is neither text nor")]
)
def test_a_missing_label_is_no_class(tmp_path: Path, label: object, problem: str) -> None:
    rows = rows_of(tmp_path, label=lambda number: label if number == 7 else number % 2)
    with pytest.raises(DataError, match=rf"list\.jsonl: row 8: {problem}"):
        loaded(written(tmp_path / "list.jsonl", rows))


def test_a_parquet_file_of_a_billion_rows_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "list.parquet", rows_of(tmp_path))
    monkeypatch.setattr("lrnet_cli.memory.free_memory", lambda: 10_000)
    with pytest.raises(DataError, match=r"list\.parquet: needs 0\.0 GB of memory, but 0\.0 GB are free"):
        loaded(path)


def test_a_column_given_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("file_name,label,label\na.png,cat,dog\n")
    with pytest.raises(DataError, match=r"list\.csv: has the column label twice"):
        loaded(tmp_path / "list.csv")
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    texts = arrow.array(["a.png"])
    parquet.write_table(arrow.table([texts] * 3, names=["file_name", "label", "label"]), tmp_path / "list.parquet")
    with pytest.raises(DataError, match=r"list\.parquet: has the column label twice"):
        loaded(tmp_path / "list.parquet")


@pytest.mark.skipif(os.name != "posix", reason="makes a sparse file")
@pytest.mark.parametrize("name", ["list.csv", "list.jsonl"])
def test_a_line_without_end_is_refused_without_being_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    os.truncate(tmp_path / name, 20_000_000_000)
    with pytest.raises(DataError, match=r"more than 10 million characters|no column named label"):
        read_raw(tmp_path / name)


def test_names_that_look_the_same_are_remarked_on(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, label=lambda number: ("\u00e9", "e\u0301", "dog")[number % 3])
    path = written(tmp_path / "list.csv", rows)
    dataset, said = loaded(path)
    assert len(dataset.classes) == 3
    assert "list: 2 classes have names that look the same and differ in Unicode form only: e\u0301, \u00e9." in said
    checked = check_dataset(CheckRequest(dataset=str(path)), Reporter())
    assert any("differ in Unicode form only" in finding for finding in checked.findings)


def test_splits_are_those_of_the_list(tmp_path: Path) -> None:
    split = {0: "train", 1: "Train", 2: "", 3: "valid", 4: "TEST"}
    rows = rows_of(tmp_path, split=lambda number: split[number % 5])
    dataset, _ = loaded(written(tmp_path / "list.csv", rows))
    assert dataset.val is not None
    assert [len(part) for part in (dataset.train, dataset.val, dataset.test)] == [24, 8, 8]


def test_a_group_never_straddles_a_cut(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, 120, group=lambda number: f"page {number // 5}")
    path = written(tmp_path / "list.csv", rows)
    dataset, _ = loaded(path)

    def pages(part: Any) -> set[int]:
        return {int(Path(file).stem) // 5 for file in part.paths}

    assert pages(dataset.train) & pages(dataset.test) == set()
    assert 10 <= len(dataset.test) <= 40
    for fraction in (0.2, 0.75):
        kept, cut = cut_of(dataset.train, fraction, seed=3)
        assert pages(dataset.train.take(kept)) & pages(dataset.train.take(cut)) == set()
        assert sorted([*kept.tolist(), *cut.tolist()]) == list(range(len(dataset.train)))
        assert len(cut) == pytest.approx(fraction * len(dataset.train), abs=6)
    folds = [loaded(path, fold=(number, 4))[0] for number in range(1, 5)]
    tested = [pages(fold.test) for fold in folds]
    assert sum(map(len, tested)) == len(set().union(*tested)) == 24
    assert all(pages(fold.train) & pages(fold.test) == set() for fold in folds)


def test_a_row_that_is_repeated_counts_once_and_one_that_says_otherwise_is_refused(tmp_path: Path) -> None:
    rows = rows_of(tmp_path)
    path = written(tmp_path / "list.csv", [*rows, rows[0] | {"file_name": "scans/../scans/0.png"}])
    dataset, said = loaded(path)
    assert len(dataset.train) + len(dataset.test) == len(rows)
    assert "left out 1 repeated row." in said
    with pytest.raises(DataError, match=r"lists scans/0\.png twice, as cat \(train\) and dog \(train\); keep one"):
        read_raw(written(path, [*rows, rows[0] | {"label": "dog"}]))


@pytest.mark.parametrize("groups", [1, 16])
def test_groups_are_cut_even_with_few_images_of_each_class(tmp_path: Path, groups: int) -> None:
    rows = rows_of(
        tmp_path, 16, label=lambda number: "abcd"[number % 4], group=lambda number: f"page {number % groups}"
    )
    path = written(tmp_path / "list.csv", rows)
    most = min(groups, 4)
    if most > 1:
        dataset, _ = loaded(path)
        assert 1 <= len(dataset.test) <= 8
        assert len(loaded(path, fold=(1, most))[0].test)
    else:
        with pytest.raises(DataError, match="too few images to set a fifth aside"):
            loaded(path)
    with pytest.raises(DataError, match=f"its {groups} groups of images cannot be cut into 5 folds"):
        loaded(path, fold=(1, 5))


def test_groups_in_several_declared_splits_are_named(tmp_path: Path) -> None:
    rows = rows_of(
        tmp_path, split=lambda number: "test" if number > 29 else "train", group=lambda number: f"page{number // 4}"
    )
    _, said = loaded(written(tmp_path / "list.csv", rows))
    assert "list: 1 group is in more than one split: page7." in said


def test_a_run_keeps_groups_apart_and_says_what_it_read(tmp_path: Path) -> None:
    from lrnet_cli.settings.config import TrainConfig
    from lrnet_cli.training.train import train

    rows = rows_of(tmp_path, 60, group=lambda number: f"page {number // 3}")
    path = written(tmp_path / "list.csv", rows)
    result = train(TrainConfig(dataset=str(path), arch="cnn", image_size=8, epochs=1, seed=0, out=tmp_path / "run"))
    assert result["status"] == "finished"
    assert result["dataset"] == "list"


def test_a_table_of_pixels_is_still_one(tmp_path: Path) -> None:
    lines = ["label,a,b,c,d", *(f"{number % 2},0,255,0,{number}" for number in range(40))]
    (tmp_path / "pixels.csv").write_text("\n".join(lines))
    assert load_dataset(str(tmp_path / "pixels.csv")).train.images.shape[1:] == (1, 2, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file_name,label\n", "lists no images"),
        ("file_name,kind\na.png,x\n", "row 2: has no label; its columns are: file_name, kind"),
        ("file_name,label\na.png,x\n,y\n", "row 3: has no file_name"),
        ("file_name,label\na.png,x\nb.png,x\n", "only one class, x"),
        ("file_name,label,split\na.png,x,later\n", "row 2: the split 'later' is none of: train, training, val"),
        ("file_name,label,split\na.png,x,test\nb.png,y,test\n", "lists no training images"),
        ("file_name,label\n\xff\n", "is not UTF-8 text"),
    ],
)
def test_what_does_not_fit_is_named_by_row(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "list.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=message):
        load_dataset(str(tmp_path / "list.csv"))


@pytest.mark.parametrize(
    "line", ["[1, 2]", "3", "{", '{"file_name": null, "label": "x"}', "[" * 200_000, '{"label": 1, "label": 2}']
)
def test_json_lines_that_do_not_fit_are_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "list.jsonl").write_text('{"file_name": "a.png", "label": "x"}\n' + line + "\n")
    with pytest.raises(DataError, match=r"list\.jsonl"):
        load_dataset(str(tmp_path / "list.jsonl"))


def test_a_file_that_is_not_there_is_skipped_and_named(tmp_path: Path) -> None:
    rows = [*rows_of(tmp_path), {"file_name": "scans/gone.png", "label": "cat"}]
    dataset, said = loaded(written(tmp_path / "list.csv", rows))
    assert [Path(item.path).name for item in dataset.skipped] == ["gone.png"]
    assert "skipped 1 image that cannot be read" in said


def test_classes_of_an_npz_may_have_names(tmp_path: Path) -> None:
    images, labels = np.zeros((12, 8, 8), np.uint8), np.arange(12) % 2
    arrays = {"train_images": images, "train_labels": labels, "test_images": images, "test_labels": labels}
    np.savez(tmp_path / "a.npz", **arrays, class_names=np.array(["benign", "malign", "other"]))
    assert load_dataset(str(tmp_path / "a.npz")).classes == ("benign", "malign", "other")
    np.savez(tmp_path / "b.npz", **arrays, class_names=np.array(["same", "same"]))
    with pytest.raises(DataError, match="class_names must hold distinct texts"):
        load_dataset(str(tmp_path / "b.npz"))
    np.savez(tmp_path / "c.npz", **arrays, class_names=np.array(["alone"]))
    with pytest.raises(DataError, match="out of range"):
        load_dataset(str(tmp_path / "c.npz"))
