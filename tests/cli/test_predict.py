import csv
import io
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lrnet_cli import paths
from lrnet_cli.data.datasets import load_dataset
from lrnet_cli.predict import job
from lrnet_cli.predict.inputs import find_inputs
from lrnet_cli.predict.rows import RowFile

CliRun = Callable[..., Any]


@pytest.fixture(autouse=True)
def images(trained_run: Path, isolated_user: Path) -> Path:
    """Write ten scans to ``images/``, record the trained run as the newest, and work beside them."""
    paths.record_run(trained_run)
    folder = isolated_user / "images" / "deep"
    folder.mkdir(parents=True)
    for number, image in enumerate(load_dataset("optdigits").test.images[:10, 0].numpy()):
        Image.fromarray(image).save((folder if number % 2 else folder.parent) / f"{number}.png")
    return isolated_user / "images"


def test_an_image_is_labelled_by_the_newest_run_which_is_told_on_stderr(lrnet: CliRun, trained_run: Path) -> None:
    result = lrnet("predict images/0.png --format json --max-novelty 99")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["schema"] == "lrnet.predict/1"
    [entry] = document["predictions"]
    assert set(entry) == {"path", "label", "index", "probability", "top", "novelty", "inverted"}
    assert (entry["path"], entry["index"]) == ("images/0.png", int(entry["label"]))
    assert entry["top"] == [{"label": entry["label"], "probability": entry["probability"]}]
    assert str(trained_run) in result.stderr
    assert "Weights: the included model digits. Device: " in lrnet("predict images/0.png --weights digits").stderr


@pytest.mark.parametrize(
    ("inputs", "stdin", "expected"),
    [
        ("images", None, 10),
        ("images/*.png", None, 5),
        ("images/**/*.png", None, 10),
        ("images/0.png images/2.png", None, 2),
        ("-", "images/0.png\r\nimages/deep/1.png\n\n", 2),
        ("images/0.png -", "images/2.png\n", 2),
    ],
)
def test_files_folders_globs_and_stdin_are_inputs(lrnet: CliRun, inputs: str, stdin: str | None, expected: int) -> None:
    result = lrnet("predict", *inputs.split(), "--format", "jsonl", stdin=stdin)
    assert result.exit_code == 0
    found = [json.loads(line)["path"] for line in result.stdout.splitlines()]
    assert len(found) == len(set(found)) == expected


def test_every_format_tells_the_same(lrnet: CliRun) -> None:
    lines = [json.loads(line) for line in lrnet("predict images --format jsonl --top-k 3").stdout.splitlines()]
    document = json.loads(lrnet("predict images --json --top-k 3").stdout)
    assert document["predictions"] == lines
    assert all(len(line["top"]) == 3 for line in lines)
    rows = list(csv.DictReader(io.StringIO(lrnet("predict images --format csv --top-k 3").stdout)))
    assert [row["label"] for row in rows] == [line["label"] for line in lines]
    assert [float(row["probability_3"]) for row in rows] == [line["top"][2]["probability"] for line in lines]
    table = lrnet("predict images --top-k 3").stdout
    for line in lines:
        assert line["path"] in table
        assert f"{line['top'][1]['label']} {line['top'][1]['probability']:.4f}" in table


def test_more_classes_than_there_are_is_all_of_them(lrnet: CliRun) -> None:
    [entry] = json.loads(lrnet("predict images/0.png --json --top-k 99").stdout)["predictions"]
    assert len(entry["top"]) == 10


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv"])
def test_some_bad_inputs_are_rows_with_an_error_and_exit_code_3(lrnet: CliRun, form: str) -> None:
    Path("bad.png").write_bytes(b"not an image")
    result = lrnet(f"predict images/0.png bad.png nowhere.png --format {form}")
    assert result.exit_code == 3
    assert "is not an image" in result.stdout
    assert "No such file" in result.stdout
    assert "bad.png: is not an image" in result.stderr
    if form == "jsonl":
        rows = [json.loads(line) for line in result.stdout.splitlines()]
        assert set(rows[1]) == set(rows[2]) == {"path", "error"}


@pytest.mark.parametrize("name", ["~nosuch.png", "n" * 300 + ".png", "a\0.png"])
def test_a_name_that_cannot_be_a_file_is_a_row_with_an_error(lrnet: CliRun, name: str) -> None:
    result = lrnet("predict", "images/0.png", name, "--json")
    assert result.exit_code == 3
    assert ["error" in entry for entry in json.loads(result.stdout)["predictions"]] == [False, True]


@pytest.mark.parametrize("name", ["~nosuch/w", "n" * 300])
def test_a_name_that_cannot_be_weights_or_a_data_set_is_one_sentence(lrnet: CliRun, name: str) -> None:
    for words in (("predict", "images", "--weights", name), ("check", name)):
        result = lrnet(*words)
        assert (
            result.exit_code in (1, 2),
            "no such weight file" in result.stderr or "There is no data set" in result.stderr,
        ) == (True, True)


def test_a_pattern_that_is_none_is_wrong_usage(lrnet: CliRun) -> None:
    result = lrnet("predict", "x**y*.png")
    assert result.exit_code == 2
    assert "x**y*.png: " in result.stderr


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX only")
def test_names_on_stdin_need_not_be_text(images: Path) -> None:
    name = os.fsencode(images) + b"/\xff.png"
    (images / "0.png").rename(os.fsdecode(name))
    script = "import sys; from lrnet_cli.predict.inputs import find_inputs; print(*map(ascii, find_inputs(['-'])))"
    environment = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    words = [sys.executable, "-c", script]
    done = subprocess.run(words, input=name + b"\r\nb.png", env=environment, capture_output=True, check=True)
    assert b"udcff.png') PosixPath('b.png')" in done.stdout


def test_folders_may_be_nested_by_the_thousand(tmp_path: Path) -> None:
    folder = tmp_path
    for _ in range(1500):  # deeper than Python recurses
        folder /= "a"
        folder.mkdir()
    (folder / "0.png").touch()
    try:
        assert [*find_inputs([str(tmp_path)])] == [folder / "0.png"]
    finally:  # pytest would recurse, too
        (folder / "0.png").unlink()
        while folder != tmp_path:
            folder.rmdir()
            folder = folder.parent


def test_only_bad_inputs_are_exit_code_1(lrnet: CliRun) -> None:
    assert lrnet("predict nowhere.png --json").exit_code == 1


def test_a_folder_or_pattern_without_images_is_wrong_usage(lrnet: CliRun) -> None:
    Path("empty").mkdir()
    for text in ("empty", "*.tiff"):
        result = lrnet("predict", text)
        assert result.exit_code == 2
        assert f"{text}: no images found" in result.stderr


@pytest.mark.parametrize(("invert", "expected"), [("auto", True), ("yes", True), ("no", False)])
def test_dark_on_light_images_are_inverted_as_told(lrnet: CliRun, invert: str, expected: bool) -> None:
    canvas = Image.new("L", (12, 12), 255)
    canvas.paste(0, (5, 3, 7, 9))
    canvas.save("ink.png")
    [entry] = json.loads(lrnet(f"predict ink.png --invert {invert} --json").stdout)["predictions"]
    assert entry["inverted"] is expected


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX only")
def test_odd_file_names_survive_every_format(lrnet: CliRun, images: Path) -> None:
    (images / "0.png").rename(os.fsdecode(os.fsencode(images) + b"/[bold]\xff, \xc3\xa9.png"))
    for form in ("table", "json", "jsonl", "csv"):
        result = lrnet(f"predict images --format {form}")
        assert result.exit_code == 0
        assert "[bold]" in result.stdout
        assert "xff" in result.stdout


def test_unusable_weights_are_told(lrnet: CliRun) -> None:
    Path("bad.safetensors").write_bytes(b"pickled")
    result = lrnet("predict images --weights bad.safetensors")
    assert result.exit_code == 1
    assert "bad.safetensors: is not a readable safetensors file" in result.stderr


def test_rows_go_to_a_file_that_appears_whole(lrnet: CliRun) -> None:
    for form in ("csv", "jsonl"):
        result = lrnet(f"predict images --output rows.{form} --top-k 2")
        assert result.exit_code == 0
        assert result.stdout == ""
        assert Path(f"rows.{form}").read_text() == lrnet(f"predict images --format {form} --top-k 2").stdout
    assert sorted(path.name for path in Path().glob("[!.]*") if path.is_file()) == ["rows.csv", "rows.jsonl"]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("torn", [0, 1, 40])
def test_an_interrupted_file_is_gone_on_with(lrnet: CliRun, images: Path, form: str, torn: int) -> None:
    (images / "0.png").rename(images / '0 "quoted",\n.png')
    (images / "deep" / "1.png").write_bytes(b"damaged")
    assert lrnet(f"predict images --output rows.{form}").exit_code == 3
    whole = Path(f"rows.{form}").read_bytes()
    [name] = [f"rows.{form}.{digest}.part" for digest in [part_digest(lrnet, form)]]
    for rows in (0, 1, 2, 3, 11):  # the header, the damaged image, the quoted name, the last row
        places = [0, *(place + 1 for place, byte in enumerate(whole) if byte == ord("\n"))]
        cut = min(places[min(rows, len(places) - 1)] + torn, len(whole))
        Path(name).write_bytes(whole[:cut])
        Path(f"rows.{form}").unlink()
        result = lrnet(f"predict images --output rows.{form} --resume")
        assert result.exit_code == 3
        assert Path(f"rows.{form}").read_bytes() == whole
        assert not Path(name).exists()


def part_digest(lrnet: CliRun, form: str) -> str:
    """Interrupt a prediction after its first row; return what the name of the part that it leaves holds."""

    def interrupted(path: Path) -> Any:
        raise KeyboardInterrupt

    before = RowFile.finish
    RowFile.finish = interrupted  # type: ignore[method-assign]
    try:
        assert lrnet(f"predict images --output other.{form}").exit_code == 130
    finally:
        RowFile.finish = before  # type: ignore[method-assign]
    [part] = Path().glob("other.*.part")
    part.unlink()
    return part.name.split(".")[-2]


def test_an_interrupted_file_is_neither_lost_nor_mixed_with_other_settings(lrnet: CliRun) -> None:
    digest = part_digest(lrnet, "csv")
    part = Path(f"rows.csv.{digest}.part")
    part.write_text("path,label,index,probability,novelty,inverted,error\n")
    again = lrnet("predict images --output rows.csv")
    assert again.exit_code == 2
    assert f"{part}: holds the rows of an interrupted prediction; continue with --resume, or delete it" in again.stderr
    other = lrnet("predict images --output rows.csv --resume --top-k 2")
    assert other.exit_code == 2
    assert "was started with other weights or settings" in other.stderr
    assert part.exists()
    assert lrnet("predict images --output rows.csv --resume").exit_code == 0


def test_a_complete_file_gets_rows_for_the_inputs_that_have_none(lrnet: CliRun, images: Path) -> None:
    (images / "bad.png").write_bytes(b"")
    for form in ("csv", "jsonl"):
        names = sorted(images.glob("*.png"))
        assert lrnet(f"predict images/0.png images/2.png --output rows.{form}").exit_code == 0
        first = Path(f"rows.{form}").read_text()
        more = lrnet(f"predict images/*.png --output rows.{form} --resume")
        assert more.exit_code == 3
        assert f" of the {len(names) - 2} new ones as unknown; 1 cannot be read." in more.stderr
        whole = Path(f"rows.{form}").read_text()
        assert whole.startswith(first)
        for name in names:
            assert whole.count(name.name) == 1
        again = lrnet(f"predict images/*.png --output rows.{form} --resume")  # what cannot be read is tried again
        assert f"{len(names) - 1} images have a row, 0 of the 1 new ones as unknown; 1 cannot be read." in again.stderr
        assert sorted(Path(f"rows.{form}").read_text().splitlines()) == sorted(whole.splitlines())
        whole = Path(f"rows.{form}").read_text()
        done = lrnet(f"predict images/?.png --output rows.{form} --resume")
        assert f"rows.{form} already has a row for each input; none was added." in done.stderr
        assert f"{len(names) - 1} images have a row; 0 cannot be read." in done.stderr
        assert Path(f"rows.{form}").read_text() == whole
    assert not list(Path().glob("*.part"))


def test_a_complete_file_gets_no_rows_of_other_weights_or_settings(lrnet: CliRun) -> None:
    assert lrnet("predict images/0.png --output rows.csv").exit_code == 0
    before = Path("rows.csv").read_bytes()
    for words in ("--min-confidence 0.5", "--weights digits"):
        result = lrnet(f"predict images --output rows.csv --resume {words}")
        assert result.exit_code == 2
        assert "rows.csv: was written with other weights or settings" in result.stderr
    assert Path("rows.csv").read_bytes() == before
    Path("rows.csv").write_bytes(b"changed")
    result = lrnet("predict images --output rows.csv --resume")
    assert (result.exit_code, "rows.csv: its rows cannot be read" in result.stderr) == (2, True)
    assert not list(Path().glob("*.part"))


def test_a_file_that_exists_is_never_overwritten(lrnet: CliRun) -> None:
    Path("mine.csv").write_text("file_name,label\n")
    for words in ("", "--resume"):
        result = lrnet(f"predict images --output mine.csv {words}")
        assert result.exit_code == 2
        assert "mine.csv: exists already" in result.stderr or "not by this command" in result.stderr
    assert Path("mine.csv").read_text() == "file_name,label\n"


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_real_process_that_is_stopped_goes_on_where_it_was(
    lrnet: CliRun, images: Path, number: signal.Signals
) -> None:
    names = [str(path) for path in sorted(images.rglob("*.png"))] * 300
    Path("list.txt").write_text("\n".join(names))
    command = [sys.executable, "-m", "lrnet_cli", "predict", "-", "--output", "rows.jsonl"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with Path("list.txt").open() as source:
        process = subprocess.Popen(
            command,
            stdin=source,
            stderr=subprocess.DEVNULL,
            env=environment,
            # A test run in the background hands down an ignored Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 # no thread is involved
        )
        deadline = time.monotonic() + 120
        while not any(part.stat().st_size for part in Path().glob("rows.*.part")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(number)
        assert process.wait(60) == (130 if number == signal.SIGINT else -number)
    assert not Path("rows.jsonl").exists()
    assert lrnet("predict - --output rows.jsonl --resume", stdin="\n".join(names)).exit_code == 0
    assert [json.loads(line)["path"] for line in Path("rows.jsonl").read_text().splitlines()] == names


@pytest.mark.parametrize("small_disk", ["16k"], indirect=True)
def test_a_full_disk_keeps_the_rows_so_far(lrnet: CliRun, small_disk: Path) -> None:
    rows = "\n".join(["images/0.png"] * 600)
    result = lrnet("predict", "-", "--output", small_disk / "rows.jsonl", stdin=rows)
    assert result.exit_code == 2
    assert "cannot be written (No space left on device). The rows so far are in" in result.stderr
    assert list(small_disk.glob("rows.jsonl.*.part"))


def test_nothing_is_left_of_a_prediction_that_did_not_begin(lrnet: CliRun) -> None:
    Path("empty").mkdir()
    for words in ("empty --output rows.csv", "empty --output rows.csv --resume"):
        assert lrnet(f"predict {words}").exit_code == 2
        assert not list(Path().glob("rows*"))


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
def test_a_reader_that_has_enough_ends_the_rows_quietly(images: Path) -> None:
    command = f"yes images/0.png | head -2000 | {sys.executable} -m lrnet_cli predict - --format csv | head -1"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        command, shell=True, check=True, capture_output=True, text=True, env=environment, timeout=120
    )
    assert result.stdout.startswith("path,label")
    assert "Traceback" not in result.stderr
    assert "BrokenPipe" not in result.stderr


def test_another_form_for_a_file_is_wrong_usage(lrnet: CliRun) -> None:
    for words in ("--output rows.txt", "--output rows.csv --format table", "--output rows.csv --json", "--resume"):
        assert lrnet(f"predict images {words}").exit_code == 2
    assert lrnet("predict images --output rows.txt --format csv").exit_code == 0
    refused = lrnet("predict images --output nowhere/rows.csv").stderr
    assert re.search(r"nowhere/rows\.csv: cannot be written \(.*\)\. Choose a file in a folder that exists", refused)


def test_unsure_answers_are_unknown(lrnet: CliRun) -> None:
    result = lrnet("predict images --min-confidence 1 --json")
    entries = json.loads(result.stdout)["predictions"]
    assert {(entry["label"], entry["index"]) for entry in entries if entry["probability"] < 1} == {("unknown", None)}
    assert "unknown,,0." in lrnet("predict images --min-confidence 1 --format csv").stdout
    assert lrnet("predict images --min-confidence 2").exit_code == 2


def as_image(path: str) -> Image.Image:
    with Image.open(path) as image:
        return image.copy()


def test_what_the_network_saw_is_saved(lrnet: CliRun) -> None:
    canvas = Image.new("L", (80, 40), 255)
    canvas.paste(0, (35, 5, 45, 35))
    canvas.save("ink*.png")
    result = lrnet("predict 'ink*.png' images/0.png --save-inputs seen --json")
    entries = json.loads(result.stdout)["predictions"]
    assert [entry["input"] for entry in entries] == ["seen/000001-ink_.png", "seen/000002-0.png"]
    seen = [as_image(entry["input"]) for entry in entries]
    assert [image.size for image in seen] == [(8, 8), (8, 8)]
    assert max(seen[0].getpixel((x, 4)) for x in (3, 4)) > 100 > 50 > seen[0].getpixel((0, 0))  # light on dark now
    assert seen[1].tobytes() == as_image("images/0.png").tobytes()
    Path("file").write_text("")
    refused = lrnet("predict images --save-inputs file")
    assert refused.exit_code == 2
    assert "cannot be written" in refused.stderr


def test_labels_are_explained_in_images(lrnet: CliRun) -> None:
    result = lrnet("predict images/0.png images/2.png --explain why --json")
    for entry in json.loads(result.stdout)["predictions"]:
        with Image.open(entry["explanation"]) as image:
            assert image.size == (170, 80)


@pytest.mark.skipif(os.name != "posix", reason="makes a pipe and links")
def test_hostile_files_in_a_folder_are_rows_not_an_end(lrnet: CliRun, images: Path) -> None:
    os.mkfifo(images / "pipe.png")
    (images / "gone.png").symlink_to("nowhere")
    (images / "round").symlink_to(images)
    (images / "\x1b[31mred\x07.png").write_bytes(b"")
    (images / "bomb.png").write_bytes(png_claiming(60000, 60000))
    result = lrnet("predict images --format jsonl")
    assert result.exit_code == 3
    entries = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(entries) == 14
    failed = {entry["path"]: entry["error"] for entry in entries if "error" in entry}
    assert len(failed) == 4
    assert "pipe" in failed["images/pipe.png"]
    assert "No such file" in failed["images/gone.png"]
    assert "too large" in failed["images/bomb.png"]
    table = lrnet("predict images")
    for text in (table.stdout, table.stderr):
        assert "\x1b" not in text
        assert "\\x1b[31mred\\x07.png" in text


def png_claiming(width: int, height: int) -> bytes:
    def chunk(content: bytes) -> bytes:
        return struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))

    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(header) + chunk(b"IDAT" + zlib.compress(b"\0")) + chunk(b"IEND")


def test_files_that_vanish_meanwhile_are_rows(lrnet: CliRun, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [*find_inputs(["images"])]
    (images / "0.png").unlink()
    monkeypatch.setattr(job, "find_inputs", lambda *_: iter(found))
    entries = json.loads(lrnet("predict images --json").stdout)["predictions"]
    assert [entry["path"] for entry in entries if "error" in entry] == ["images/0.png"]
    assert len(entries) == 10


def test_folders_are_walked_in_the_order_of_their_paths(images: Path) -> None:
    for name in ("b.png", "b/c.png", "b-a.png", "a/z.PNG", "a/notes.txt", "B.png"):
        (images / name).parent.mkdir(exist_ok=True)
        (images / name).touch()
    found = [*find_inputs(["images"])]
    assert found == sorted(path for path in Path("images").rglob("*") if path.suffix.lower() == ".png")


def test_a_set_that_is_foreign_to_the_weights_is_remarked_on(lrnet: CliRun, trained_run: Path, tmp_path: Path) -> None:
    for number, image in enumerate(load_dataset("optdigits").test.images[:8, 0].numpy()):
        pixels = 255 - np.kron(image, np.ones((20, 20), np.uint8))
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    shown = lrnet("predict", tmp_path, "--weights", trained_run).stderr
    assert "images were inverted, since the weights know light-on-dark ones" in shown
    assert "The images are about 160 pixels wide or high, and the weights see 8" in shown


def test_names_and_paths_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lrnet_cli.cli.options import complete_dataset, complete_weights

    monkeypatch.chdir(tmp_path)
    (tmp_path / "fast").mkdir()
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "a").mkdir()
    assert complete_weights("fa") == ["fashion", "fashion-clean", "fast/"]
    assert complete_dataset("o") == ["oracle", "optdigits"]
    assert complete_weights("runs/") == ["runs/a/"]
    assert complete_weights("./ru") == ["./runs/"]
    assert complete_weights("nowhere/x") == []
