"""From pixels to logits: running a network on uint8 pictures, over one or several views of each."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lrnet_cli.processes import ALONE, Processes

BATCH_SIZE = 256  # on a CPU; what is read from files comes in such batches, too
_BATCH_SIZE_ELSEWHERE = 4096  # tried first on a GPU, which is idle between small batches


def as_input(images: Tensor) -> Tensor:
    """Return uint8 pictures (N, C, S, S) as the network's floats in [0, 1], channels last."""
    return images.to(torch.float32, memory_format=torch.channels_last).div_(255)


@dataclass(frozen=True)
class View:
    """A shift ``down`` and ``right`` by whole pixels, with the border repeated, and possibly mirroring."""

    down: int = 0
    right: int = 0
    mirrored: bool = False

    def of(self, images: Tensor) -> Tensor:
        """Return the view of pictures (N, C, S, S)."""
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


@torch.inference_mode()
def predict_logits(
    model: nn.Module, images: Tensor, views: tuple[View, ...] = AS_IT_IS, processes: Processes = ALONE
) -> Tensor:
    """Return the logits, float32 (N, classes) on the CPU, of uint8 pictures (N, C, S, S), averaged over ``views``.

    ``model`` must be in evaluation mode and on the device of ``images``, which are the same in all ``processes``; each
    of them runs it on its share, batch by batch. Where the memory does not hold a batch, the batches are halved.
    """
    own = images[processes.share(len(images))]
    size = BATCH_SIZE if images.device.type == "cpu" else _BATCH_SIZE_ELSEWHERE
    found: list[Tensor] = []
    position = 0
    while position < len(own) or not found:
        batch = own[position : position + size]
        try:
            given = as_input(batch)
            found.append(torch.stack([model(view.of(given)) for view in views]).mean(0).cpu())
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            size //= 2
            continue
        position += size
    return processes.collect(torch.cat(found), len(images))
