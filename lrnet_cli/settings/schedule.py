"""Numbers of threads by step, as text: ``2``, or ``1,57:2`` for one thread until step 57 and two from there on."""

from collections.abc import Sequence

from lrnet_cli.errors import UsageError

ThreadCounts = tuple[tuple[int, int], ...]  # each from a step on, the first from step 0


def thread_counts(text: str) -> ThreadCounts:
    """Return the numbers of threads, each with its first step; ``UsageError`` for other texts."""
    try:
        first, *later = text.split(",")
        counts = ((0, int(first)), *((int(step), int(count)) for step, count in (item.split(":") for item in later)))
    except ValueError:
        counts = ()
    steps = [step for step, _ in counts]
    if not counts or steps != sorted(set(steps)) or min(count for _, count in counts) < 1:
        raise UsageError(f"--threads takes a whole number from 1 up, or what a run recorded (1,57:2), got {text!r}.")
    return counts


def as_text(counts: Sequence[Sequence[int]]) -> str:
    """Return ``counts`` as the text that ``thread_counts`` reads."""
    return ",".join(f"{step}:{count}" if step else str(count) for step, count in counts)
