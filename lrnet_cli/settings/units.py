"""Values that are written as text: durations, and numbers of threads by step."""

import math
import re
from collections.abc import Sequence

from lrnet_cli.errors import SettingError

_UNITS = {"s": 1, "m": 60, "h": 3600}


def seconds_of(text: str, name: str = "max_time") -> float:
    """Return the seconds meant by ``text``, such as ``90s``, ``30m``, ``1h30m`` or ``1800``.

    Raises ``SettingError``, which names the setting ``name``, for text that is not a duration.
    """
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if not re.fullmatch(r"(\d+(\.\d+)?[hms])+", text):
        raise SettingError(
            f"{{{name}}} takes a duration such as 90s, 30m, 1h30m or 1800 (seconds), got {{text!r}}.", text=text
        )
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+(?:\.\d+)?)([hms])", text))


def duration_of(seconds: float) -> str:
    """Return ``seconds``, rounded up to two digits or so, as ``seconds_of`` reads them."""
    if seconds < 120:
        return f"{math.ceil(seconds)}s"
    minutes = math.ceil(seconds / 60)
    return f"{minutes}m" if minutes < 120 else f"{minutes // 60}h{minutes % 60:02}m"


ThreadCounts = tuple[tuple[int, int], ...]
"""Numbers of threads, each from a step on, the first from step 0."""


def thread_counts(text: str) -> ThreadCounts:
    """Return the numbers of threads that ``text`` says, such as ``2``, or ``1,57:2`` for two from step 57 on.

    Raises ``SettingError`` for other texts.
    """
    try:
        first, *later = text.split(",")
        counts = ((0, int(first)), *((int(step), int(count)) for step, count in (item.split(":") for item in later)))
    except ValueError:
        counts = ()
    steps = [step for step, _ in counts]
    if not counts or steps != sorted(set(steps)) or min(count for _, count in counts) < 1:
        raise SettingError(
            "{threads} takes a whole number from 1 up, or what a run recorded (1,57:2), got {text!r}.", text=text
        )
    return counts


def as_text(counts: Sequence[Sequence[int]]) -> str:
    """Return ``counts`` as the text that ``thread_counts`` reads."""
    return ",".join(f"{step}:{count}" if step else str(count) for step, count in counts)
