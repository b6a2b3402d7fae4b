"""Durations as people write them."""

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
