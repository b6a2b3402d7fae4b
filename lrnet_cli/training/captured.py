"""A step as a CUDA graph: a GPU is given its hundreds of small pieces of work at once, not one by one."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Given(NamedTuple):
    """What differs from step to step besides the pictures, as numbers, or as scalars on the GPU for a graph.

    ``rate`` is the learning rate, ``robust_share`` how far alterations have grown, ``newest`` the share of the newest
    weights in the moving average.
    """

    rate: float | Tensor
    robust_share: float | Tensor
    newest: float | Tensor
    epoch: float | Tensor


class Captured:
    """``work`` on a batch of indices as one graph, which reads the batch and what is given from fixed places.

    ``work`` must have run before, so that all that it keeps exists, must not wait for the device, and is not run here:
    it is recorded. Random numbers come from the device's generator as without a graph.
    """

    def __init__(self, work: Callable[[Tensor, Given], None], batch: Tensor) -> None:
        self._batch = torch.empty_like(batch)
        self._given = torch.empty(len(Given._fields), device=batch.device)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            work(self._batch, Given(*self._given.unbind()))

    def __call__(self, batch: Tensor, given: Given) -> None:
        """Do the work."""
        self._batch.copy_(batch)
        self._given.copy_(torch.tensor(given, pin_memory=True), non_blocking=True)
        self._graph.replay()
