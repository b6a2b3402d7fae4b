"""Finished runs beside one another: their accuracy over seeds and folds, and what it cost."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Literal

from lrnet_cli import paths
from lrnet_cli.data.download import silent
from lrnet_cli.errors import TrainingError, UsageError
from lrnet_cli.evaluation.metrics import wilson_interval
from lrnet_cli.evaluation.published import PUBLISHED_ACCURACY
from lrnet_cli.training.run import read_config, read_result

_NEEDED = ("test_images", "test_images_per_second", "multiply_adds")
# What may differ between runs of one recipe.
_NO_RECIPE = ("seed", "test_fold", "out", "data_dir", "mirror", "device", "gpus", "procs", "keep_epochs")


COLUMNS = (
    *("data set", "network", "runs", "test accuracy", "95 % interval", "published", "parameters", "multiply-adds"),
    *("training images/s", "test images/s", "epochs", "minutes a run"),
)


@dataclass(frozen=True)
class Accuracy:
    """An accuracy in [0, 1] with its 95 % interval, which reckons with the draw of the seeds or of the images.

    Over several seeds it is the mean, with Student's interval of that mean. Of one seed it has Wilson's interval, for
    as many test images as there were; the folds of a cross-validation are taken together, each image being tested once.
    """

    value: float
    ci95: tuple[float, float]
    over: Literal["seeds", "images"]


@dataclass(frozen=True)
class ComparedRuns:
    """The runs of one recipe on one data set, with means of their speeds and the seconds that they took together.

    ``settings`` are those in which it differs from other rows of the same network and data set; ``published`` is the
    published accuracy, if there is one.
    """

    dataset: str
    arch: str
    settings: dict[str, Any]
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


def find_runs(folder: Path, on_message: Callable[[str], None] = silent) -> list[Path]:
    """Return the run folders meant by ``folder``: itself, or all in it, at any depth, that have a test accuracy.

    Those that have none are left out, which is told. Raises ``TrainingError`` if there is none to return.
    """
    if (folder / "config.json").is_file():
        return [folder]
    found = []
    for path in sorted(path.parent for path in folder.rglob("config.json")):
        try:
            _result_of(path)
            found.append(path)
        except TrainingError as error:
            on_message(f"Left out: {error}")
    if not found:
        raise TrainingError(f"{folder}: is no run folder and holds no finished one; give one that lrnet train wrote.")
    return found


def compare_runs(folders: Iterable[Path], *, chosen: Sequence[str] = ()) -> list[ComparedRuns]:
    """Return a row for every recipe among the runs in ``folders``, best first within each data set.

    Settings named in ``chosen`` were chosen run by run, on validation images; runs that differ in them are of one
    recipe all the same.

    Raises ``TrainingError`` naming a run that is not finished or was not tested, and folds that are incomplete.
    """
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    recipes: dict[str, dict[str, Any]] = {}
    for folder in {path.resolve(): path for path in folders}.values():  # each once, as it was named
        config, _ = read_config(folder)
        result = _result_of(folder)
        settings = {name: value for name, value in asdict(config).items() if name not in (*_NO_RECIPE, *chosen)}
        recipe = settings | {"dataset": result["dataset"]}
        key = repr(recipe)
        recipes[key] = recipe
        groups[key].append(result | {"test_fold": config.test_fold, "folder": str(folder)})
    rows = []
    for key, results in groups.items():
        recipe = recipes[key]
        alike = [other for other in recipes.values() if _subject(other) == _subject(recipe)]
        differing = {name: value for name, value in recipe.items() if any(o[name] != value for o in alike)}
        rows.append(_row(recipe, differing, results))
    return sorted(rows, key=lambda row: (row.dataset, -row.accuracy.value))


def accuracy_over(results: Sequence[dict[str, Any]]) -> Accuracy:
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


def as_markdown(rows: Sequence[ComparedRuns]) -> str:
    """Return ``rows`` as a Markdown table with its legend."""
    lines = [" | ".join(cell.replace("|", "\\|") for cell in line) for line in (COLUMNS, *map(cells, rows))]
    lines.insert(1, " | ".join(["---"] * len(COLUMNS)))
    return "".join(f"| {line} |\n" for line in lines) + f"\n{legend(rows)}\n"


def write_comparison_plot(path: Path, rows: Sequence[ComparedRuns]) -> None:
    """Draw the accuracies of ``rows`` to the PNG file ``path``; raises ``UsageError`` if it cannot be written."""
    from lrnet_cli.report.plots import plot_comparison, write_png  # takes a second

    panels: dict[str, list[tuple[str, float, float, float, float | None]]] = {}
    for row in rows:
        bar = (_network(row), row.accuracy.value, *row.accuracy.ci95, row.published)
        panels.setdefault(row.dataset, []).append(bar)
    try:
        with paths.replacing(path) as temporary:
            write_png(plot_comparison(panels), temporary)
    except OSError as error:
        raise UsageError(f"{path}: the plot cannot be written ({error.strerror or error}).") from error


def cells(row: ComparedRuns) -> tuple[str, ...]:
    """Return what stands in the ``COLUMNS`` of a table for ``row``."""
    low, high = row.accuracy.ci95
    seeds = f"{len(row.seeds)} seed{'s' if len(row.seeds) > 1 else ''}"
    return (
        row.dataset,
        _network(row),
        seeds if row.folds is None else f"{seeds} × {row.folds} folds",
        f"{row.accuracy.value:.4f}",
        f"{low:.4f} to {high:.4f}{'' if row.accuracy.over == 'images' else ' *'}",
        "" if row.published is None else f"{row.published:.4f}",
        f"{row.parameters:,}",
        f"{row.multiply_adds / 1e6:.0f} M",
        f"{row.train_images_per_second:.0f}",
        f"{row.test_images_per_second:.0f}",
        f"{row.epochs:.3g}",
        f"{row.seconds / len(row.runs) / 60:.1f}",
    )


def legend(rows: Sequence[ComparedRuns]) -> str:
    """Return what must be said beside a table of ``rows``."""
    text = "Intervals: Wilson's over the test images"
    if any(row.accuracy.over == "seeds" for row in rows):
        text += "; with a star Student's, of the mean over seeds"
    if any(row.published is not None for row in rows):
        text += ". Published runs had their epoch chosen on the test images; these had not"
    return text + "."


def _network(row: ComparedRuns) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in row.settings.items())
    return f"{row.arch} ({settings})" if settings else row.arch


def _result_of(folder: Path) -> dict[str, Any]:
    result = read_result(folder)
    if result is None or result["interrupted"]:
        raise TrainingError(f"{folder}: is not finished; go on with: lrnet train --resume {folder}")
    if result["test_accuracy"] is None:
        raise TrainingError(f"{folder}: was trained with --no-test, so there is no test accuracy to compare.")
    if lacking := [name for name in _NEEDED if name not in result]:
        raise TrainingError(f"{folder}: was written by another version, its result.json lacks {', '.join(lacking)}.")
    return result


def _subject(recipe: dict[str, Any]) -> tuple[str, str]:
    return recipe["dataset"], recipe["arch"]


def _row(recipe: dict[str, Any], differing: dict[str, Any], results: list[dict[str, Any]]) -> ComparedRuns:
    folds = recipe["folds"]
    seeds = sorted({result["seed"] for result in results})
    places = [(result["seed"], result["test_fold"]) for result in results]
    names = ", ".join(result["folder"] for result in results)
    if len(set(places)) < len(places):
        raise TrainingError(f"Two of these runs have the same recipe and seed, so they are one run twice: {names}")
    if folds is not None and len(places) != folds * len(seeds):
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
