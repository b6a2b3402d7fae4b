"""All that came of an evaluation: its figures, and its JSON document."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lrnet_cli.devices import describe_device
from lrnet_cli.evaluation.corruptions import Robustness
from lrnet_cli.evaluation.evaluate import Evaluation, Figure
from lrnet_cli.evaluation.foreign import MeasuredNovelty
from lrnet_cli.evaluation.paired import PairedComparison
from lrnet_cli.evaluation.setup import EvaluationSetup
from lrnet_cli.settings.requests import EvalRequest

MISTAKES = 10  # how many are listed


@dataclass(frozen=True)
class Against:
    """Other weights, evaluated on the same images, and how they compare."""

    weights: Path
    accuracy: float
    comparison: PairedComparison


@dataclass(frozen=True)
class Report:
    """What came of ``request``: the evaluation of ``setup``, and what else was asked for, or the weights can say."""

    request: EvalRequest
    setup: EvaluationSetup
    evaluation: Evaluation
    against: Against | None = None
    novelty: MeasuredNovelty | None = None
    robustness: Robustness | None = None

    def figures(self) -> tuple[Figure, ...]:
        """Return the figures to show, the accuracy first."""
        more = []
        if self.novelty is not None:
            more.append(Figure("unknown", "called unknown", self.novelty.unknown, note="novelty above 1"))
        if self.robustness is not None:
            note = "mean over the first twelve corruptions"
            more.append(Figure("robustness", "robustness", self.robustness.mean_accuracy, note=note))
        return (*self.evaluation.figures(), *more)

    def document(self) -> dict[str, Any]:
        """Return the JSON document."""
        evaluation, more = self.evaluation, dict[str, Any]()
        if self.novelty is not None:
            more["novelty"] = asdict(self.novelty)
        if self.robustness is not None:
            more["corruptions"] = asdict(self.robustness)
        if self.against is not None:
            compared = asdict(self.against.comparison, dict_factory=_entry)
            more["against"] = {"weights": str(self.against.weights), "accuracy": self.against.accuracy, **compared}
        return {
            "schema": "lrnet.eval/1",
            "dataset": evaluation.dataset,
            "split": self.request.split,
            "weights": str(self.setup.weights),
            **asdict(evaluation.metrics),
            **asdict(evaluation.averages),
            "ece_uncalibrated": evaluation.ece_uncalibrated,
            "temperature": self.setup.card.temperature,
            "tta": self.request.tta,
            "mistakes": [asdict(mistake, dict_factory=_entry) for mistake in evaluation.mistakes(MISTAKES)],
            "images_per_second": evaluation.images_per_second,
            "device": describe_device(self.setup.opened.device),
            "precision": self.setup.opened.precision,
            **more,
        }


def _entry(items: list[tuple[str, object]]) -> dict[str, object]:
    """Return ``items`` without the path, if there is none."""
    return {name: value for name, value in items if name != "path" or value is not None}
