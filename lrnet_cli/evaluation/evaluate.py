"""Evaluating a network on a split: its metrics and what they are computed from."""

import time
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn

from lrnet_cli.data.splits import Split
from lrnet_cli.evaluation.macro import ClassAverages, class_averages
from lrnet_cli.evaluation.metrics import Metrics, calibration_error, compute_metrics, reliability_bins
from lrnet_cli.models.heads import probabilities
from lrnet_cli.models.logits import AS_IT_IS, View, predict_logits
from lrnet_cli.processes import ALONE, Processes
from lrnet_cli.weights.card import WeightsCard

# What the result and the weight file of a run hold of its test, and the model card shows; each repeats from run to run.
RECORDED = ("accuracy", "accuracy_ci95", "loss", "ece", "ece_uncalibrated")


@dataclass(frozen=True)
class Figure:
    """A figure of an evaluation, ``key`` in JSON documents and ``name`` for people.

    It may have a 95% ``interval``, a value ``uncalibrated``, before division by the temperature, and a ``note``.
    """

    key: str
    name: str
    value: float
    interval: tuple[float, float] | None = None
    uncalibrated: float | None = None
    note: str = ""

    @property
    def remark(self) -> str:
        """What belongs beside the value, if anything does."""
        if self.interval is not None:
            return "95% interval {:.4f} to {:.4f}".format(*self.interval)
        return self.note if self.uncalibrated is None else f"{self.uncalibrated:.4f} before calibration"

    def entries(self) -> dict[str, float | list[float] | None]:
        """Return its entries in a JSON document."""
        interval = None if self.interval is None else list(self.interval)
        return {self.key: self.value, f"{self.key}_ci95": interval, f"{self.key}_uncalibrated": self.uncalibrated}


@dataclass(frozen=True)
class Mistake:
    """An image that was taken for another class, by its position in the split, and with what probability.

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
    it. ``paths`` are the images' files, if they have any.
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

    @cached_property
    def averages(self) -> ClassAverages:
        """The figures in which every class counts the same."""
        return class_averages(self.probabilities, self.labels)

    def figures(self) -> tuple[Figure, ...]:
        """Return the figures to show, the accuracy first; everything that shows figures shows these."""
        metrics, averages = self.metrics, self.averages
        figures = [
            Figure("accuracy", "accuracy", metrics.accuracy, metrics.accuracy_ci95),
            Figure(
                "balanced_accuracy", "balanced accuracy", averages.balanced_accuracy, averages.balanced_accuracy_ci95
            ),
            Figure("macro_f1", "macro F1", averages.macro_f1, averages.macro_f1_ci95),
        ]
        if averages.auc is not None:
            figures.append(Figure("auc", "AUC, one vs rest", averages.auc, averages.auc_ci95))
        figures += [
            *(Figure(f"top_{k}_accuracy", f"top-{k} accuracy", share) for k, share in metrics.top_k_accuracy.items()),
            Figure("loss", "log loss", metrics.loss, note="nats per image"),
            Figure("ece", "calibration error", metrics.ece, uncalibrated=self.ece_uncalibrated),
        ]
        return tuple(figures)

    def mistakes(self, count: int) -> tuple[Mistake, ...]:
        """Return up to ``count`` mistakes, the most confident first."""
        values, predicted = self.probabilities.max(1)
        wrong = (predicted != self.labels).nonzero()[:, 0]
        order = wrong[values[wrong].argsort(descending=True, stable=True)][:count]
        return tuple(
            Mistake(
                index,
                None if self.paths is None else self.paths[index],
                self.classes[self.labels[index]],
                self.classes[predicted[index]],
                float(values[index]),
            )
            for index in order.tolist()
        )


def evaluate(
    network: nn.Module,
    split: Split,
    card: WeightsCard,
    processes: Processes = ALONE,
    *,
    dataset: str | None = None,
    views: tuple[View, ...] = AS_IT_IS,
) -> Evaluation:
    """Evaluate ``network``, which must be in evaluation mode, on ``split``, on the device where both are.

    ``card`` says what its outputs mean. ``dataset`` is the name of the data set that the images are from, unless that
    is the one of the card. Every process predicts its share of the images, and each image counts once.
    """
    start = time.perf_counter()
    outputs = predict_logits(network, split.images, views, processes)
    seconds = time.perf_counter() - start
    labels = split.labels.cpu()
    logits = outputs[:, : len(card.classes)]
    calibrated = logits / card.temperature
    return Evaluation(
        dataset=str(card.dataset.get("name")) if dataset is None else dataset,
        classes=card.classes,
        metrics=compute_metrics(calibrated, labels, card.classes, card.head),
        ece_uncalibrated=calibration_error(reliability_bins(probabilities(logits.double(), card.head), labels)),
        outputs=outputs,
        probabilities=probabilities(calibrated, card.head),
        labels=labels,
        images_per_second=len(split) / seconds,
        paths=split.paths,
    )


def recorded(test: Evaluation | None) -> dict[str, float | list[float] | None]:
    """Return the recorded figures of a run's test, named as such; without a test, each is None."""
    figures = () if test is None else test.figures()
    entries = {key: value for figure in figures for key, value in figure.entries().items()}
    return {f"test_{key}": entries.get(key) for key in RECORDED}
