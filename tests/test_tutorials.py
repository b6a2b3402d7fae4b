"""The tutorials, run: their output is what they show, but for numbers and what `…` leaves out.

A page is run up to a comment ``<!-- by hand -->``, from where on it needs a person, or to its end.

``LRNET_WRITE_DOCS=1 pytest tests/test_tutorials.py`` writes the numbers of this run into the pages.
"""

import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TUTORIALS = sorted((Path(__file__).parents[1] / "docs" / "tutorials").glob("*.md"))
BLOCK = re.compile(r"^```(python|console|text)\n(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_prints_what_it_shows(page: Path, lrnet: Callable[..., Any], isolated_user: Path) -> None:
    text, printed = page.read_text(encoding="utf-8"), ""
    missing: list[str] = []
    for kind, body in BLOCK.findall(text.partition("<!-- by hand -->")[0]):
        if kind == "python":
            exec(compile(body, page.name, "exec"), {})  # what the page says to save and to run
            printed = ""
        elif kind == "console":
            printed = "".join(run(lrnet, line, isolated_user) for line in body.splitlines())
        elif printed:
            shown, lost = found_again(body, printed)
            missing += lost
            text = text.replace(body, shown, 1)
    assert missing == [], printed
    if os.environ.get("LRNET_WRITE_DOCS") == "1":
        page.write_text(text, encoding="utf-8")


def run(lrnet: Callable[..., Any], line: str, folder: Path) -> str:
    result = lrnet(*shlex.split(line, comments=True)[1:])
    assert result.exit_code in (0, 3), result.output
    return str(result.output).replace(str(folder), "/tmp/tut")


def found_again(shown: str, printed: str) -> tuple[str, list[str]]:
    """Return ``shown`` with the numbers of ``printed``, whose lines it shows, and the lines that are missing."""
    lines, written, lost = printed.splitlines(), [], []
    for line in shown.splitlines():
        if line == "…":
            written.append(line)
            continue
        mask = masked(line)
        place = next((number for number, other in enumerate(lines) if masked(other) == mask), None)
        if place is None:
            lost.append(line)
        else:
            written.append(lines[place])
            lines = lines[place + 1 :]
    return "".join(f"{line}\n" for line in written), lost


def masked(line: str) -> str:
    """Return ``line`` with every number as 0, and without the widths of a table's columns."""
    return re.sub(r"[\s━─┏┓┡┩└┘┳╇┴]+", " ", re.sub(r"\d[\d.,e-]*", "0", line.replace("…", ""))).strip()


def test_a_line_that_is_not_printed_is_missed() -> None:
    printed = "epoch 1/12  train loss 0.5\nTest accuracy 0.99\n"
    assert found_again("…\nTest accuracy 0.98\n", printed) == ("…\nTest accuracy 0.99\n", [])
    assert found_again("Test precision 0.98\n", printed)[1] == ["Test precision 0.98"]
