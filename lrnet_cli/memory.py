"""Whether something fits into the memory of this machine or of a graphics card."""

import psutil


def excess(needed: int, free: int | None = None) -> str | None:
    """Return a clause that says so if ``needed`` bytes are more than are ``free``, by default in this machine."""
    free = psutil.virtual_memory().available if free is None else free
    return f"needs {needed / 1e9:.1f} GB of memory, but {free / 1e9:.1f} GB are free" if needed > free else None
