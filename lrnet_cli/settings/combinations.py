"""Which settings go together."""

from typing import Any

from lrnet_cli.errors import UsageError
from lrnet_cli.settings.schedule import thread_counts


def check_together(config: Any) -> None:
    """Raise ``UsageError`` naming the flags for settings, each fine by itself, that contradict each other.

    ``config`` is a ``TrainConfig``, whose module imports this one.
    """
    if config.epochs is None and config.max_time is None:
        raise UsageError("A run needs a limit: give --epochs, --max-time or both.")
    if (config.folds is None) != (config.test_fold is None) or not 1 <= (config.test_fold or 1) <= (config.folds or 1):
        raise UsageError(f"A run is tested on one fold of several, got fold {config.test_fold} of {config.folds}.")
    check_place(config.device, config.gpus, config.procs)
    if config.threads is not None:
        thread_counts(config.threads)
    if config.processes > 1 and not config.fuse:
        raise UsageError("--no-fuse trains in one process: only the fused network has the batch statistics of all.")
    if config.processes > 1 and config.arch != "lrnet":
        raise UsageError(f"--arch {config.arch} trains in one process: only LR-Net has the batch statistics of all.")
    if config.freeze is not None and (config.init is None or config.arch != "lrnet"):
        raise UsageError("--freeze keeps blocks of LR-Net as they are in --init; give that too, or leave it out.")


def check_place(device: str, gpus: int | None, procs: int | None) -> None:
    """Raise ``UsageError`` for places to work at that contradict each other."""
    if procs is not None and gpus is not None:
        raise UsageError("--procs is for CPUs and --gpus for GPUs; give one of them.")
    if procs is not None and device not in ("auto", "cpu"):
        raise UsageError(f"--procs uses the CPU and --device {device} does not; give one of them.")
