"""Doubtful labels: images to which networks that never saw them give another class.

They are ranked by self-confidence, the calibrated probability of the label that an image has, over the folds of a
cross-validation (Northcutt et al. 2021, arXiv:1911.00068, section 3.2).
"""

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from statistics import fmean

from lrnet_cli import paths
from lrnet_cli.documents import lines_of
from lrnet_cli.errors import TrainingError
from lrnet_cli.evaluation.predictions import PROBABILITY_OF

SUSPECTS_NAME, _PREDICTIONS_NAME = "suspects.csv", "predictions.csv"


@dataclass(frozen=True)
class Suspect:
    """An image, its label, the class that networks give it instead, and the probability that they give its label."""

    file: str
    given: str
    suggested: str
    score: float


def predictions_of(run_dir: Path) -> Path:
    """Return where a run on a fold keeps its predictions for that fold."""
    return run_dir / _PREDICTIONS_NAME


def find_suspects(run_dirs: Iterable[Path]) -> list[Suspect]:
    """Return the suspects among the images that the runs were tested on, the least likely label first.

    Where several runs were tested on an image, their probabilities are averaged. A class of which no image was left to
    train on, as where all are of one group, has no suspects: a network cannot give a label that it never saw. Raises
    ``TrainingError`` for predictions that are damaged.
    """
    tested = [_predictions(predictions_of(run_dir)) for run_dir in run_dirs]
    files_of = defaultdict[str, set[str]](set)
    for rows in tested:
        for file_name, label, _ in rows:
            files_of[label].add(file_name)
    by_file: dict[str, tuple[str, dict[str, list[float]]]] = {}
    for rows in tested:
        counts = Counter(label for _, label, _ in rows)
        for file_name, label, probabilities in rows:
            if counts[label] == len(files_of[label]):
                continue
            _, shares = by_file.setdefault(file_name, (label, {}))
            for name, value in probabilities.items():
                shares.setdefault(name, []).append(value)
    suspects = []
    for file_name, (label, several) in by_file.items():
        means = {name: fmean(values) for name, values in several.items()}
        suggested = max(means, key=lambda name: means[name])
        if suggested != label:
            suspects.append(Suspect(file_name, label, suggested, means[label]))
    return sorted(suspects, key=lambda suspect: (suspect.score, suspect.file))


def _predictions(path: Path) -> list[tuple[str, str, dict[str, float]]]:
    try:
        return list(_rows_of(path))
    except (OSError, ValueError, csv.Error) as error:
        raise TrainingError(f"{path}: the predictions cannot be read ({error}).") from error


def _rows_of(path: Path) -> Iterator[tuple[str, str, dict[str, float]]]:
    """Yield each image's file, label and the probability of every class; raises ``ValueError`` for other content."""
    for number, row in enumerate(csv.DictReader(lines_of(path), restval=""), 1):
        if None in row:
            raise ValueError(f"row {number} has more values than there are columns")
        shares = {
            name.removeprefix(PROBABILITY_OF): float(value)
            for name, value in row.items()
            if name.startswith(PROBABILITY_OF)
        }
        file_name, label = row.get("path"), row.get("true")
        if not file_name or label not in shares or not all(0 <= share <= 1.001 for share in shares.values()):
            raise ValueError(f"row {number} is no prediction")
        yield file_name, label, shares


def write_suspects(folder: Path, suspects: Iterable[Suspect]) -> None:
    """Write ``suspects.csv`` to ``folder``."""
    names = [field.name for field in fields(Suspect)]
    paths.write_table(folder / SUSPECTS_NAME, names, (astuple(suspect) for suspect in suspects))
