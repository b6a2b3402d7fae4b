"""Finished runs side by side: their accuracy over seeds and folds, and what it cost."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Literal

from lrnet_cli.data.catalog import KNOWN_NAMES
from lrnet_cli.documents import JsonObject
from lrnet_cli.errors import RunFolderError, TrainingError
from lrnet_cli.escape import resuming
from lrnet_cli.evaluation.intervals import wilson_interval
from lrnet_cli.reporter import OnMessage, silent
from lrnet_cli.runs.folder import Figures, figures_of, read_config, read_result
from lrnet_cli.settings.config import SETTINGS
from lrnet_cli.settings.record import to_plain

# Test accuracies by Ganj, Ebadpour, Darvish and Bahador (2023), doi:10.1007/s40998-023-00618-5. Those runs were stopped
# by, and the best epoch chosen on, the test images, which makes them too good by an unknown amount.
PUBLISHED_ACCURACY = {
    "digits": {"lrnet": 0.9947, "vgg16": 0.924, "inception_v3": 0.9331},
    "fashion": {"lrnet": 0.9503, "vgg16": 0.742, "inception_v3": 0.9444},
    "oracle": {"lrnet": 0.9513, "vgg16": 0.526, "inception_v3": 0.926},
}

_SUBJECT = ("dataset", "arch")  # rows that have these in common differ in settings


@dataclass(frozen=True)
class Accuracy:
    """An accuracy in [0, 1] with its 95% interval, which accounts for the choice of the seeds or of the images.

    Over several seeds it is the mean, with Student's interval of that mean. Of one seed it has Wilson's interval, for
    the number of test images; the folds of a cross-validation are taken together, each image being tested once.
    """

    value: float
    ci95: tuple[float, float]
    over: Literal["seeds", "images"]


@dataclass(frozen=True)
class ComparedRuns:
    """The runs of one recipe on one data set, with means of their speeds and the seconds that they took in total.

    ``settings`` are those in which it differs from other rows of the same network and data set; ``published`` is the
    published accuracy, if there is one.
    """

    dataset: str
    arch: str
    settings: JsonObject
    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    folds: int | None
    accuracy: Accuracy
    published: float | None
    parameters: int
    multiply_adds: int
    train_images_per_second: float
    test_images_per_second: float
    epochs: float
    seconds: float
    device: str


def find_runs(folder: Path, on_message: OnMessage = silent) -> list[Path]:
    """Return the run folders that ``folder`` refers to: itself, or all in it, at any depth, that have a test accuracy.

    Those without one are left out and reported. Raises ``RunFolderError`` if none remains.
    """
    if (folder / "config.json").is_file():
        return [folder]
    runs = []
    for path in sorted(path.parent for path in folder.rglob("config.json")):
        try:
            _result_of(path)
            runs.append(path)
        except TrainingError as error:
            on_message(f"Left out: {error}")
    if not runs:
        raise RunFolderError(
            f"{folder}: is not a run folder and holds no finished one; give one that lrnet train wrote."
        )
    return runs


def compare_runs(folders: Iterable[Path], *, chosen: Sequence[str] = ()) -> list[ComparedRuns]:
    """Return a row for every recipe among the runs in ``folders``, best first within each data set.

    Settings named in ``chosen`` were chosen run by run, on validation images; runs that differ in them still
    have one recipe.

    Raises ``TrainingError`` naming a run that is not finished or was not tested, and folds that are incomplete.
    """
    compared = {name for name, item in SETTINGS.items() if item.compared} - set(chosen)
    groups: dict[str, tuple[JsonObject, list[JsonObject]]] = {}
    for folder in {path.resolve(): path for path in folders}.values():  # each once, as it was named
        config, _ = read_config(folder)
        result = _result_of(folder)
        recipe = {name: value for name, value in to_plain(config).items() if name in compared}
        # Two folders may have one name.
        recipe["source"] = None if result["dataset"] in KNOWN_NAMES else recipe["dataset"]
        recipe["dataset"] = result["dataset"]
        _, results = groups.setdefault(repr(recipe), (recipe, []))
        results.append({**result, "test_fold": config.test_fold, "folder": str(folder)})
    rows = []
    for recipe, results in groups.values():
        alike = [other for other, _ in groups.values() if all(other[name] == recipe[name] for name in _SUBJECT)]
        differing = {name: value for name, value in recipe.items() if any(o[name] != value for o in alike)}
        rows.append(_row(recipe, differing, results))
    return sorted(rows, key=lambda row: (row.dataset, -row.accuracy.value))


def accuracy_over(results: Sequence[JsonObject]) -> Accuracy:
    """Return the test accuracy of finished runs of one recipe, from their results."""
    by_seed: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for result in results:
        by_seed[result["seed"]].append((result["test_accuracy"], result["test_images"]))
    images = {seed: sum(n for _, n in tested) for seed, tested in by_seed.items()}
    right = {seed: sum(round(share * n) for share, n in tested) for seed, tested in by_seed.items()}
    values = [right[seed] / images[seed] for seed in by_seed]
    if len(values) == 1:
        (seed,) = by_seed
        return Accuracy(values[0], wilson_interval(right[seed], images[seed]), "images")
    from scipy.stats import t  # takes a second

    margin = float(t.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    middle = mean(values)
    return Accuracy(middle, (max(0.0, middle - margin), min(1.0, middle + margin)), "seeds")


def tested_figures_of(result: JsonObject, folder: Path) -> Figures:
    """Return the figures of a finished run's result; raises ``TrainingError`` if it is damaged or has no test."""
    figures = figures_of(result, folder)
    if None in (figures["test_accuracy"], figures["test_images_per_second"]) or not figures["test_images"]:
        raise TrainingError(f"{folder}: was trained with --no-test, so there is no test accuracy to compare.")
    return figures


def _result_of(folder: Path) -> Figures:
    result = read_result(folder)
    if result is None or result["status"] != "finished":
        raise TrainingError(f"{folder}: is not finished; resume with: {resuming(folder)}")
    return tested_figures_of(result, folder)


def _row(recipe: JsonObject, differing: JsonObject, results: list[JsonObject]) -> ComparedRuns:
    folds = recipe["folds"]
    seeds = sorted({result["seed"] for result in results})
    members = [(result["seed"], result["test_fold"]) for result in results]
    names = ", ".join(result["folder"] for result in results)
    if len(set(members)) < len(members):
        raise TrainingError(f"Two of these runs have the same recipe and seed, so they are one run twice: {names}")
    if folds is not None and len(members) != folds * len(seeds):
        raise TrainingError(f"Of the {folds} folds some are missing among these runs: {names}")
    return ComparedRuns(
        dataset=recipe["dataset"],
        arch=recipe["arch"],
        settings=differing,
        runs=tuple(result["folder"] for result in results),
        seeds=tuple(seeds),
        folds=folds,
        accuracy=accuracy_over(results),
        published=PUBLISHED_ACCURACY.get(recipe["dataset"], {}).get(recipe["arch"]),
        parameters=results[0]["parameters"],
        multiply_adds=results[0]["multiply_adds"],
        train_images_per_second=mean(result["train_images_per_second"] for result in results),
        test_images_per_second=mean(result["test_images_per_second"] for result in results),
        epochs=mean(result["epochs"] for result in results),
        seconds=sum(result["seconds"] for result in results),
        device=results[0]["device"],
    )
