"""Several networks as one: the mean of their calibrated probabilities."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lrnet_cli.models.heads import probabilities
from lrnet_cli.settings.words import Head

_LEAST = 1e-7  # probability, whose logarithm is still a number in single precision


class Ensemble(nn.Module):
    """``members`` with the same classes, each with the temperature by which its logits are divided.

    The logits it gives are those whose probabilities, at a temperature of 1, are the mean of the members'. Of each
    member, ``novelties`` say how foreign an image is, by what the member gives for it; they are empty if one cannot.
    """

    def __init__(
        self,
        members: Sequence[nn.Module],
        temperatures: Sequence[float],
        head: Head,
        novelties: Sequence[Callable[[Tensor], Tensor]] = (),
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.temperatures = tuple(temperatures)
        self.head: Head = head
        self.novelties = tuple(novelties)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, classes), float32, of floats (N, C, S, S) in [0, 1]."""
        return self.joined([member(images).float() for member in self.members])

    def joined(self, logits: Sequence[Tensor]) -> Tensor:
        """Return the logits of all members together, (N, classes), of each one's (N, classes)."""
        shares = [
            probabilities(values / temperature, self.head)
            for values, temperature in zip(logits, self.temperatures, strict=True)
        ]
        mean = torch.stack(shares).mean(0).clamp(_LEAST, 1 - _LEAST)
        return mean.log() if self.head == "softmax" else mean.logit()

    def each(self, change: Callable[[nn.Module], nn.Module]) -> "Ensemble":
        """Return the ensemble of the members as ``change`` gives them."""
        return Ensemble([change(member) for member in self.members], self.temperatures, self.head, self.novelties)
