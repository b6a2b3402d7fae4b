"""The house stays one that can be read: lint-imports checks the floors, this what a function and a file may ask for."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "lrnet_cli"
FILES = sorted(PACKAGE.rglob("*.py"))
MOST_PARAMETERS, MOST_IMPORTS, MOST_LINES = 6, 15, 70
REGISTERS_COMMANDS = "cli/app.py"  # each of which is a module
# A type that says nothing is passed on where somebody else's code has none.
UNTYPED = {
    "cli/app.py: invoke(ctx)",  # Typer's context
    "cli/help.py: get_params(ctx)",
    "cli/help.py: collect_usage_pieces(ctx)",
    "models/moments.py: forward(ctx)",  # PyTorch's context
    "models/moments.py: backward(ctx)",
}
_COLLECTIONS = {"dict", "list", "tuple", "set", "Mapping", "Sequence", "Iterable", "Iterator"}

by_file = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(path: Path) -> Iterator[tuple[ast.FunctionDef, list[ast.arg]]]:
    """Yield the functions of a file with their parameters, but for ``self`` and ``cls``."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef):
            taken = node.args
            several = [argument for argument in (taken.vararg, taken.kwarg) if argument is not None]
            named = [*taken.posonlyargs, *taken.args, *taken.kwonlyargs, *several]
            yield node, [argument for argument in named if argument.arg not in ("self", "cls")]


def says_nothing(annotation: ast.expr | None) -> bool:
    """Return whether a type is ``Any``, or that or a collection of that; an array may hold any numbers."""
    match annotation:
        case ast.Name(id="Any"):
            return True
        case ast.BinOp():
            return says_nothing(annotation.left) or says_nothing(annotation.right)
        case ast.Tuple():
            return any(map(says_nothing, annotation.elts))
        case ast.Subscript(value=ast.Name(id=name)) if name in _COLLECTIONS:
            return says_nothing(annotation.slice)
    return False


def own_imports(path: Path) -> set[str]:
    """Return our modules that a file imports, also within its functions."""
    modules = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.startswith(PACKAGE.name):
            folder = PACKAGE.parent.joinpath(*node.module.split("."))
            for name in node.names:
                is_module = (folder / f"{name.name}.py").exists() or (folder / name.name).is_dir()
                modules.add(f"{node.module}.{name.name}" if is_module else node.module)
    return modules


@by_file
def test_a_function_is_a_screen_and_takes_few_things(path: Path) -> None:
    for node, parameters in functions(path):
        assert node.end_lineno is not None
        assert node.end_lineno - node.lineno < MOST_LINES, node.name
        assert len(parameters) <= MOST_PARAMETERS, f"{node.name}: what belongs together goes into a dataclass"


@by_file
def test_a_parameter_says_what_it_takes(path: Path) -> None:
    place = path.relative_to(PACKAGE).as_posix()
    untyped = {
        f"{place}: {node.name}({parameter.arg})"
        for node, parameters in functions(path)
        for parameter in parameters
        if says_nothing(parameter.annotation)
    }
    assert untyped == {item for item in UNTYPED if item.startswith(f"{place}:")}


@by_file
def test_a_file_stands_on_few_others(path: Path) -> None:
    if path != PACKAGE / REGISTERS_COMMANDS:
        assert len(own_imports(path)) <= MOST_IMPORTS, "does it do two things?"


def test_the_loop_fits_on_a_screen() -> None:
    (fit,) = [node for node, _ in functions(PACKAGE / "training" / "loop.py") if node.name == "fit"]
    assert fit.end_lineno is not None
    assert fit.end_lineno - fit.lineno < 35
