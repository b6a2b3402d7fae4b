"""Whatever a text holds, each place shows that text and nothing else."""

import html
import json
import os
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from lrnet_cli.escape import as_json, in_markdown, in_shell, in_words, printable

anything = st.text(st.characters(), max_size=30)
marked = st.text("_*~`<>[]()|\\#&;$!:=-+. a1\n", max_size=30)


@given(anything)
def test_what_is_printable_stays_and_nothing_else_is_left(text: str) -> None:
    assert printable(text).isprintable()
    assert (printable(text) == text) == text.isprintable()


def test_a_value_is_said_without_brackets_and_quotes() -> None:
    value = {"a": [1, "b"], "c": None, "d": (), "e": {}, "f": True, "g": 2 / 3, "h": {"i": False}}
    assert in_words(value) == "a 1, b, c none, d none, e none, f on, g 0.666667, h i off"


@given(anything)
def test_json_reads_back_unchanged_and_is_printable(text: str) -> None:
    assert as_json({text: text}).isprintable()
    assert json.loads(as_json({text: [text]}, indent=2)) == {text: [text]}


@given(st.one_of(anything, marked))
@settings(max_examples=500)
def test_markdown_shows_the_text(text: str) -> None:
    page = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    table = page.render(f"| {in_markdown(text)} | 1 |\n|---|---|\n| {in_markdown(text)} | 1 |")
    cells = [html.unescape(cell.split("</t")[0]) for cell in table.replace("<th>", "<td>").split("<td>")[1:]]
    assert cells == [printable(text).strip(), "1"] * 2


@pytest.mark.skipif(os.name != "posix", reason="a shell of POSIX")
@given(st.binary(min_size=1, max_size=30).filter(lambda name: 0 not in name))
@settings(max_examples=30, deadline=None)
def test_a_shell_reads_the_word(name: bytes) -> None:
    line = in_shell("printf", "%s", os.fsdecode(name))
    assert line.isprintable()
    assert subprocess.run(["bash", "-c", line], capture_output=True, check=True).stdout == name
