"""The house stays one that can be read: lint-imports checks the floors, this the sizes."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "lrnet_cli"
FILES = sorted(PACKAGE.rglob("*.py"))
DECLARATION = PACKAGE / "settings" / "config.py"  # one idea, however many settings there are


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_is_a_few_screens_and_a_function_one(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300 or path == DECLARATION
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 70, node.name
            given = node.args
            assert len(given.posonlyargs + given.args + given.kwonlyargs) <= 14, node.name


def test_the_loop_fits_on_a_screen() -> None:
    loop = ast.parse((PACKAGE / "training" / "loop.py").read_text(encoding="utf-8"))
    (fit,) = [node for node in loop.body if isinstance(node, ast.FunctionDef) and node.name == "fit"]
    assert fit.end_lineno is not None
    assert fit.end_lineno - fit.lineno < 35
