import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_the_command_reference_is_what_the_app_says(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "typer", "lrnet_cli.cli.app", "utils", "docs", "--name", "lrnet"]
    subprocess.run([*command, "--output", str(tmp_path / "commands.md")], check=True, stdout=subprocess.DEVNULL)
    written = (ROOT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
    assert (tmp_path / "commands.md").read_text(encoding="utf-8") == written


@pytest.mark.parametrize("name", ["README.md", "docs/tutorial.md", "docs/how-to/scripts.md"])
def test_every_option_named_in_a_guide_exists(name: str) -> None:
    reference = (ROOT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
    lines = [line for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if line.startswith("lrnet ")]
    assert lines
    for line in lines:
        for word in line.split("#")[0].split():
            if word.startswith("--"):
                assert f"`{word}" in reference, line
