import csv
import doctest
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image
from sklearn.datasets import load_digits

from lrnet_cli.cli.app import app
from lrnet_cli.data.check import check_dataset
from lrnet_cli.evaluation.corruptions import CORRUPTIONS
from lrnet_cli.reporter import Reporter
from lrnet_cli.settings.requests import CheckRequest

ROOT = Path(__file__).parents[1]
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # it is a group


@pytest.mark.skipif(typer.__version__.startswith("0.28."), reason="this Typer describes lists in another way")
def test_the_command_reference_is_what_the_app_says(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "typer", "lrnet_cli.cli.app", "utils", "docs", "--name", "lrnet"]
    subprocess.run([*command, "--output", str(tmp_path / "commands.md")], check=True, stdout=subprocess.DEVNULL)
    written = (ROOT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
    assert (tmp_path / "commands.md").read_text(encoding="utf-8") == written


def lines_of(page: Path) -> list[str]:
    blocks = re.findall(r"^```.*?\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines() if line.startswith("lrnet ")]


PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if lines_of(page)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_line_in_a_guide_exists(page: Path) -> None:
    for line in lines_of(page):
        check_options(shlex.split(re.split(r" [|>&] ", line)[0], comments=True))


def check_options(words: list[str]) -> None:
    """Raise ``AssertionError`` for a command that there is not, or an option that is not this command's."""
    _, name, *arguments = words
    own = {"--help"}
    if not name.startswith("--"):
        own |= {flag for parameter in COMMANDS[name].params for flag in (*parameter.opts, *parameter.secondary_opts)}
    for word in arguments:
        assert not word.startswith("--") or word in own, words


def test_an_option_of_another_command_does_not_pass() -> None:
    check_options(["lrnet", "predict", "a.png", "--top-k", "3"])
    with pytest.raises(AssertionError):
        check_options(["lrnet", "train", "--top-k", "3"])


def test_the_examples_in_python_give_what_they_say(trained_run: Path, isolated_user: Path) -> None:
    shutil.copytree(trained_run, isolated_user / "runs" / "digits")
    Image.fromarray((load_digits().images[3] * 15).astype("uint8")).save("three.png")
    text = (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    examples = "\n".join(re.findall(r"^```pycon\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    example = doctest.DocTestParser().get_doctest(examples, {}, "python.md", None, 0)
    result = doctest.DocTestRunner(optionflags=doctest.IGNORE_EXCEPTION_DETAIL).run(example)
    assert result.attempted > 20
    assert result.failed == 0


def test_the_collection_of_the_tutorial_holds_the_mistakes_that_it_says(isolated_user: Path) -> None:
    text = (ROOT / "docs" / "collection.md").read_text(encoding="utf-8")
    scripts = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    for script in scripts:
        compile(script, "collection.md", "exec")
    exec(scripts[0], {})
    with Path("scans.csv").open(encoding="utf-8", newline="") as source:
        rows = list(csv.DictReader(source))
    wrong = [row["split"] for row, label in zip(rows, load_digits().target, strict=False) if row["label"] != str(label)]
    assert [wrong.count(split) for split in ("train", "val", "test")] == [28, 2, 10]
    damaged, different = check_dataset(CheckRequest(dataset=str(Path("scans.csv").resolve())), Reporter()).findings
    assert f"  - {damaged}\n" in text
    assert f"  - {different.replace(str(isolated_user), '/tmp/tut')}\n" in text


def test_the_results_page_is_what_the_result_files_say() -> None:
    specification = importlib.util.spec_from_file_location("make_results", ROOT / "docs" / "make_results.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    assert (ROOT / "docs" / "results.md").read_text(encoding="utf-8") == module.render()


def test_the_corruptions_are_described_as_they_are() -> None:
    text = (ROOT / "docs" / "explanation" / "robustness.md").read_text(encoding="utf-8")
    for kind in CORRUPTIONS:
        strengths = ", ".join(f"{strength:.3g}" for strength in kind.strengths)
        assert f"| {kind.name} | {kind.does} | {kind.unit} | {strengths} |" in text
