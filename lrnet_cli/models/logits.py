"""From pixels to logits: running a network on uint8 images, over one or several views of each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lrnet_cli.processes import ALONE, Processes
from lrnet_cli.threads import even_parts, in_workers

BATCH_SIZE = 256  # in which images are read from files
_WORKERS_BATCH_SIZE = 64  # at most, on a CPU
_GPU_BATCH_SIZE = 4096  # tried first on a GPU, which is idle between small batches


def as_input(images: Tensor) -> Tensor:
    """Return uint8 images (N, C, S, S) as the network's floats in [0, 1], channels last."""
    return images.to(torch.float32, memory_format=torch.channels_last).div_(255)


@dataclass(frozen=True)
class View:
    """A shift ``down`` and ``right`` by whole pixels, with the border repeated, and possibly mirroring."""

    down: int = 0
    right: int = 0
    mirrored: bool = False

    def of(self, images: Tensor) -> Tensor:
        """Return the view of images (N, C, S, S)."""
        side = images.shape[-1]
        if self.down or self.right:
            down, right = abs(self.down), abs(self.right)
            padded = nn.functional.pad(images, (right, right, down, down), mode="replicate")
            top, left = down - self.down, right - self.right
            images = padded[..., top : top + side, left : left + side]
        return (images.flip(-1) if self.mirrored else images).contiguous(memory_format=torch.channels_last)


AS_IT_IS = (View(),)


def averaging_views(*, mirrored: bool) -> tuple[View, ...]:
    """Return the views that test-time augmentation averages: unchanged, a pixel each way, and all of these mirrored."""
    moves = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))
    return tuple(View(down, right, side) for side in (False, True)[: 1 + mirrored] for down, right in moves)


def predict_logits(
    model: nn.Module, images: Tensor, views: tuple[View, ...] = AS_IT_IS, processes: Processes = ALONE
) -> Tensor:
    """Return the logits, float32 (N, classes) on the CPU, of uint8 images (N, C, S, S), averaged over ``views``.

    ``model`` must be in evaluation mode and on the device of ``images``, which are the same in all ``processes``; each
    of them runs it on its share. On a CPU, single-threaded workers take a batch at a time.
    """

    @torch.inference_mode()
    def logits(batch: Tensor) -> Tensor:
        inputs = as_input(batch)
        return torch.stack([model(view.of(inputs)) for view in views]).mean(0).cpu()

    own = images[processes.share(len(images))]
    if own.device.type == "cpu":
        parts = in_workers(logits, own.split(even_parts(len(own), _WORKERS_BATCH_SIZE)))
    else:
        parts = list(in_batches_that_fit(logits, own))
    return processes.collect(torch.cat(parts), len(images))


def in_batches_that_fit(logits: Callable[[Tensor], Tensor], images: Tensor) -> Iterator[Tensor]:
    """Yield ``logits`` batch by batch; where the memory does not hold a batch, they are halved."""
    size, position = _GPU_BATCH_SIZE, 0
    while position < max(1, len(images)):
        try:
            yield logits(images[position : position + size])
            position += size
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            size //= 2
