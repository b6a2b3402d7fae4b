"""What GitHub runs."""

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / ".github" / "workflows"


@pytest.mark.skipif(not FOLDER.is_dir(), reason="a source distribution has no workflows")
def test_every_action_is_pinned_to_a_commit() -> None:
    used = re.findall(r"uses: (.*)", "".join(path.read_text(encoding="utf-8") for path in FOLDER.glob("*.yml")))
    assert len(used) > 10
    assert [action for action in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)] == []
