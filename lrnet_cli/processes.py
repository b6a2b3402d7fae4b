"""The processes that work together, and what they exchange.

A process belongs to a group when it was started by ``torchrun`` or by ``--gpus N`` or ``--procs N``, which use the same
launcher. Otherwise there is one process, and nothing here communicates.
"""

import gc
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lrnet_cli import ranks
from lrnet_cli.errors import LostProcessError

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Processes:
    """This process's ``rank`` among ``count`` processes, and ``local_rank`` among those of its machine."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and reports for all."""
        return self.rank == 0

    @property
    def together(self) -> bool:
        """Whether there is more than one."""
        return self.count > 1

    @property
    def among(self) -> str:
        """How many there are, to end a sentence, if there is more than one."""
        return f", in {self.count} processes" if self.together else ""

    def share(self, n: int) -> slice:
        """Return this process's part of ``n`` consecutive items; the parts differ by at most one."""
        return slice(self.rank * n // self.count, (self.rank + 1) * n // self.count)

    def own_rows(self, rows: Tensor) -> Tensor:
        """Return this process's part of ``rows`` (N, …) of a global batch, N a multiple of the processes."""
        return rows if self.count == 1 else rows[self.share(len(rows))]

    def agree(self, value: object) -> Any:
        """Return the first process's ``value`` in every process."""
        if not self.together:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def everyones(self, value: _Value) -> list[_Value]:
        """Return every process's ``value``, which is sent as a pickle, in every process."""
        if not self.together:
            return [value]
        values: list[_Value | None] = [None] * self.count
        dist.all_gather_object(values, value)
        return cast("list[_Value]", values)

    def collect(self, part: Tensor, n: int) -> Tensor:
        """Return, in every process, the ``n`` rows in order, of which each provides its ``share``."""
        if not self.together:
            return part
        longest = -(-n // self.count)
        padded = part.new_zeros(longest, *part.shape[1:])
        padded[: len(part)] = part
        shares = (Processes(rank, self.count).share(n) for rank in range(self.count))
        return torch.cat([rows[: s.stop - s.start] for rows, s in zip(gathered(padded), shares, strict=True)])

    def average(self, values: Tensor) -> Tensor:
        """Return the mean of every process's ``values``."""
        return summed(values) / self.count if self.together else values

    def average_gradients(self, model: nn.Module) -> None:
        """Set the gradients of ``model`` to their mean over the processes.

        A single exchange of a few megabytes: DistributedDataParallel would overlap it with backward, but its hooks stay
        with the parameters and so do not work with a step that is compiled later.
        """
        if self.together:
            gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
            means = self.average(torch.cat([gradient.flatten() for gradient in gradients]))
            for gradient, mean in zip(gradients, means.split([g.numel() for g in gradients]), strict=True):
                gradient.copy_(mean.view(gradient.shape))

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.together:
            dist.barrier()

    @contextmanager
    def first_goes_ahead(self) -> Iterator[None]:
        """Run the body in each machine's first process, then in its others, which find what it downloaded."""
        if self.local_rank:
            self.wait()
        yield
        if not self.local_rank:
            self.wait()


ALONE = Processes()


@contextmanager
def joined(device: torch.device, hint: Callable[[], str]) -> Iterator[Processes]:
    """Yield the processes that this one was started with, connected by Gloo, and by NCCL for tensors on CUDA.

    Raises ``LostProcessError``, with a ``hint`` how to go on, where another of several has ended.
    """
    if not ranks.started_together():
        yield ALONE
        return
    # Imported later, its functions would keep the group, as the default of a parameter, and with it Gloo's threads.
    importlib.import_module("torch.distributed.nn")
    if device.type == "cuda":
        torch.cuda.set_device(device)
        dist.init_process_group("cpu:gloo,cuda:nccl", device_id=device)
    else:
        dist.init_process_group("gloo")
    try:
        processes = Processes(dist.get_rank(), dist.get_world_size(), ranks.local_rank())
        yield processes
        processes.wait()  # none exits while another still needs it
    except RuntimeError as error:
        # Gloo has no exception class, but names its source file.
        if not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        raise LostProcessError(f"Another process of this command has ended. {hint()}") from error
    finally:
        dist.destroy_process_group()
        # A group that is still referenced would end its threads while Python shuts down, which can abort it.
        gc.collect()


# As custom operators these two can be used in compiled code, which treats them as opaque.
@torch.library.custom_op("lrnet::gathered", mutates_args=())
def gathered(values: Tensor) -> Tensor:
    """Return every process's ``values``, (processes, *values.shape)."""
    parts = values.new_empty(dist.get_world_size(), *values.shape)
    dist.all_gather(list(parts.unbind()), values.contiguous())
    return parts


@gathered.register_fake
def _(values: Tensor) -> Tensor:
    return values.new_empty(dist.get_world_size(), *values.shape)


@torch.library.custom_op("lrnet::summed", mutates_args=())
def summed(values: Tensor) -> Tensor:
    """Return the sum of every process's ``values``, of the same shape."""
    total = values.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total


@summed.register_fake
def _(values: Tensor) -> Tensor:
    return torch.empty_like(values, memory_format=torch.contiguous_format)
