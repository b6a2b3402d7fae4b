"""Running an ONNX file for the first time, in a process that it may end: it may loop, or fill the memory."""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from lrnet_cli.data.reader import EndedError, Reader
from lrnet_cli.errors import reason_of

_MEMORY, _OF_FILE = 2_000_000_000, 8  # bytes that it may take, and how many more for each of the file's
_LARGEST = 2_147_483_647  # bytes of a file, all that the format allows


def problem_with(path: Path) -> str | None:
    """Return a clause on why the ONNX file at ``path`` cannot be run on two blank images, or None if it can."""
    if path.stat().st_size > _LARGEST:  # before it is held in memory
        return f"is larger than {_LARGEST // 10**6} MB, the most that an ONNX file can be"
    reader = Reader()
    try:
        [problem] = reader.read(_problem_within, [path])
    except EndedError as error:
        return str(error)
    finally:
        reader.end()
    return None if problem is None else str(problem)


def session_of(content: bytes) -> Any:
    """Return an ONNX Runtime session over a file's content, which so cannot refer to other files."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1  # the images are shared among threads, which scales better
    return onnxruntime.InferenceSession(content, settings, providers=["CPUExecutionProvider"])


def _problem_within(path: str) -> str | None:
    content = Path(path).read_bytes()
    if sys.platform == "linux":
        import resource

        import onnxruntime  # noqa: F401 # whose own size does not count

        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        most = used + _MEMORY + _OF_FILE * len(content)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    try:
        session = session_of(content)
    except Exception as error:  # ONNX Runtime's own kinds are private
        return f"is not a usable ONNX file ({reason_of(error)})"
    try:
        shapes = {given.name: [2, *given.shape[1:]] for given in session.get_inputs()}
        session.run(None, {name: np.zeros(shape, np.uint8) for name, shape in shapes.items()})
    except Exception as error:
        return f"cannot be run ({reason_of(error)})"
    return None
