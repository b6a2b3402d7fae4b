"""The accuracy of a network under corruptions of pictures, each at five severities."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrnet_cli.data.splits import Split
from lrnet_cli.evaluation.kinds.first import FIRST_KINDS
from lrnet_cli.evaluation.kinds.further import FURTHER_KINDS
from lrnet_cli.evaluation.kinds.kind import Corruption
from lrnet_cli.evaluation.metrics import wilson_interval
from lrnet_cli.models.logits import predict_logits

SEVERITIES = (1, 2, 3, 4, 5)
CORRUPTIONS = (*FIRST_KINDS, *FURTHER_KINDS)
_CHUNK = 1000  # pictures corrupted at a time; the result for a seed depends on it


@dataclass(frozen=True)
class CorruptedAccuracy:
    """The accuracy, with its 95 % Wilson interval, under one corruption at one severity."""

    name: str
    severity: int
    strength: float
    accuracy: float
    accuracy_ci95: tuple[float, float]


@dataclass(frozen=True)
class Robustness:
    """Accuracies under every corruption and severity, drawn with ``seed``.

    ``mean_accuracy`` is the plain mean over the first twelve kinds, which is what earlier versions measured, and
    ``mean_accuracy_further`` that over the others. ``familiar`` are the kinds whose like was in training.
    """

    seed: int
    mean_accuracy: float
    mean_accuracy_further: float
    familiar: tuple[str, ...]
    cases: tuple[CorruptedAccuracy, ...]

    @classmethod
    def of(cls, seed: int, cases: Sequence[CorruptedAccuracy], recipe: Mapping[str, Any]) -> "Robustness":
        """Return ``cases``, all of them, with their means, for a network trained by ``recipe``."""
        first = {kind.name for kind in FIRST_KINDS}
        of_first, of_others = (
            mean(case.accuracy for case in cases if (case.name in first) == wanted) for wanted in (True, False)
        )
        familiar = [kind.name for kind in CORRUPTIONS if any(recipe.get(name, 0) > 0 for name in kind.trained_by)]
        return cls(seed, of_first, of_others, tuple(familiar), tuple(cases))

    def by_kind(self) -> dict[str, list[CorruptedAccuracy]]:
        """Return the cases of each kind, mildest first."""
        return {kind.name: [case for case in self.cases if case.name == kind.name] for kind in CORRUPTIONS}

    def lists(self) -> dict[str, dict[str, list[CorruptedAccuracy]]]:
        """Return the cases of each kind in two lists, by their titles; a list without kinds is left out."""
        kinds = self.by_kind()
        lists = {
            "like some in training": {name: cases for name, cases in kinds.items() if name in self.familiar},
            "unlike any in training": {name: cases for name, cases in kinds.items() if name not in self.familiar},
        }
        return {title: of_list for title, of_list in lists.items() if of_list}


def corrupt(images: Tensor, kind: Corruption, severity: int, seed: int) -> Tensor:
    """Return uint8 pictures (N, C, S, S), on the CPU, corrupted; each with its own random numbers.

    The same ``seed`` gives the same pictures; the global generator is left unchanged.
    """
    strength = kind.strengths[severity - 1]
    stream = np.random.SeedSequence([seed, CORRUPTIONS.index(kind), severity]).generate_state(1, np.uint64)[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(stream))
        parts = [kind.apply(chunk.to(torch.float32) / 255, strength) for chunk in images.cpu().split(_CHUNK)]
    return (torch.cat(parts).clamp_(0, 1) * 255).round_().to(torch.uint8)


def measure_robustness(
    network: torch.nn.Module,
    split: Split,
    recipe: Mapping[str, Any],
    *,
    seed: int = 0,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Robustness:
    """Return the accuracy of ``network``, which is in evaluation mode and where ``split`` is, under all corruptions.

    ``on_progress`` is called with the number of finished cases.
    """
    cases: list[CorruptedAccuracy] = []
    total = len(CORRUPTIONS) * len(SEVERITIES)
    labels = split.labels.cpu()
    for kind in CORRUPTIONS:
        for severity in SEVERITIES:
            on_progress(len(cases), total)
            images = corrupt(split.images, kind, severity, seed).to(split.images.device)
            right = int((predict_logits(network, images).argmax(1) == labels).sum())
            interval = wilson_interval(right, len(labels))
            cases.append(
                CorruptedAccuracy(kind.name, severity, kind.strengths[severity - 1], right / len(labels), interval)
            )
    on_progress(total, total)
    return Robustness.of(seed, cases, recipe)
