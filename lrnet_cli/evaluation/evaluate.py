"""Evaluating a network on a split: its metrics and what they are computed from."""

import time
from dataclasses import dataclass

from torch import Tensor, nn

from lrnet_cli.data.splits import Split
from lrnet_cli.evaluation.metrics import Metrics, calibration_error, compute_metrics, reliability_bins
from lrnet_cli.models.heads import probabilities
from lrnet_cli.models.logits import AS_IT_IS, View, predict_logits
from lrnet_cli.processes import ALONE, Processes
from lrnet_cli.settings.words import Head


@dataclass(frozen=True)
class Mistake:
    """A picture that was taken for another class, by its position in the split, and with what probability.

    ``path`` is its file, if it has one.
    """

    index: int
    path: str | None
    true: str
    predicted: str
    probability: float


@dataclass(frozen=True)
class Evaluation:
    """Metrics, the probabilities (N, classes) and labels (N,) behind them, on the CPU, and the speed.

    ``outputs`` are the network's own, averaged over the views: logits and any description. ``probabilities`` and
    ``metrics`` are those after division by the temperature, and ``ece_uncalibrated`` is the calibration error without
    it. ``paths`` are the pictures' files, if they have any.
    """

    dataset: str
    classes: tuple[str, ...]
    metrics: Metrics
    ece_uncalibrated: float
    outputs: Tensor
    probabilities: Tensor
    labels: Tensor
    images_per_second: float
    paths: tuple[str, ...] | None = None

    @property
    def logits(self) -> Tensor:
        """The logits (N, classes), before division by the temperature."""
        return self.outputs[:, : len(self.classes)]

    def mistakes(self, count: int) -> tuple[Mistake, ...]:
        """Return up to ``count`` mistakes, the most confident first."""
        values, predicted = self.probabilities.max(1)
        wrong = (predicted != self.labels).nonzero()[:, 0]
        order = wrong[values[wrong].argsort(descending=True, stable=True)][:count]
        return tuple(
            Mistake(
                int(index),
                self.paths[int(index)] if self.paths is not None else None,
                self.classes[int(self.labels[index])],
                self.classes[int(predicted[index])],
                float(values[index]),
            )
            for index in order
        )


def evaluate(
    model: nn.Module,
    split: Split,
    dataset: str,
    classes: tuple[str, ...],
    head: Head,
    processes: Processes = ALONE,
    *,
    temperature: float = 1.0,
    views: tuple[View, ...] = AS_IT_IS,
) -> Evaluation:
    """Evaluate ``model``, which must be in evaluation mode, on ``split``, on the device where both are.

    Every process predicts its share of the pictures, and each picture counts once.
    """
    start = time.perf_counter()
    outputs = predict_logits(model, split.images, views, processes)
    seconds = time.perf_counter() - start
    labels = split.labels.cpu()
    logits = outputs[:, : len(classes)]
    calibrated = logits / temperature
    return Evaluation(
        dataset=dataset,
        classes=classes,
        metrics=compute_metrics(calibrated, labels, classes, head),
        ece_uncalibrated=calibration_error(reliability_bins(probabilities(logits.double(), head), labels)),
        outputs=outputs,
        probabilities=probabilities(calibrated, head),
        labels=labels,
        images_per_second=len(split) / seconds,
        paths=split.paths,
    )
