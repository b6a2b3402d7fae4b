"""Evaluation of weights on a split of a data set."""

import csv
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from lrnet_cli import paths
from lrnet_cli.choices import Head
from lrnet_cli.data.catalog import KNOWN_NAMES
from lrnet_cli.data.datasets import Split, limited, load_dataset, name_of, with_classes_of
from lrnet_cli.data.download import OnMessage, OnProgress, silent
from lrnet_cli.data.images import Invert
from lrnet_cli.engine import Engine
from lrnet_cli.errors import DataError, UsageError
from lrnet_cli.evaluation.metrics import Metrics, calibration_error, compute_metrics, reliability_bins
from lrnet_cli.inference import AS_IT_IS, View, averaging_views, predict_logits, probabilities
from lrnet_cli.processes import ALONE, Processes
from lrnet_cli.weights import WeightsCard, load_weights

_LIMIT_SEED = 0  # fixed, so that --limit means the same pictures every time


@dataclass(frozen=True)
class Mistake:
    """A picture, by its position in the split, that was taken for another class, and how surely."""

    index: int
    true: str
    predicted: str
    probability: float


@dataclass(frozen=True)
class Evaluation:
    """Metrics and what is behind them: logits and probabilities (N, classes) and labels (N,) on the CPU, and the speed.

    ``logits`` are the network's own, averaged over the views; ``probabilities`` and ``metrics`` are those after
    division by the temperature, and ``ece_uncalibrated`` is the calibration error without it.
    """

    dataset: str
    classes: tuple[str, ...]
    metrics: Metrics
    ece_uncalibrated: float
    logits: Tensor
    probabilities: Tensor
    labels: Tensor
    images_per_second: float

    def mistakes(self, count: int) -> tuple[Mistake, ...]:
        """Return up to ``count`` mistakes, those that the network was surest of first."""
        values, predicted = self.probabilities.max(1)
        wrong = (predicted != self.labels).nonzero()[:, 0]
        order = wrong[values[wrong].argsort(descending=True, stable=True)][:count]
        return tuple(
            Mistake(
                int(index),
                self.classes[int(self.labels[index])],
                self.classes[int(predicted[index])],
                float(values[index]),
            )
            for index in order
        )


@dataclass(frozen=True)
class Exam:
    """Weights, the network made of them, and the pictures to examine it on, where the network is."""

    weights: Path
    card: WeightsCard
    network: nn.Module
    dataset: str
    split: Split

    def evaluate(self, *, tta: bool = False) -> Evaluation:
        """Evaluate the network; with ``tta`` on the average of several views of each picture."""
        mirrored = self.card.protocol.get("recipe", {}).get("flip") == "on"
        views = averaging_views(mirrored=mirrored) if tta else AS_IT_IS
        card = self.card
        return evaluate(
            self.network, self.split, self.dataset, card.classes, card.head, temperature=card.temperature, views=views
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
    part = predict_logits(model, split.images[processes.share(len(split))], views)
    logits = processes.collect(part, len(split))
    seconds = time.perf_counter() - start
    labels = split.labels.cpu()
    calibrated = logits / temperature
    return Evaluation(
        dataset=dataset,
        classes=classes,
        metrics=compute_metrics(calibrated, labels, classes, head),
        ece_uncalibrated=calibration_error(reliability_bins(probabilities(logits.double(), head), labels)),
        logits=logits,
        probabilities=probabilities(calibrated, head),
        labels=labels,
        images_per_second=len(split) / seconds,
    )


def load_exam(
    weights: Path,
    dataset: str | None,
    split: Literal["train", "val", "test"],
    *,
    engine: Engine,
    limit: int | None = None,
    invert: Invert = "no",
    data_dir: Path | None = None,
    mirror: str | None = None,
    on_progress: OnProgress = silent,
    on_message: OnMessage = silent,
) -> Exam:
    """Return a weight file and a split of ``dataset``, a name or path, or of the known one it was trained on.

    The pictures are preprocessed as the weights say; classes are matched by name. Weights of a cross-validation are
    examined on the fold that they did not see, when the data set is their own. Raises ``WeightsError``,
    ``DataError`` or ``UsageError`` for what cannot be used.
    """
    model, card = load_weights(weights)
    name = dataset or str(card.dataset.get("name"))
    if dataset is None and name not in KNOWN_NAMES:
        raise UsageError(
            f"{weights}: was trained on {name}, which is no known data set; say where it is with --dataset."
        )
    fold = card.protocol.get("test_fold") if name_of(name) == card.dataset.get("name") else None
    if fold is not None:
        on_message(f"{weights}: comes from cross-validation; its test pictures are fold {fold[0]} of {fold[1]}.")
    loaded = load_dataset(
        name,
        data_dir=data_dir,
        mirror=mirror,
        image_size=card.preprocessing.image_size,
        channels=card.preprocessing.channels,
        polarity=card.preprocessing.polarity,
        invert=invert,
        fold=fold,
        on_progress=on_progress,
        on_message=on_message,
    )
    matched = with_classes_of(loaded, card.classes)
    chosen = {"train": matched.train, "val": matched.val, "test": matched.test}[split]
    if chosen is None:
        raise DataError(f"{name}: has no validation split of its own; choose --split test or train.")
    part = limited(chosen, limit, _LIMIT_SEED).to(engine.device)
    return Exam(weights, card, engine.ready(model), matched.name, part)


def write_predictions(path: Path, evaluation: Evaluation) -> None:
    """Write a CSV row a picture: its position in the split, true and predicted class, and the latter's probability."""
    values, indices = evaluation.probabilities.max(1)
    try:
        with paths.replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as target:
            table = csv.writer(target, lineterminator="\n")
            table.writerow(["index", "true", "predicted", "probability", "correct"])
            rows = zip(evaluation.labels.tolist(), indices.tolist(), values.tolist(), strict=True)
            for position, (true, predicted, probability) in enumerate(rows):
                names = evaluation.classes[true], evaluation.classes[predicted]
                table.writerow([position, *names, probability, true == predicted])
    except OSError as error:
        raise UsageError(f"{path}: the predictions cannot be written ({error.strerror or error}).") from error
