"""What a kind of corruption is."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Corruption:
    """A kind of corruption: its name, what it does, the unit of its strength, and the strength at each severity.

    ``trained_by`` are the settings of which any, above zero, puts its like into training.
    """

    name: str
    does: str
    unit: str
    strengths: tuple[float, float, float, float, float]
    apply: Callable[[Tensor, float], Tensor]
    trained_by: tuple[str, ...] = ("robust",)
