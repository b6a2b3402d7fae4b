"""The families, how often each is drawn, and a batch altered by them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lrnet_cli.processes import ALONE, Processes
from lrnet_cli.training.alterations import clutter, erasing, grain, light, optics, shape

_ALTERED = 0.75  # of the images of a batch may be altered; the others stay as they are
_FULL = 0.25  # strength from which an alteration counts in full; below, it fades to none


@dataclass(frozen=True)
class Family:
    """What alters images, how many uniform numbers it draws, how often, and whether it needs a field of normal ones.

    ``chance`` is that for an image which may be altered and draws neither few families nor many.
    """

    alter: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    draws: int
    chance: float
    needs_field: bool = False


# In the order in which they happen to an image: the hand, the page, the light, the lens, the sensor, the file.
FAMILIES = (
    Family(shape.pose, 6, 0.35),
    Family(shape.elastic, 32, 0.25),
    Family(shape.thickness, 1, 0.3),
    Family(shape.outline, 1, 0.06),
    Family(shape.ragged, 2, 0.1, needs_field=True),
    Family(clutter.strokes, 26, 0.25),
    Family(clutter.ruled_lines, 6, 0.1),
    Family(clutter.spots, 20, 0.12),
    Family(clutter.stains, 2, 0.1, needs_field=True),
    Family(erasing.erasing, 7, 0.2, needs_field=True),
    Family(light.saturation, 2, 0.12),
    Family(light.gamma, 1, 0.12),
    Family(light.illumination, 3, 0.15, needs_field=True),
    Family(light.ground, 6, 0.3, needs_field=True),
    Family(light.contrast, 2, 0.25),
    Family(optics.blur, 3, 0.25),
    Family(optics.resolution, 2, 0.2),
    Family(grain.noise, 2, 0.3, needs_field=True),
    Family(clutter.specks, 2, 0.1, needs_field=True),
    Family(grain.missing, 3, 0.15, needs_field=True),
    Family(optics.compression, 1, 0.15),
)


def alter(images: Tensor, robust: float | Tensor, processes: Processes = ALONE) -> Tensor:
    """Return float32 images (N, C, S, S) in [0, 1], most of them altered by a few families, up to ``robust``.

    ``robust``, in [0, 1], bounds the strengths, which are drawn evenly below it. Random numbers come from the device's
    generator; each process draws those of the global batch and uses its part.
    """
    total = len(images) * processes.count
    chosen, busy = processes.own_rows(torch.rand(total, 2, device=images.device)).unbind(1)
    altered, nothing = images.clamp(0, 1), images.new_zeros(len(images), 0)
    for family in FAMILIES:
        drawn = processes.own_rows(torch.rand(total, family.draws + 2, device=images.device))
        field = nothing
        if family.needs_field:
            field = processes.own_rows(torch.randn(total, 1, *images.shape[2:], device=images.device))
        selected = (chosen < _ALTERED) & (drawn[:, 0] < family.chance * (0.35 + 0.9 * busy))
        if images.device.type != "cuda":
            rows = selected.nonzero()[:, 0]
            if len(rows):
                altered[rows] = _altered(family, altered[rows], drawn[rows], field[rows], robust)
        else:  # to know which rows, the host would have to wait for the GPU, which alters all in less time
            altered = torch.where(
                selected[:, None, None, None], _altered(family, altered, drawn, field, robust), altered
            )
    return altered.clamp_(0, 1)


def _altered(family: Family, x: Tensor, drawn: Tensor, field: Tensor, robust: float | Tensor) -> Tensor:
    """Return images (N, C, S, S) altered by ``family``, each by its own ``drawn`` (N, draws + 2) and ``field``."""
    strength = robust * drawn[:, 1:2]
    return torch.lerp(
        x, family.alter(x, drawn[:, 2:], field, strength), (strength / _FULL).clamp(max=1)[:, :, None, None]
    )
