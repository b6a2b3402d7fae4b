"""Choosing the device."""

import platform

import torch

from lrnet_cli import ranks
from lrnet_cli.errors import DeviceError, SettingError
from lrnet_cli.reporter import counted


def resolve_device(name: str = "auto", gpus: int | None = None) -> torch.device:
    """Return the device called ``name``, or one of the first ``gpus`` CUDA GPUs.

    ``auto`` takes CUDA, then MPS, then the CPU. A requested device that is missing raises ``DeviceError``;
    there is no fallback. A name that PyTorch does not know, or a contradiction of the two, raises ``SettingError``.
    """
    if gpus is not None:
        if gpus < 1:
            raise SettingError(f"{{gpus}} takes a number from 1 up, got {gpus}; for the CPU say {{device}} cpu.")
        if name not in ("auto", "cuda"):
            raise SettingError(
                "{gpus} {number} and {device} {name} contradict each other; give one of them.", number=gpus, name=name
            )
        name = f"cuda:{gpus - 1}"  # the last one must exist too
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingError(
            "{device} {name!r} is not a device; choose auto, cpu, cuda, cuda:1, … or mps.", name=name
        ) from error
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise DeviceError(
                f"Device {name} is not available: PyTorch {torch.__version__} sees {count} CUDA GPU(s) on this "
                "machine. Use --device auto, or install the NVIDIA driver and a CUDA build of PyTorch."
            )
    elif device.type == "mps":
        if not torch.backends.mps.is_available():
            raise DeviceError("Device mps is not available: PyTorch sees no Apple GPU here. Use --device auto.")
    elif device.type != "cpu":
        raise SettingError("{device} {name!r} is not supported; choose auto, cpu, cuda, cuda:1, … or mps.", name=name)
    if device.type == "cuda" and (gpus is not None or device.index is None):
        # Each process that a launcher started uses its own GPU.
        device = torch.device("cuda", ranks.local_rank())
    return device


def describe_device(device: torch.device) -> str:
    """Return the device's name for people, such as ``cuda (NVIDIA A100)`` or ``cpu (2 threads, AVX2)``."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    if device.type == "mps":
        return f"mps ({platform.processor() or 'Apple GPU'})"
    return f"cpu ({counted(torch.get_num_threads(), 'thread', 'threads')}, {torch.backends.cpu.get_cpu_capability()})"
