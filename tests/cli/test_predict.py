import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lrnet_cli import paths
from lrnet_cli.data.datasets import load_dataset

CliRun = Callable[..., Any]


@pytest.fixture(autouse=True)
def pictures(trained_run: Path, isolated_user: Path) -> Path:
    """Write ten scans to ``pictures/``, record the trained run as the newest, and work beside them."""
    paths.record_run(trained_run)
    folder = isolated_user / "pictures" / "deep"
    folder.mkdir(parents=True)
    for number, image in enumerate(load_dataset("optdigits").test.images[:10, 0].numpy()):
        Image.fromarray(image).save((folder if number % 2 else folder.parent) / f"{number}.png")
    return isolated_user / "pictures"


def test_a_picture_is_labelled_by_the_newest_run_which_is_told_on_stderr(lrnet: CliRun, trained_run: Path) -> None:
    result = lrnet("predict pictures/0.png --format json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["schema"] == "lrnet.predict/1"
    [entry] = document["predictions"]
    assert set(entry) == {"path", "label", "index", "probability", "top", "inverted"}
    assert (entry["path"], entry["index"]) == ("pictures/0.png", int(entry["label"]))
    assert entry["top"] == [{"label": entry["label"], "probability": entry["probability"]}]
    assert str(trained_run) in result.stderr


@pytest.mark.parametrize(
    ("inputs", "stdin", "expected"),
    [
        ("pictures", None, 10),
        ("pictures/*.png", None, 5),
        ("pictures/**/*.png", None, 10),
        ("pictures/0.png pictures/2.png", None, 2),
        ("-", "pictures/0.png\r\npictures/deep/1.png\n\n", 2),
        ("pictures/0.png -", "pictures/2.png\n", 2),
    ],
)
def test_files_folders_globs_and_stdin_are_inputs(lrnet: CliRun, inputs: str, stdin: str | None, expected: int) -> None:
    result = lrnet("predict", *inputs.split(), "--format", "jsonl", stdin=stdin)
    assert result.exit_code == 0
    found = [json.loads(line)["path"] for line in result.stdout.splitlines()]
    assert len(found) == len(set(found)) == expected


def test_every_format_tells_the_same(lrnet: CliRun) -> None:
    lines = [json.loads(line) for line in lrnet("predict pictures --format jsonl --top-k 3").stdout.splitlines()]
    document = json.loads(lrnet("predict pictures --json --top-k 3").stdout)
    assert document["predictions"] == lines
    assert all(len(line["top"]) == 3 for line in lines)
    rows = list(csv.DictReader(io.StringIO(lrnet("predict pictures --format csv --top-k 3").stdout)))
    assert [row["label"] for row in rows] == [line["label"] for line in lines]
    assert [float(row["probability_3"]) for row in rows] == [line["top"][2]["probability"] for line in lines]
    table = lrnet("predict pictures --top-k 3").stdout
    for line in lines:
        assert line["path"] in table
        assert f"{line['label']} {line['top'][1]['probability']:.4f}"[2:] in table


def test_more_classes_than_there_are_is_all_of_them(lrnet: CliRun) -> None:
    [entry] = json.loads(lrnet("predict pictures/0.png --json --top-k 99").stdout)["predictions"]
    assert len(entry["top"]) == 10


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv"])
def test_some_bad_inputs_are_rows_with_an_error_and_exit_code_3(lrnet: CliRun, form: str) -> None:
    Path("bad.png").write_bytes(b"not a picture")
    result = lrnet(f"predict pictures/0.png bad.png nowhere.png --format {form}")
    assert result.exit_code == 3
    assert "is not a picture" in result.stdout
    assert "No such file" in result.stdout
    assert "bad.png: is not a picture" in result.stderr
    if form == "jsonl":
        rows = [json.loads(line) for line in result.stdout.splitlines()]
        assert set(rows[1]) == set(rows[2]) == {"path", "error"}


def test_only_bad_inputs_are_exit_code_1(lrnet: CliRun) -> None:
    assert lrnet("predict nowhere.png --json").exit_code == 1


def test_a_folder_or_pattern_without_pictures_is_wrong_usage(lrnet: CliRun) -> None:
    Path("empty").mkdir()
    for text in ("empty", "*.tiff"):
        result = lrnet("predict", text)
        assert result.exit_code == 2
        assert f"{text}: gives no picture" in result.stderr


@pytest.mark.parametrize(("invert", "expected"), [("auto", True), ("yes", True), ("no", False)])
def test_dark_on_light_pictures_are_inverted_as_told(lrnet: CliRun, invert: str, expected: bool) -> None:
    canvas = Image.new("L", (12, 12), 255)
    canvas.paste(0, (5, 3, 7, 9))
    canvas.save("ink.png")
    [entry] = json.loads(lrnet(f"predict ink.png --invert {invert} --json").stdout)["predictions"]
    assert entry["inverted"] is expected


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX only")
def test_odd_file_names_survive_every_format(lrnet: CliRun, pictures: Path) -> None:
    (pictures / "0.png").rename(os.fsdecode(os.fsencode(pictures) + b"/[bold]\xff, \xc3\xa9.png"))
    for form in ("table", "json", "jsonl", "csv"):
        result = lrnet(f"predict pictures --format {form}")
        assert result.exit_code == 0
        assert "[bold]" in result.stdout
        assert "xff" in result.stdout


def test_unusable_weights_are_told(lrnet: CliRun) -> None:
    Path("bad.safetensors").write_bytes(b"pickled")
    result = lrnet("predict pictures --weights bad.safetensors")
    assert result.exit_code == 1
    assert "bad.safetensors: is no readable safetensors file" in result.stderr
