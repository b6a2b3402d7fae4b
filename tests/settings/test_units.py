import pytest

from lrnet_cli.errors import UsageError
from lrnet_cli.settings.units import seconds_of


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("1800", 1800), ("1.5h", 5400), ("2.5", 2.5)]
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5", "30 m", "30d", "m30"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="max_time takes a duration such as 90s"):
        seconds_of(text)
