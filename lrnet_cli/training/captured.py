"""A step as a CUDA graph: a GPU is given its hundreds of small pieces of work at once, not one by one."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Given(NamedTuple):
    """What differs from step to step besides the images, as numbers, or as scalars on the GPU for a graph.

    ``rate`` is the learning rate, ``moved`` 1 while images are moved and mirrored and 0 in the still epochs,
    ``robust_share`` how far alterations have grown, ``newest`` the share of the newest weights in the moving average.
    """

    rate: float | Tensor
    moved: float | Tensor
    robust_share: float | Tensor
    newest: float | Tensor
    epoch: float | Tensor

    def on(self, device: torch.device) -> "Given":
        """Return the numbers as scalars (float32) on a GPU, which need not be waited for."""
        return Given(*torch.tensor(self, pin_memory=True).to(device, non_blocking=True).unbind())


def recorded(work: Callable[[], None], device: torch.device) -> torch.cuda.CUDAGraph:
    """Return ``work`` on ``device``, recorded but not done. If that fails, all is as before.

    Raises ``RuntimeError`` for work that waits for the device.
    """
    graph, before = torch.cuda.CUDAGraph(), torch.cuda.current_stream(device)
    generator = torch.cuda.default_generators[before.device_index]
    state = generator.clone_state()
    try:
        with torch.cuda.device(device), torch.cuda.graph(graph, stream=torch.cuda.Stream(device)):
            work()
    except RuntimeError:
        torch.cuda.set_stream(before)
        generator.graphsafe_set_state(state)
        raise
    return graph


class Captured:
    """``work`` on a batch of indices as one graph, which reads the batch and what is given from fixed places.

    ``work`` must have run before, so that all that it keeps exists, must not wait for the device, and is not run here:
    it is recorded. Random numbers come from the device's generator as without a graph.
    """

    def __init__(self, work: Callable[[Tensor, Given], None], batch: Tensor) -> None:
        self._batch = torch.empty_like(batch)
        self._given = torch.empty(len(Given._fields), device=batch.device)
        self._graph = recorded(lambda: work(self._batch, Given(*self._given.unbind())), batch.device)

    def __call__(self, batch: Tensor, given: Given) -> None:
        """Do the work on ``batch``; what is ``given`` is on the device."""
        self._batch.copy_(batch)
        torch.stack(given, out=self._given)  # type: ignore[arg-type]  # tensors by now
        self._graph.replay()
