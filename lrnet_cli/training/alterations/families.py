"""The families, how often each is drawn, and a batch altered by them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lrnet_cli.processes import ALONE, Processes
from lrnet_cli.training.alterations import clutter, erasing, grain, light, optics, shape

_ALTERED = 0.75  # of the pictures of a batch; the others stay as they are


@dataclass(frozen=True)
class Family:
    """What alters pictures, how many numbers it draws, and the share of altered pictures that it is drawn for."""

    alter: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    draws: int
    chance: float


# In the order in which they happen to a picture: the hand, the page, the light, the lens, the sensor, the file.
FAMILIES = (
    Family(shape.pose, 6, 0.3),
    Family(shape.elastic, 32, 0.25),
    Family(shape.thickness, 1, 0.3),
    Family(shape.outline, 1, 0.06),
    Family(clutter.strokes, 21, 0.2),
    Family(clutter.ruled_lines, 6, 0.1),
    Family(clutter.spots, 20, 0.12),
    Family(clutter.stains, 2, 0.1),
    Family(erasing.erasing, 7, 0.2),
    Family(light.saturation, 2, 0.12),
    Family(light.gamma, 1, 0.12),
    Family(light.illumination, 3, 0.15),
    Family(light.ground, 6, 0.3),
    Family(light.contrast, 2, 0.25),
    Family(optics.blur, 3, 0.25),
    Family(optics.resolution, 2, 0.2),
    Family(grain.noise, 2, 0.3),
    Family(clutter.specks, 2, 0.1),
    Family(grain.missing, 3, 0.15),
    Family(optics.compression, 1, 0.15),
)


def alter(images: Tensor, robust: float, processes: Processes = ALONE) -> Tensor:
    """Return float pictures (N, C, S, S) in [0, 1], most of them altered by a few families, up to ``robust`` in [0, 1].

    Random numbers come from the device's generator; each process draws those of the global batch and uses its part.
    """

    def own(drawn: Tensor) -> Tensor:
        return processes.own_rows(drawn)

    n, total = len(images), len(images) * processes.count
    chosen, busy = own(torch.rand(total, 2, device=images.device)).unbind(1)
    altered = images.clamp(0, 1)
    for family in FAMILIES:
        drawn = own(torch.rand(total, family.draws + 2, device=images.device))
        field = own(torch.randn(total, 1, *images.shape[2:], device=images.device))
        wanted = (chosen < _ALTERED) & (drawn[:, 0] < family.chance * (0.35 + 0.9 * busy))
        rows = wanted.nonzero()[:, 0]
        if len(rows):
            strength = robust * drawn[rows, 1:2]
            altered[rows] = family.alter(altered[rows], drawn[rows, 2:], field[rows], strength).to(altered.dtype)
    assert len(altered) == n
    return altered.clamp_(0, 1)
