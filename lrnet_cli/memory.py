"""Whether something fits into the memory of this machine or of a graphics card."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

# Of control groups, by the controller that a version names (version 2 names none): the files with the limit and the
# use, and what of the use is only cached files, in the file memory.stat.
_LIMITS = {
    "": ("memory.max", "memory.current", "inactive_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def excess(needed: int, free: int | None = None) -> str | None:
    """Return a clause that says so if ``needed`` bytes exceed the ``free`` memory, by default that of this machine."""
    free = free_memory() if free is None else free
    return f"needs {needed / 1e9:.1f} GB of memory, but {free / 1e9:.1f} GB are free" if needed > free else None


def free_memory(root: Path = Path("/")) -> int:
    """Return how many bytes are free for this process, in the machine and in each container that it is in.

    A container's limit is that of a control group, version 1 or 2, of the file system at ``root``.
    """
    return min([psutil.virtual_memory().available, *_free_in_groups(root)])


def _free_in_groups(root: Path) -> Iterator[int]:
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for controller in _LIMITS.keys() & controllers.split(","):
            limit, use, cached = _LIMITS[controller]
            group = root / "sys/fs/cgroup" / controller / path.lstrip("/")
            for folder in (group, *group.parents):  # inside a container, only the outer ones may be there
                with suppress(OSError, ValueError, KeyError):  # such as of "max", which is no limit
                    statistics = dict(row.split() for row in (folder / "memory.stat").read_text().splitlines())
                    used = int((folder / use).read_text()) - int(statistics[cached])
                    yield max(0, int((folder / limit).read_text()) - used)
