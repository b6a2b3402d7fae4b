"""Settings that several jobs share: where they compute, and where data sets come from."""

from dataclasses import dataclass
from pathlib import Path

from lrnet_cli.errors import SettingError
from lrnet_cli.settings.setting import COUNT, Request, setting
from lrnet_cli.settings.units import thread_counts
from lrnet_cli.settings.words import Precision


@dataclass(frozen=True, kw_only=True)
class Device(Request):
    """A device, and the threads of this process on a CPU."""

    device: str = setting(
        "auto", "auto (CUDA, then MPS, then CPU), cpu, cuda, cuda:1, … or mps.", "place", panel="Engine"
    )
    threads: str | None = setting(
        None,
        "Threads on the CPU. Default: as many as are fastest beside what else the machine is doing.",
        "place",
        placeholder="N",
        panel="Engine",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.threads is not None:
            thread_counts(self.threads)


@dataclass(frozen=True, kw_only=True)
class Place(Device):
    """Where to compute, in which precision, in how many processes."""

    gpus: int | None = setting(
        None, "Work on this many CUDA GPUs; an error if they are missing.", "place", panel="Engine"
    )
    procs: int | None = setting(
        None,
        "Work in this many processes on this machine's CPU, which share its cores.",
        "place",
        panel="Engine",
        within=COUNT,
    )
    precision: Precision = setting(
        "auto", "auto (bf16 where the hardware multiplies it natively, else fp32), fp32 or bf16.", "engine"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.procs is not None and self.gpus is not None:
            raise SettingError("{procs} is for CPUs and {gpus} for GPUs; give one of them.")
        if self.procs is not None and self.device not in ("auto", "cpu"):
            raise SettingError("{procs} uses the CPU and {device} {name} does not; give one of them.", name=self.device)

    @property
    def processes(self) -> int:
        """The number of processes that work together."""
        return self.procs or self.gpus or 1


@dataclass(frozen=True, kw_only=True)
class Cache(Request):
    """Where data sets are kept."""

    data_dir: Path | None = setting(
        None, "Folder of downloaded data sets. Default: one per user.", "place", panel="Data", envvar="LRNET_DATA_DIR"
    )


@dataclass(frozen=True, kw_only=True)
class Source(Cache):
    """Where data sets are downloaded from and kept."""

    mirror: str | None = setting(
        None,
        "URL or folder to download from, instead of the built-in mirrors.",
        "place",
        panel="Data",
        envvar="LRNET_MIRROR",
        placeholder="URL",
    )
