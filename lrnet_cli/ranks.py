"""Which of the processes that work together this one is, as set by its launcher in the environment.

Nothing here imports PyTorch, and nothing elsewhere reads these variables. Those that another program, such as a batch
system, leaves in the environment mean nothing to a process that PyTorch's launcher did not start.
"""

import os


def rank() -> int:
    """Return this process's number among those that work together, from 0 up."""
    return int(os.environ.get("RANK", "0")) if started_together() else 0


def local_rank() -> int:
    """Return this process's number among those on this machine, from 0 up."""
    return int(os.environ.get("LOCAL_RANK", "0")) if started_together() else 0


def local_count() -> int:
    """Return how many processes work together on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if started_together() else 1


def is_first() -> bool:
    """Return whether this is the process that writes, reports and decides for all, or the only one."""
    return rank() == 0


def started_together() -> bool:
    """Return whether PyTorch's launcher started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "TORCHELASTIC_RUN_ID" in os.environ
