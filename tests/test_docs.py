import csv
import doctest
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image
from sklearn.datasets import load_digits

from lrnet_cli import __version__
from lrnet_cli.cli.app import app
from lrnet_cli.data.check import check_dataset
from lrnet_cli.evaluation.corruptions import CORRUPTIONS
from lrnet_cli.reporter import Reporter
from lrnet_cli.settings.requests import CheckRequest
from lrnet_cli.weights.find import RELEASED

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


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.name)
def test_every_published_benchmark_exists(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    for line in (line for line in lines if line.startswith("python tests/benchmarks/")):
        _, script, *arguments = shlex.split(line.partition(" > ")[0])
        source = (ROOT / script).read_text(encoding="utf-8")
        assert [word for word in arguments if word.startswith("--") and f'"{word}"' not in source] == [], line


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
    text = (ROOT / "docs" / "tutorials" / "collection.md").read_text(encoding="utf-8")
    scripts = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    for script in scripts:
        compile(script, "collection.md", "exec")
    exec(scripts[0], {})
    with Path("scans.csv").open(encoding="utf-8", newline="") as source:
        rows = list(csv.DictReader(source))
    wrong = [row["split"] for row, label in zip(rows, load_digits().target, strict=False) if row["label"] != str(label)]
    assert [wrong.count(split) for split in ("train", "val", "test")] == [30, 0, 10]
    damaged, different = check_dataset(CheckRequest(dataset=str(Path("scans.csv").resolve())), Reporter()).findings
    assert f"  - {damaged}\n" in text
    assert f"  - {different.replace(str(isolated_user), '/tmp/tut')}\n" in text


def docs_script(name: str) -> Any:
    specification = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_results_pages_are_what_the_result_files_say() -> None:
    for path, text in docs_script("make_results").pages().items():
        assert path.read_text(encoding="utf-8") == text, path.name


def test_the_readme_shows_the_results() -> None:
    results = docs_script("make_results")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\| .* \| (\d+\.\d%) ± (\d+\.\d) \| (\d+\.\d%) \|$", text, re.MULTILINE)
    measured = []
    for row in results.summary(results.rows_of("released")).splitlines()[2:]:
        _, _, accuracy, interval, unknown = (cell.strip() for cell in row.strip("|").split("|"))
        value, low, high = (float(number) for number in re.findall(r"[\d.]+(?=%)", f"{accuracy} {interval}"))
        measured.append((accuracy, f"{max(value - low, high - value):.1f}", unknown))
    assert shown == measured


def test_the_readme_shows_what_the_samples_give(lrnet: Callable[..., Any], isolated_user: Path) -> None:
    result = lrnet("predict", "samples", "--weights", "digits", "--precision", "fp32", "--format", "csv")
    labels = {row["path"]: row["label"] for row in csv.DictReader(result.stdout.splitlines())}
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r"^│ (samples/\S+) +│ (\S+)", text, re.MULTILINE))
    assert shown
    assert shown.items() <= labels.items()
    assert list(labels.values()).count("unknown") == 2


# When and on which processor something was measured is said in the results and in the notebook of trials only.
MEASURED = {"results.md", "measured", "notebook.md", "security.md"}  # the last reports how files were fuzzed
PROSE = [
    page
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
    if not MEASURED & {page.name, page.parent.name} and page.name not in ("CHANGELOG.md", "commands.md")
]


@pytest.mark.parametrize("page", PROSE, ids=lambda page: page.name)
def test_guides_name_no_dates_and_no_processors(page: Path) -> None:
    assert re.findall(r"\b20\d\d-\d\d-\d\d\b|\b(?:Xeon|EPYC|AMX)\b", page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "how-to").glob("*.md")), ids=lambda page: page.name)
def test_a_guide_is_short_and_begins_with_a_command(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 80
    assert lines[2] == "```console"


def test_the_tool_calls_an_image_an_image() -> None:
    for file in (ROOT / "lrnet_cli").rglob("*"):
        if file.suffix in (".py", ".j2", ".js"):
            assert re.findall(r".*\bpicture.*", file.read_text(encoding="utf-8"), re.IGNORECASE) == [], file.name


def test_files_that_are_shown_elsewhere_link_to_the_project_of_pyproject() -> None:
    address = docs_script("fill_urls").address()
    for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        links = re.findall(r"\]\(([^)]+)\)", text)
        assert [link for link in links if not link.startswith("https://")] == []
        for link in links:
            path = re.fullmatch(re.escape(address) + r"/(?:blob|raw)/main/([^#]+)(?:#.*)?", link)
            assert path is None or (ROOT / path[1]).exists(), link
            assert path is not None or "/blob/main/" not in link, link
    owner_and_name = docs_script("fill_urls").repository(address)
    assert f"--repo {owner_and_name}\n" in (ROOT / "docs" / "explanation" / "security.md").read_text(encoding="utf-8")
    assert f"repository-code: {address}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_the_readme_is_short_and_has_few_numbers() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 120
    prose = re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)", "", text, flags=re.DOTALL)
    assert len(re.findall(r"\d[\d.,]*", prose)) <= 15


def test_the_card_of_an_included_model_has_the_published_command() -> None:
    text = (ROOT / "docs" / "results" / "provenance.json").read_text(encoding="utf-8")
    for command in json.loads(text)["released"]["commands"]:
        train, _, out = command.partition(" --out ")
        if not out.startswith("runs/"):
            continue
        card = (RELEASED[out.removeprefix("runs/")] / "README.md").read_text(encoding="utf-8")
        [shown] = re.findall(r"^lrnet train .*", card, re.MULTILINE)
        assert set(pairs_of(train)) <= set(pairs_of(shown))


def pairs_of(command: str) -> list[tuple[str, str]]:
    """Return the options of a command with their values."""
    return re.findall(r"(--\S+)(?: (?!--)(\S+))?", command)


def test_the_corruptions_are_described_as_they_are() -> None:
    text = (ROOT / "docs" / "reference" / "corruptions.md").read_text(encoding="utf-8")
    for kind in CORRUPTIONS:
        strengths = ", ".join(f"{strength:.3g}" for strength in kind.strengths)
        assert f"| {kind.name} | {kind.does} | {kind.unit} | {strengths} |" in text
