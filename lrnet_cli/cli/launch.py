"""Starting several training processes on this machine with PyTorch's elastic launcher."""

import os
import signal
import sys
import tempfile
import uuid
from pathlib import Path

from lrnet_cli.cli import output
from lrnet_cli.escape import resuming

LOST_ANOTHER = 75  # exit code of the first process when it ended because another one did
_RUN_FILE = "LRNET_RUN_FILE"


def is_launched() -> bool:
    """Return whether ``launch`` started this process, and so will report processes that are lost."""
    return _RUN_FILE in os.environ


def note_run(run_dir: Path) -> None:
    """Note for the launcher, if there is one, where the run is."""
    if is_launched():
        Path(os.environ[_RUN_FILE]).write_text(str(run_dir), encoding="utf-8")


def launch(count: int) -> int:
    """Run this command line in ``count`` processes that train together; return the exit code.

    Expected errors are reported by the first process. If one is killed, all of them end, which is reported here.
    """
    import logging

    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # our own message is enough
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // count)))
    # A stop waits for the current validation, which may take longer than the launcher's default of half a minute.
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "600")
    with tempfile.TemporaryDirectory() as folder:
        run_file = Path(folder) / "run"
        os.environ[_RUN_FILE] = str(run_file)
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",  # any free port
            max_restarts=0,
            monitor_interval=0.1,
            local_addr="localhost",
            logs_specs=DefaultLogsSpecs(log_dir=folder),
        )
        try:
            elastic_launch(config, sys.executable)("-m", "lrnet_cli", *sys.argv[1:])
        except SignalException:
            return 130  # the processes were signalled, and the first one has reported it
        except ChildFailedError as error:
            codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
            first = codes.get(0, 0)
            if first > 0 and first != LOST_ANOTHER:
                return first
            run = run_file.read_text(encoding="utf-8") if run_file.exists() else None
            output.error(f"{_lost(codes)}. {_how_to_resume(run)}")
            return 1
        finally:
            del os.environ[_RUN_FILE]
    return 0


def _lost(codes: dict[int, int]) -> str:
    # The launcher ends the remaining ones with SIGTERM.
    culprits = {rank: code for rank, code in codes.items() if code not in (LOST_ANOTHER, -signal.SIGTERM)} or codes
    rank, code = min(culprits.items())
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"failed with exit code {code}"
    return f"Training process {rank} {how}, which ends the others"


def _how_to_resume(run: str | None) -> str:
    if run is None:
        return "Training had not started"
    return f"Resume from the last checkpoint with: {resuming(run)}"
