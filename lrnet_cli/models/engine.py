"""How a network is run: on which device, fused or plain, in which precision."""

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from lrnet_cli import paths
from lrnet_cli.devices import describe_device, resolve_device
from lrnet_cli.models.fused import fuse
from lrnet_cli.models.normalize import Normalized
from lrnet_cli.models.novelty import described
from lrnet_cli.processes import ALONE, Processes
from lrnet_cli.settings.place import Place
from lrnet_cli.settings.units import thread_counts
from lrnet_cli.settings.words import Normalize
from lrnet_cli.threads import fix_threads

_MATRIX_SIDE, _MATRIX_SIDE_OF_GPUS = 2048, 8192  # the smaller one is done before a GPU has begun in earnest


@dataclass(frozen=True)
class Engine:
    """A device, the precision it computes in, and whether norms are fused into the convolutions."""

    device: torch.device
    precision: Literal["fp32", "bf16"] = "fp32"
    fuse: bool = True

    @classmethod
    def at(cls, place: Place | None = None, *, fuse: bool = True) -> "Engine":
        """Return the engine of ``place``, by default the fastest here.

        On a CPU, this process computes in so many threads from now on; None, or several numbers, as a run records them,
        leave it to the machine. Raises ``DeviceError`` for a missing device, ``UsageError`` for an unknown one.
        """
        place = place or Place()
        counts = thread_counts(place.threads) if place.threads is not None else ()
        fix_threads(counts[0][1] if len(counts) == 1 else None)
        device = resolve_device(place.device if place.procs is None else "cpu", place.gpus)
        precision = place.precision
        if precision == "auto":
            precision = "bf16" if multiplies_bfloat16(device) else "fp32"
        return cls(device, precision, fuse)

    def place(
        self,
        network: nn.Module,
        normalize: Normalize = "none",
        processes: Processes = ALONE,
        *,
        with_description: bool = False,
    ) -> nn.Module:
        """Move ``network`` to the device, channels-last, and return a view of it to call: fused, in this precision.

        The view normalises images as ``normalize`` says, shares the parameters, takes floats (N, C, S, S) in [0, 1]
        and returns float32 logits (N, classes), ``with_description`` followed by what tells foreign images, if it is
        an LR-Net. Batch statistics are those of all ``processes``.
        """
        view = fuse(to_device(network, self.device), self.fuse, processes)
        view = described(view) if with_description else view
        view = _InBfloat16(view) if self.precision == "bf16" else view
        return view if normalize == "none" else Normalized(view, normalize)

    def __str__(self) -> str:
        return f"{describe_device(self.device)}, {self.precision}"


def compiler_cache() -> Path:
    """Return the folder of the compiler's code; raises ``OSError`` if it cannot be made.

    It is this user's own: PyTorch's would be one in the temporary folder, whose name others can guess, and run what
    they put there.
    """
    folder = Path(os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(paths.data_dir() / "compiled")))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def compiled(view: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return ``view`` compiled; the compiler works at the first call, which takes minutes on a CPU."""
    with suppress(OSError):  # which the compiler reports
        compiler_cache()
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # "No CUDA runtime is found"
    compiled: Callable[[Tensor], Tensor] = torch.compile(view)
    return compiled


def matrix_product(precision: str, device: torch.device) -> tuple[Callable[[], Tensor], int]:
    """Return a matrix product to time, the upper bound for any network here, and its number of operations."""
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    side = _MATRIX_SIDE_OF_GPUS if device.type == "cuda" else _MATRIX_SIDE
    generator = torch.Generator(device).manual_seed(0)  # a training draws from the global one
    matrix = torch.rand(side, side, device=device, dtype=dtype, generator=generator)
    return partial(torch.matmul, matrix, matrix), 2 * side**3


def to_device(model: nn.Module, device: torch.device) -> nn.Module:
    """Return ``model`` moved to ``device``, convolutions laid out channels-last, which is faster."""
    return model.to(device).to(memory_format=torch.channels_last)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Return whether ``device`` multiplies bfloat16 natively: CUDA from Ampere on, or a CPU with AVX512-BF16 or AMX."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # PyTorch reports a CPU's instructions by private functions only.
    return device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


class _InBfloat16(nn.Module):
    """``network`` under autocast to bfloat16, with float32 logits; parameters and statistics stay float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16):
            logits: Tensor = self.network(images.to(torch.bfloat16))
        return logits.float()
