"""The accuracy of a network under corruptions of images, each at five severities."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np
import torch
from torch import Tensor

from lrnet_cli.data.splits import Split
from lrnet_cli.evaluation.corruption_types import blur, digital, geometry, lighting, noise, occlusion
from lrnet_cli.evaluation.intervals import wilson_interval
from lrnet_cli.evaluation.metrics import calibration_error, reliability_bins
from lrnet_cli.models.heads import probabilities
from lrnet_cli.models.logits import predict_logits
from lrnet_cli.processes import ALONE, Processes
from lrnet_cli.reporter import SILENT, Reporter
from lrnet_cli.weights.card import WeightsCard

SEVERITIES = (1, 2, 3, 4, 5)
_SIDES = "share of the side"  # a unit
_FIRST = 12  # types, which have a mean of their own
_CHUNK = 1000  # images corrupted at a time; the result for a seed depends on it


@dataclass(frozen=True)
class Corruption:
    """A corruption type: its name, what it does, the unit of its strength, and the strength at each severity.

    ``trained_by`` are the settings of which any, above zero, puts something similar into training.
    """

    name: str
    does: str
    unit: str
    strengths: tuple[float, float, float, float, float]
    apply: Callable[[Tensor, float], Tensor]
    trained_by: tuple[str, ...] = ("robust",)


# The first twelve in the manner of ImageNet-C (Hendrycks and Dietterich 2019, arXiv:1903.12261). A new one goes last:
# the random numbers of each depend on its position.
# fmt: off
CORRUPTIONS = (
    Corruption("gaussian_noise", "adds normal noise", "standard deviation",
               (0.08, 0.12, 0.18, 0.26, 0.38), noise.gaussian_noise, ("robust", "noise")),
    Corruption("shot_noise", "draws each pixel from a Poisson distribution", "photons for white",
               (60, 25, 12, 5, 3), noise.shot_noise),
    Corruption("impulse_noise", "makes pixels black or white", "share of pixels",
               (0.03, 0.06, 0.09, 0.17, 0.27), noise.impulse_noise),
    Corruption("gaussian_blur", "blurs", f"standard deviation, {_SIDES}",
               (0.02, 0.03, 0.045, 0.06, 0.08), blur.gaussian_blur, ("robust", "blur")),
    Corruption("motion_blur", "smears along one of eight directions", f"length, {_SIDES}",
               (0.1, 0.15, 0.2, 0.3, 0.4), blur.motion_blur),
    Corruption("downscale", "scales down, antialiased, and back up (28 pixels: to 20, 14, 10, 7 and 5)", _SIDES,
               (20 / 28, 14 / 28, 10 / 28, 7 / 28, 5 / 28), digital.pixelation),
    Corruption("jpeg", "compresses as JPEG", "quality", (25, 15, 10, 5, 2), digital.jpeg),
    Corruption("contrast", "pulls grey values towards their mean", "share that remains",
               (0.6, 0.4, 0.3, 0.2, 0.1), lighting.contrast),
    Corruption("brightness", "darkens", "factor", (0.7, 0.5, 0.35, 0.25, 0.15), lighting.darkening),
    Corruption("occlusion", "hides a grey square somewhere", _SIDES,
               (0.2, 0.275, 0.35, 0.425, 0.5), occlusion.square, ("robust", "cutout")),
    Corruption("rotation", "rotates one way or the other", "degrees",
               (10, 20, 30, 40, 50), geometry.rotation, ("robust", "shear")),
    Corruption("shear", "shears one way or the other", "degrees",
               (10, 20, 30, 40, 50), geometry.shear, ("robust", "shear")),
    Corruption("brightening", "adds a constant", "grey value", (0.1, 0.2, 0.35, 0.5, 0.6), lighting.brightening),
    Corruption("uneven_light", "adds light from one side", "grey value there",
               (0.2, 0.3, 0.45, 0.6, 0.75), lighting.uneven_light),
    Corruption("fog", "mixes with pale clouds", "share of the clouds", (0.2, 0.35, 0.5, 0.6, 0.7), lighting.fog),
    Corruption("stripes", "lays five light stripes over it", "share of the stripe",
               (0.2, 0.35, 0.5, 0.7, 0.9), occlusion.stripes),
    Corruption("strokes", "draws light strokes", "strokes", (1, 2, 3, 4, 5), occlusion.strokes),
    Corruption("edges", "mixes with the size of the gradient", "its share",
               (0.3, 0.5, 0.7, 0.85, 1.0), digital.edges),
    Corruption("translation", "shifts in one of eight directions", _SIDES,
               (0.06, 0.1, 0.15, 0.2, 0.25), geometry.translation, ("robust", "shift")),
    Corruption("thick", "thickens what is light", _SIDES, (0.01, 0.02, 0.03, 0.045, 0.06), geometry.dilation),
    Corruption("thin", "thins what is light", _SIDES, (0.01, 0.015, 0.02, 0.027, 0.034), geometry.erosion),
    Corruption("quantisation", "rounds grey values", "levels", (12, 7, 5, 3, 2), digital.quantization, ()),
    Corruption("frosted", "scatters pixels", _SIDES, (0.03, 0.05, 0.075, 0.1, 0.13), blur.glass_blur),
    Corruption("show_through", "lets the back of the page show", "its share",
               (0.2, 0.3, 0.4, 0.55, 0.7), occlusion.show_through, ()),
)
# fmt: on


@dataclass(frozen=True)
class CorruptedAccuracy:
    """The accuracy, with its 95% Wilson interval, and calibration error under one corruption at one severity."""

    name: str
    severity: int
    strength: float
    accuracy: float
    accuracy_ci95: tuple[float, float]
    ece: float


@dataclass(frozen=True)
class Robustness:
    """Accuracies under every corruption and severity, drawn with ``seed``.

    ``mean_accuracy`` is the plain mean over the first twelve corruption types, ``mean_accuracy_further`` that over the
    others; ``mean_ece`` and ``mean_ece_further`` are those of the expected calibration error. ``familiar`` are the
    types of which training had something similar.
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
        first = {corruption.name for corruption in CORRUPTIONS[:_FIRST]}
        accuracy, ece = means_over(case for case in cases if case.name in first)
        accuracy_further, ece_further = means_over(case for case in cases if case.name not in first)
        used = {name for name, strength in recipe.items() if isinstance(strength, int | float) and strength > 0}
        familiar = tuple(corruption.name for corruption in CORRUPTIONS if used & set(corruption.trained_by))
        return cls(seed, accuracy, accuracy_further, ece, ece_further, familiar, tuple(cases))

    def by_type(self) -> dict[str, list[CorruptedAccuracy]]:
        """Return the cases of each corruption type, mildest first."""
        names = [corruption.name for corruption in CORRUPTIONS]
        return {name: [case for case in self.cases if case.name == name] for name in names}

    def lists(self) -> dict[str, dict[str, list[CorruptedAccuracy]]]:
        """Return the cases of each corruption type in two lists, by their titles; an empty list is left out."""
        types = self.by_type()
        lists = {
            "like some in training": {name: cases for name, cases in types.items() if name in self.familiar},
            "unlike any in training": {name: cases for name, cases in types.items() if name not in self.familiar},
        }
        return {title: of_list for title, of_list in lists.items() if of_list}


def means_over(cases: Iterable[CorruptedAccuracy]) -> tuple[float, float]:
    """Return the plain means of accuracy and calibration error over ``cases``."""
    accuracies, errors = zip(*((case.accuracy, case.ece) for case in cases), strict=True)
    return mean(accuracies), mean(errors)


def corrupt(images: Tensor, corruption: Corruption, severity: int, seed: int) -> Tensor:
    """Return uint8 images (N, C, S, S), on the CPU, corrupted; each with its own random numbers.

    The same ``seed`` gives the same images; the global generator is left unchanged.
    """
    strength = corruption.strengths[severity - 1]
    stream = np.random.SeedSequence([seed, CORRUPTIONS.index(corruption), severity]).generate_state(1, np.uint64)[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(stream))
        parts = [corruption.apply(chunk.to(torch.float32) / 255, strength) for chunk in images.cpu().split(_CHUNK)]
    return (torch.cat(parts).clamp_(0, 1) * 255).round_().to(torch.uint8)


def measure_robustness(
    network: torch.nn.Module,
    split: Split,
    card: WeightsCard,
    processes: Processes = ALONE,
    *,
    seed: int = 0,
    reporter: Reporter = SILENT,
) -> Robustness:
    """Return the accuracy of ``network``, which is in evaluation mode and where ``split`` is, under all corruptions.

    ``card`` says how it was trained and calibrated. All ``processes`` share the work, whose pieces are the cases.
    """
    cases: list[CorruptedAccuracy] = []
    total = len(CORRUPTIONS) * len(SEVERITIES)
    labels = split.labels.cpu()
    for corruption in CORRUPTIONS:
        for severity in SEVERITIES:
            reporter.work("corruptions", len(cases), total)
            images = corrupt(split.images, corruption, severity, seed).to(split.images.device)
            outputs = predict_logits(network, images, processes=processes)
            scores = probabilities(outputs.double() / card.temperature, card.head)
            right = int((scores.argmax(1) == labels).sum())
            interval, ece = wilson_interval(right, len(labels)), calibration_error(reliability_bins(scores, labels))
            strength = corruption.strengths[severity - 1]
            cases.append(CorruptedAccuracy(corruption.name, severity, strength, right / len(labels), interval, ece))
    reporter.work("corruptions", total, total)
    return Robustness.of(seed, cases, card.protocol.get("recipe", {}))
