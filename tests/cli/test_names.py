"""Names come from strangers: whatever they hold, each command shows them harmlessly and hands them on unchanged."""

import csv
import html
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markdown_it import MarkdownIt
from PIL import Image

from lrnet_cli import paths
from lrnet_cli.escape import printable
from lrnet_cli.predict.rows import RowFile, RowStyle

CliRun = Callable[..., Any]
pytestmark = pytest.mark.skipif(os.name != "posix", reason="such file names are impossible elsewhere")

RED, TITLE, TURNED = "\x1b[31m", "\x1b]0;title\x07", "\u202e"
ODD = f"[b]{RED}{TURNED}<script>alert(1)|`\n$\\no$'"  # what a folder can be called
CLASSES = (
    *("[/b]", f"{RED}red", TITLE, f"{TURNED}backwards", "\x9b31m", "<script>alert(1)</script>", "a|b", "`tick`"),
    *("line\nbreak", "carriage\rreturn", "=1+1", "@SUM(A1)", "__init__", "&lt;"),
)


@dataclass(frozen=True)
class Named:
    """A data set whose names are odd, and what a network was trained on it and said."""

    source: Path
    classes: tuple[str, ...]
    run: Path
    said: str

    def filled_in(self, words: str) -> list[str]:
        """Return the command line ``words`` with the paths that its names in capitals stand for."""
        images = self.source.parent if self.source.suffix else self.source
        named = {"DATA": self.source, "IMAGES": images, "RUN": self.run}
        return ["/".join(str(named.get(part, part)) for part in word.split("/")) for word in words.split()]


@pytest.fixture(scope="module", params=["a list", "class folders"])
def named(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Named:
    """Give a data set with odd names, and a network trained on it by a real process."""
    root = tmp_path_factory.mktemp("names")
    source, random, rows = root / f"set {ODD}", np.random.default_rng(0), []
    is_list = request.param == "a list"
    classes = CLASSES if is_list else (ODD, f"=1 {TITLE}", f"{TURNED}|")
    for index, label in enumerate(classes):
        folder = source / ("images" if is_list else label)
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(10):
            image = folder / f"{index} {number} {ODD}.png"
            Image.fromarray(random.integers(0, 256, (8, 8), np.uint8)).save(image)
            rows.append((image.relative_to(source), label))
    if is_list:
        source /= f"{ODD}.csv"
        with source.open("w", newline="") as target:
            csv.writer(target, quoting=csv.QUOTE_ALL).writerows([("file_name", "label"), *rows])
    words = ["--image-size", "8", "--epochs", "1", "--seed", "0", "--compile", "off", "--device", "cpu"]
    environment = {name: value for name, value in os.environ.items() if "COLOR" not in name}
    environment |= {"LRNET_STATE_DIR": str(root / "state"), "LRNET_DATA_DIR": str(root / "data")}
    done = subprocess.run(
        [sys.executable, "-m", "lrnet_cli", "train", "--dataset", str(source), *words],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (run,) = (root / "runs").iterdir()
    return Named(source, tuple(sorted(classes)), run, done.stdout + done.stderr)


def assert_harmless(text: str) -> None:
    assert text
    assert [line for line in text.split("\n") if not line.isprintable()] == []


def test_a_training_says_them_harmlessly(named: Named) -> None:
    assert_harmless(named.said)
    assert "\\x1b[31m" in named.said


@pytest.mark.parametrize(
    "words",
    [
        "eval --weights RUN --dataset DATA --against RUN",
        "predict IMAGES --weights RUN --top-k 3",
        "predict IMAGES --weights RUN --json",
        "predict IMAGES --weights RUN --format jsonl",
        "predict IMAGES/nothing-[b].png --weights RUN",
        "predict IMAGES/*.nothing",
        "compare RUN RUN/..",
        "compare RUN --markdown",
        "compare RUN --plot bars.png",
        "info --weights RUN",
        "info --weights RUN --json",
        "info",
        "check DATA --report check.html",
        "review DATA --weights RUN --output page.html",
        "review IMAGES --from-folders --output list.csv",
        "train --resume RUN",
        "train --dataset DATA/nowhere",
        "cache",
    ],
)
def test_every_command_says_them_harmlessly(lrnet: CliRun, named: Named, words: str) -> None:
    paths.record_run(named.run)
    result = lrnet(*named.filled_in(words))
    assert_harmless(result.stdout + result.stderr)
    assert "Traceback" not in result.stderr


def test_a_document_and_rows_hold_them_unchanged(lrnet: CliRun, named: Named) -> None:
    document = json.loads(
        lrnet(*named.filled_in("eval --weights RUN --dataset DATA --predictions p.csv --json")).stdout
    )
    assert sorted(row["name"] for row in document["per_class"]) == sorted(named.classes)
    with Path("p.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == document["n"]
    assert {row["true"] for row in rows} <= set(named.classes)
    assert all(Path(row["path"]).is_file() for row in rows)
    for form in ("csv", "jsonl"):
        told = lrnet(*named.filled_in(f"predict IMAGES --weights RUN --max-novelty inf --format {form}")).stdout
        found = list(csv.DictReader(io.StringIO(told, newline=""))) if form == "csv" else _lines(told)
        assert len(found) == 10 * len(named.classes)
        assert {row["label"] for row in found} <= set(named.classes)
        assert all(Path(row["path"]).is_file() for row in found)


def test_the_newest_run_is_found_whatever_it_is_called(lrnet: CliRun, named: Named) -> None:
    paths.record_run(named.run)
    assert paths.newest_run() == named.run
    assert lrnet(*named.filled_in("predict IMAGES --json")).exit_code == 0


def test_the_card_shows_them_as_text(named: Named) -> None:
    card = (named.run / "README.md").read_text(encoding="utf-8")
    assert_harmless(card)
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(card.split("---\n", 2)[2])
    assert "<script" not in page
    assert page.count("<h1>") == 1
    cells = [html.unescape(cell.split("</td>")[0]) for cell in page.split("<td>")[1:]]
    assert len(cells) == 5 * len(named.classes)
    assert sorted(cells[::5]) == sorted(map(printable, named.classes))


def test_the_command_in_the_card_is_the_one_that_was_given(named: Named) -> None:
    card = (named.run / "README.md").read_text(encoding="utf-8")
    (line,) = [line for line in card.splitlines() if line.startswith("lrnet train ")]
    script = f'lrnet() {{ printf "%s\\0" "$@"; }}; {line}'
    words = subprocess.run(["bash", "-c", script], capture_output=True, check=True).stdout.split(b"\0")
    assert os.fsencode(named.source.resolve()) in words


@pytest.mark.parametrize("page", ["eval --weights RUN --dataset DATA --report p.html", "check DATA --report p.html"])
def test_pages_show_them_as_text(lrnet: CliRun, named: Named, page: str) -> None:
    lrnet(*named.filled_in(page))
    text = Path("p.html").read_text(encoding="utf-8")
    assert_harmless(text)
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text


@pytest.mark.parametrize("command", ["predict IMAGES --format csv", "predict IMAGES --output rows.csv"])
def test_a_spreadsheet_gets_no_formulas_if_asked_for(lrnet: CliRun, named: Named, command: str) -> None:
    def rows(more: str) -> list[list[str]]:
        result = lrnet(*named.filled_in(f"{command} --weights RUN --max-novelty inf --top-k 99 {more}"))
        text = result.stdout
        if "--output" in command:
            text = Path("rows.csv").read_text(encoding="utf-8")
            Path("rows.csv").unlink()
        return list(csv.reader(io.StringIO(text, newline="")))

    plain, guarded = rows(""), rows("--spreadsheet")
    formulas = [cell for row in plain for cell in row if cell.startswith(("=", "@"))]
    assert formulas
    assert [cell for row in guarded for cell in row] == [
        f"'{cell}" if cell in formulas else cell for row in plain for cell in row
    ]


def test_predictions_of_an_evaluation_are_guarded_alike(lrnet: CliRun, named: Named) -> None:
    words = "eval --weights RUN --dataset DATA --predictions p.csv"
    assert lrnet(*named.filled_in(f"{words} --spreadsheet --probabilities")).exit_code == 0
    with Path("p.csv").open(encoding="utf-8", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert any(cell.startswith("'=1") for cell in cells)
    assert not any(cell.startswith(("=", "@")) for cell in cells)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("predict a.png --spreadsheet", "--spreadsheet is for csv, not for table"),
        ("predict a.png --spreadsheet --output a.jsonl", "--spreadsheet is for csv, not for jsonl"),
        ("eval --spreadsheet", "--spreadsheet is for the file of --predictions; give both."),
    ],
)
def test_a_spreadsheet_is_csv(lrnet: CliRun, words: str, sentence: str) -> None:
    result = lrnet(words)
    assert (result.exit_code, sentence in result.stderr) == (2, True)


def test_an_interrupted_spreadsheet_is_resumed() -> None:
    with RowFile(Path("rows.csv"), RowStyle("spreadsheet", 1), "digest", resume=False) as rows:
        for path in ("=1.png", "'=1.png"):
            rows.write({"path": path})
    with RowFile(Path("rows.csv"), RowStyle("spreadsheet", 1), "digest", resume=True) as rows:
        assert rows.count == 2
        assert [rows.lacks(path) for path in ("=1.png", "'=1.png", "2.png", "=1.png")] == [False, False, True, True]


@pytest.mark.parametrize("words", ["predict --\x1b[31m\u202e", "\x1b[31m\u202e", "info \x1b[31m\u202e"])
def test_wrong_usage_is_said_harmlessly(lrnet: CliRun, words: str) -> None:
    result = lrnet(*words.split(" "))
    assert result.exit_code == 2
    assert "\x1b" not in result.stderr
    assert TURNED not in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("words", ["eval --weights RUN --dataset DATA", "predict IMAGES --weights RUN --format csv"])
def test_a_terminal_gets_none_of_them_raw(
    named: Named, in_terminal: Callable[..., tuple[int, str]], words: str
) -> None:
    code, shown = in_terminal([sys.executable, "-m", "lrnet_cli", *named.filled_in(words)])
    assert code == 0
    assert "\\x1b[31m" in shown
    for raw in (RED, TITLE, TURNED, "\x9b"):
        assert raw not in shown


def _lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]
