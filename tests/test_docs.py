import doctest
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from sklearn.datasets import load_digits

from lrnet_cli.evaluation.corruptions import CORRUPTIONS

ROOT = Path(__file__).parents[1]


def test_the_command_reference_is_what_the_app_says(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "typer", "lrnet_cli.cli.app", "utils", "docs", "--name", "lrnet"]
    subprocess.run([*command, "--output", str(tmp_path / "commands.md")], check=True, stdout=subprocess.DEVNULL)
    written = (ROOT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
    assert (tmp_path / "commands.md").read_text(encoding="utf-8") == written


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "docs/tutorial.md",
        "docs/how-to/scripts.md",
        "docs/how-to/many-pictures.md",
        "docs/how-to/report.md",
        "docs/how-to/compare.md",
        "docs/how-to/export.md",
    ],
)
def test_every_option_named_in_a_guide_exists(name: str) -> None:
    reference = (ROOT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
    lines = [line for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if line.startswith("lrnet ")]
    assert lines
    for line in lines:
        for word in line.split("#")[0].split():
            if word.startswith("--"):
                assert f"`{word}" in reference, line


def test_the_examples_in_python_give_what_they_say(trained_run: Path, isolated_user: Path) -> None:
    shutil.copytree(trained_run, isolated_user / "runs" / "digits")
    Image.fromarray((load_digits().images[3] * 15).astype("uint8")).save("three.png")
    text = (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    examples = "\n".join(re.findall(r"^```pycon\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    example = doctest.DocTestParser().get_doctest(examples, {}, "python.md", None, 0)
    result = doctest.DocTestRunner(optionflags=doctest.IGNORE_EXCEPTION_DETAIL).run(example)
    assert result.attempted > 20
    assert result.failed == 0


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
