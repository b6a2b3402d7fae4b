"""Labels that look wrong: pictures to which networks that never saw them give another class.

They are ranked by self-confidence, the calibrated probability of the label that a picture has, over the folds of a
cross-validation (Northcutt et al. 2021, arXiv:1911.00068, section 3.2).
"""

import csv
import io
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from statistics import fmean

from lrnet_cli import paths
from lrnet_cli.documents import open_regular
from lrnet_cli.errors import TrainingError
from lrnet_cli.evaluation.exam import PROBABILITY_OF

SUSPECTS_NAME, _PREDICTIONS_NAME = "suspects.csv", "predictions.csv"


@dataclass(frozen=True)
class Suspect:
    """A picture, its label, the class that networks give it instead, and the probability that they give its label."""

    file: str
    given: str
    suggested: str
    score: float


def predictions_of(run_dir: Path) -> Path:
    """Return where a run on a fold keeps its predictions for that fold."""
    return run_dir / _PREDICTIONS_NAME


def find_suspects(run_dirs: Iterable[Path]) -> list[Suspect]:
    """Return the suspects among the pictures that the runs were tested on, the least likely label first.

    Where several runs were tested on a picture, their probabilities are averaged. Raises ``TrainingError`` for
    predictions that are damaged.
    """
    found: dict[str, tuple[str, dict[str, list[float]]]] = {}
    for run_dir in run_dirs:
        path = predictions_of(run_dir)
        try:
            with open_regular(path) as content, io.TextIOWrapper(content, "utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    _, shares = found.setdefault(row["path"], (row["true"], {}))
                    for name, value in row.items():
                        if name.startswith(PROBABILITY_OF):
                            shares.setdefault(name.removeprefix(PROBABILITY_OF), []).append(float(value))
        except (OSError, KeyError, ValueError, csv.Error, AttributeError) as error:
            raise TrainingError(f"{path}: the predictions cannot be read ({error}).") from error
    suspects = []
    for file_name, (given, several) in found.items():
        means = {name: fmean(values) for name, values in several.items()}
        suggested = max(means, key=lambda name: means[name])
        if suggested != given:
            suspects.append(Suspect(file_name, given, suggested, means[given]))
    return sorted(suspects, key=lambda suspect: (suspect.score, suspect.file))


def write_suspects(folder: Path, suspects: Iterable[Suspect]) -> None:
    """Write ``suspects.csv`` to ``folder``."""
    names = [field.name for field in fields(Suspect)]
    paths.write_table(folder / SUSPECTS_NAME, names, (astuple(suspect) for suspect in suspects))
