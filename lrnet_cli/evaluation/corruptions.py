"""The accuracy of a network under corruptions of images, each at five severities."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np
import torch
from torch import Tensor

from lrnet_cli.data.splits import Split
from lrnet_cli.evaluation.kinds.first import FIRST_KINDS
from lrnet_cli.evaluation.kinds.further import FURTHER_KINDS
from lrnet_cli.evaluation.kinds.kind import Corruption
from lrnet_cli.evaluation.metrics import calibration_error, reliability_bins, wilson_interval
from lrnet_cli.models.heads import probabilities
from lrnet_cli.models.logits import predict_logits
from lrnet_cli.processes import ALONE, Processes
from lrnet_cli.weights.card import WeightsCard

SEVERITIES = (1, 2, 3, 4, 5)
CORRUPTIONS = (*FIRST_KINDS, *FURTHER_KINDS)  # a new one goes last: the random numbers of each depend on its position
_CHUNK = 1000  # images corrupted at a time; the result for a seed depends on it


@dataclass(frozen=True)
class CorruptedAccuracy:
    """The accuracy, with its 95 % Wilson interval, and calibration error under one corruption at one severity."""

    name: str
    severity: int
    strength: float
    accuracy: float
    accuracy_ci95: tuple[float, float]
    ece: float


@dataclass(frozen=True)
class Robustness:
    """Accuracies under every corruption and severity, drawn with ``seed``.

    ``mean_accuracy`` is the plain mean over the first twelve kinds, which is what earlier versions measured, and
    ``mean_accuracy_further`` that over the others; ``mean_ece`` and ``mean_ece_further`` are those of the expected
    calibration error. ``familiar`` are the kinds whose like was in training.
    """

    seed: int
    mean_accuracy: float
    mean_accuracy_further: float
    mean_ece: float
    mean_ece_further: float
    familiar: tuple[str, ...]
    cases: tuple[CorruptedAccuracy, ...]

    @classmethod
    def of(cls, seed: int, cases: Sequence[CorruptedAccuracy], recipe: Mapping[str, object]) -> "Robustness":
        """Return ``cases``, all of them, with their means, for a network trained by ``recipe``."""
        first = {kind.name for kind in FIRST_KINDS}
        accuracy, ece = means_over(case for case in cases if case.name in first)
        accuracy_further, ece_further = means_over(case for case in cases if case.name not in first)
        familiar = [kind.name for kind in CORRUPTIONS if any(_is_used(recipe.get(name)) for name in kind.trained_by)]
        return cls(seed, accuracy, accuracy_further, ece, ece_further, tuple(familiar), tuple(cases))

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


def _is_used(strength: object) -> bool:
    return isinstance(strength, int | float) and strength > 0


def means_over(cases: Iterable[CorruptedAccuracy]) -> tuple[float, float]:
    """Return the plain means of accuracy and calibration error over ``cases``."""
    accuracies, errors = zip(*((case.accuracy, case.ece) for case in cases), strict=True)
    return mean(accuracies), mean(errors)


def corrupt(images: Tensor, kind: Corruption, severity: int, seed: int) -> Tensor:
    """Return uint8 images (N, C, S, S), on the CPU, corrupted; each with its own random numbers.

    The same ``seed`` gives the same images; the global generator is left unchanged.
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
    card: WeightsCard,
    processes: Processes = ALONE,
    *,
    seed: int = 0,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Robustness:
    """Return the accuracy of ``network``, which is in evaluation mode and where ``split`` is, under all corruptions.

    ``card`` says how it was trained and calibrated. All ``processes`` share the work.
    ``on_progress`` is called with the number of finished cases.
    """
    cases: list[CorruptedAccuracy] = []
    total = len(CORRUPTIONS) * len(SEVERITIES)
    labels = split.labels.cpu()
    for kind in CORRUPTIONS:
        for severity in SEVERITIES:
            on_progress(len(cases), total)
            images = corrupt(split.images, kind, severity, seed).to(split.images.device)
            outputs = predict_logits(network, images, processes=processes)
            scores = probabilities(outputs.double() / card.temperature, card.head)
            right = int((scores.argmax(1) == labels).sum())
            interval, ece = wilson_interval(right, len(labels)), calibration_error(reliability_bins(scores, labels))
            strength = kind.strengths[severity - 1]
            cases.append(CorruptedAccuracy(kind.name, severity, strength, right / len(labels), interval, ece))
    on_progress(total, total)
    return Robustness.of(seed, cases, card.protocol.get("recipe", {}))
