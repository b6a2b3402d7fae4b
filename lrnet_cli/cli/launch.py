"""Starting several processes of a command on this machine with PyTorch's elastic launcher."""

import json
import os
import signal
import sys
import tempfile
import uuid
from contextlib import suppress
from pathlib import Path

import typer

from lrnet_cli import ranks
from lrnet_cli.cli import output
from lrnet_cli.settings.place import Place

LOST_ANOTHER = 75  # exit code of a process that ended because another one did
_HINT = "LRNET_RECOVERY_HINT"  # names the file that says what to do if a process is lost


def is_launched() -> bool:
    """Return whether ``launch`` started this process, and so will report processes that are lost."""
    return _HINT in os.environ


def note_recovery_hint(text: str) -> None:
    """Note for the launcher, if there is one, what it is to say should a process be lost from now on."""
    if is_launched():
        Path(os.environ[_HINT]).write_text(text, encoding="utf-8")


def note_reason(code: int, *lines: str) -> None:
    """Leave for the launcher, which reports for all processes, why this one ends with the exit code ``code``."""
    try:
        _reason_of(Path(os.environ[_HINT]), ranks.rank()).write_text(json.dumps([code, *lines]), encoding="utf-8")
    except OSError:  # a full disk
        output.error(*lines)


def launch_if_asked(place: Place) -> None:
    """Run this command line in several processes and exit with their code, if that is asked for and not yet done.

    Raises ``DeviceError`` for a device that is missing.
    """
    if place.processes > 1 and not ranks.started_together():
        from lrnet_cli.models.engine import Engine

        Engine.at(place)  # or report what is missing
        raise typer.Exit(launch(place.processes))


def launch(count: int) -> int:
    """Run this command line in ``count`` processes that work together; return the exit code.

    An error that several processes have in common is reported once. If one is killed, all of them end.
    """
    import logging

    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from lrnet_cli.threads import usable_cores

    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # our own message is enough
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // count)))
    # A stop waits for the current validation, which may take longer than the launcher's default of half a minute.
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "600")
    with tempfile.TemporaryDirectory() as folder:
        hint = Path(folder) / "recovery-hint"
        os.environ[_HINT] = str(hint)
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
            return _reported(hint, count) or 130  # or the first process has reported it
        except ChildFailedError as error:
            if code := _reported(hint, count):
                return code
            codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
            first = codes.get(0, 0)
            if first > 0 and first != LOST_ANOTHER:
                return first
            advice = hint.read_text(encoding="utf-8") if hint.exists() else "Run the command again."
            output.error(f"{_lost(codes)}. {advice}")
            return 1
        finally:
            del os.environ[_HINT]
    return 0


def _reason_of(hint: Path, rank: int) -> Path:
    return hint.with_suffix(f".{rank}")


def _reported(hint: Path, count: int) -> int:
    """Report the reason of the first process that left one, and return its exit code; without any, return 0."""
    for rank in range(count):
        with suppress(FileNotFoundError, json.JSONDecodeError):  # or the process was killed while it wrote
            code, *lines = json.loads(_reason_of(hint, rank).read_text(encoding="utf-8"))
            output.error(*lines)
            return int(code)
    return 0


def _lost(codes: dict[int, int]) -> str:
    # The launcher ends the remaining ones with SIGTERM.
    culprits = {rank: code for rank, code in codes.items() if code not in (LOST_ANOTHER, -signal.SIGTERM)} or codes
    rank, code = min(culprits.items())
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"failed with exit code {code}"
    return f"Process {rank} {how}, which ends the others"
