"""Damaged and hostile files of every kind that is read: only our errors come out, and soon.

``tests/benchmarks/hostile.py`` makes them, and tries many more.
"""

import importlib.util
import sys
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("hostile", Path(__file__).parent / "benchmarks" / "hostile.py")
assert _spec is not None
assert _spec.loader is not None
hostile = importlib.util.module_from_spec(_spec)
sys.modules["hostile"] = hostile
_spec.loader.exec_module(hostile)

EXAMPLES = 60
# Those that once raised something else, or took too long.
ESCAPED: dict[str, tuple[int, ...]] = {}

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", hostile.KINDS)
def test_a_file_is_read_or_refused(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package = {"ONNX": "onnx", "Parquet": "pyarrow"}.get(kind)
    if package:
        pytest.importorskip(package)
    outcomes = set()
    for number in (*ESCAPED.get(kind, ()), *range(4 if kind == "ONNX" else EXAMPLES)):
        outcome, seconds = hostile.attempt(kind, number)
        assert outcome in ("read", "refused"), f"{kind} {number}"
        assert seconds < 5, f"{kind} {number}"
        outcomes.add(outcome)
    assert "refused" in outcomes or kind == "BMP"
