"""All that an evaluation found, and its JSON document."""

from dataclasses import asdict, dataclass
from typing import Any

from lrnet_cli.devices import describe_device
from lrnet_cli.evaluation.corruptions import Robustness
from lrnet_cli.evaluation.evaluate import Evaluation
from lrnet_cli.evaluation.exam import Exam
from lrnet_cli.evaluation.macro import ClassAverages
from lrnet_cli.evaluation.paired import PairedComparison
from lrnet_cli.models.engine import Engine


@dataclass(frozen=True)
class Rival:
    """Other weights, evaluated on the same images, and how they compare."""

    exam: Exam
    accuracy: float
    comparison: PairedComparison


@dataclass(frozen=True)
class Examined:
    """An evaluation, and what else was asked for and can be told."""

    exam: Exam
    evaluation: Evaluation
    rival: Rival | None
    novelty: dict[str, Any] | None
    robustness: Robustness | None

    def document(
        self, averages: ClassAverages, engine: Engine, split: str, *, tta: bool, mistakes: int
    ) -> dict[str, Any]:
        """Return the JSON document, with up to as many ``mistakes``."""
        exam, evaluation, more = self.exam, self.evaluation, dict[str, Any]()
        if self.novelty is not None:
            more["novelty"] = self.novelty
        if self.robustness is not None:
            more["corruptions"] = asdict(self.robustness)
        if self.rival is not None:
            more["against"] = _against(self.rival)
        return {
            "schema": "lrnet.eval/1",
            "dataset": evaluation.dataset,
            "split": split,
            "weights": str(exam.weights),
            **asdict(evaluation.metrics),
            **asdict(averages),
            "ece_uncalibrated": evaluation.ece_uncalibrated,
            "temperature": exam.card.temperature,
            "tta": tta,
            "mistakes": [_present(asdict(mistake)) for mistake in evaluation.mistakes(mistakes)],
            "images_per_second": evaluation.images_per_second,
            "device": describe_device(engine.device),
            "precision": exam.precision,
            **more,
        }


def _against(rival: Rival) -> dict[str, Any]:
    document = {"weights": str(rival.exam.weights), "accuracy": rival.accuracy, **asdict(rival.comparison)}
    return document | {"disagreements": [_present(item) for item in document["disagreements"]]}


def _present(entry: dict[str, Any]) -> dict[str, Any]:
    """Return ``entry`` without the path, if there is none."""
    return {name: value for name, value in entry.items() if name != "path" or value is not None}
