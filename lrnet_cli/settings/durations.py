"""Durations as people write them."""

import math
import re

from lrnet_cli.errors import UsageError

_UNITS = {"s": 1, "m": 60, "h": 3600}


def seconds_of(text: str) -> float:
    """Return the seconds meant by ``text``, such as ``90s``, ``30m``, ``1h30m`` or ``1800``.

    Raises ``UsageError`` for text that is not a duration.
    """
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if not re.fullmatch(r"(\d+(\.\d+)?[hms])+", text):
        raise UsageError(f"--max-time takes a duration such as 90s, 30m, 1h30m or 1800 (seconds), got {text!r}.")
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+(?:\.\d+)?)([hms])", text))


def duration_of(seconds: float) -> str:
    """Return ``seconds``, rounded up to two digits or so, as ``seconds_of`` reads them."""
    if seconds < 120:
        return f"{math.ceil(seconds)}s"
    minutes = math.ceil(seconds / 60)
    return f"{minutes}m" if minutes < 120 else f"{minutes // 60}h{minutes % 60:02}m"
