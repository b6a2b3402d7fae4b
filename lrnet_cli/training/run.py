"""The run folder: what a training leaves behind."""

import csv
import io
import json
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from lrnet_cli import __version__, paths
from lrnet_cli.errors import TrainingError
from lrnet_cli.evaluation.evaluate import Evaluation
from lrnet_cli.training.config import TrainConfig, command_of
from lrnet_cli.training.reporter import EpochRow
from lrnet_cli.weights import WEIGHTS_NAME, WeightsCard

_CONFIG_SCHEMA, _SERIES_SCHEMA = "lrnet.config/1", "lrnet.series/1"


def create_run_dir(config: TrainConfig, dataset_name: str) -> Path:
    """Create the run folder of ``config`` and return it; raises ``TrainingError`` if it exists with contents."""
    run_dir = config.out or Path("runs") / f"{dataset_name}-{config.arch}-{time.strftime('%Y%m%d-%H%M%S')}"
    candidate, count = run_dir, 1
    # Two runs may start in the same second; a name that the user chose is never altered.
    while config.out is None and candidate.exists():
        count += 1
        candidate = run_dir.with_name(f"{run_dir.name}-{count}")
    try:
        candidate.mkdir(parents=True, exist_ok=True)
        if any(candidate.iterdir()):
            raise TrainingError(f"{candidate}: the folder is not empty; choose another with --out.")
    except OSError as error:
        raise TrainingError(
            f"{candidate}: cannot be the run folder ({error.strerror}); choose another with --out."
        ) from error
    return candidate


def versions() -> dict[str, str]:
    """Return the versions that results may depend on."""
    packages = {name: version(name) for name in ("numpy", "pillow", "safetensors")}
    # torch.__version__ tells the build as well, as in 2.9.1+cu130.
    return {"lrnet_cli": __version__, "python": platform.python_version(), "torch": torch.__version__} | packages


def write_config(run_dir: Path, config: TrainConfig, **resolved: Any) -> None:
    """Write ``config.json``: the settings, with what they resolved to and the versions beside them."""
    content = {"schema": _CONFIG_SCHEMA, "settings": _plain(config), "resolved": resolved, "versions": versions()}
    paths.write_text(run_dir / "config.json", json.dumps(content, indent=2) + "\n")


def read_config(run_dir: Path) -> tuple[TrainConfig, dict[str, str]]:
    """Return the settings of the run in ``run_dir`` and the versions it began with.

    Raises ``TrainingError`` if the folder holds no run that can go on.
    """
    config, content = _read_settings(run_dir / "config.json", _CONFIG_SCHEMA)
    return config, content["versions"]


def write_series(folder: Path, config: TrainConfig, runs: int, folds: int | None) -> None:
    """Write ``series.json``: the settings of ``runs`` runs, and of how many ``folds`` each is made of."""
    content = {"schema": _SERIES_SCHEMA, "runs": runs, "folds": folds, "settings": _plain(config)}
    paths.write_text(folder / "series.json", json.dumps(content, indent=2) + "\n")


def is_series(folder: Path) -> bool:
    """Return whether ``folder`` holds a series of runs."""
    return (folder / "series.json").is_file()


def read_series(folder: Path) -> tuple[TrainConfig, int, int | None]:
    """Return what ``write_series`` wrote to ``folder``; raises ``TrainingError`` if it cannot be used."""
    config, content = _read_settings(folder / "series.json", _SERIES_SCHEMA)
    return config, content["runs"], content["folds"]


def _plain(config: TrainConfig) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(config).items()}


def _read_settings(path: Path, schema: str) -> tuple[TrainConfig, dict[str, Any]]:
    """Return the settings in the JSON file ``path`` and all that is in it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != schema:
            raise TrainingError(f"{path}: was written by another version ({content['schema']}); start a new run.")
        settings = dict(content["settings"])
        for name in ("out", "data_dir"):
            settings[name] = Path(settings[name]) if settings[name] is not None else None
        return TrainConfig(**settings), content
    except OSError as error:
        raise TrainingError(f"{path}: {error.strerror or error}; give the folder of a run that began.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path}: is damaged ({error}); start a new run.") from error


def read_result(run_dir: Path) -> dict[str, Any] | None:
    """Return the content of ``result.json``, or None where there is none that is whole."""
    try:
        content: dict[str, Any] = json.loads((run_dir / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content


def write_rows(run_dir: Path, rows: list[EpochRow]) -> None:
    """Write ``metrics.csv`` and ``curves.png``."""
    from lrnet_cli.report.plots import plot_curves, write_png  # takes a second

    text = io.StringIO()
    table = csv.DictWriter(text, [column.name for column in fields(EpochRow)], lineterminator="\n")
    table.writeheader()
    table.writerows(asdict(row) for row in rows)
    paths.write_text(run_dir / "metrics.csv", text.getvalue())
    figure = plot_curves([asdict(row) for row in rows])
    with paths.replacing(run_dir / "curves.png") as temporary:
        write_png(figure, temporary)


def write_result(run_dir: Path, result: dict[str, Any]) -> None:
    """Write ``result.json``, the document that ``lrnet train --json`` prints."""
    paths.write_text(run_dir / "result.json", json.dumps(result, indent=2) + "\n")


def write_model_card(
    run_dir: Path,
    config: TrainConfig,
    card: WeightsCard,
    device: str,
    test: Evaluation | None,
    test_reads: int,
    more: Sequence[str] = (),
) -> None:
    """Write ``README.md``, the model card, with no test figures without ``test``; ``more`` are lines of Markdown."""
    data, protocol = card.dataset, card.protocol
    validation = (
        f"{card.metrics['val_accuracy']:.4f} on {data['val']} validation images (epoch {card.metrics['best_epoch']})"
    )
    if test is None:
        tested = ["The test images have not been read with these weights."]
    else:
        metrics = test.metrics
        low, high = metrics.accuracy_ci95
        tested = [
            f"Accuracy **{metrics.accuracy:.4f}** on {metrics.n} test images (95 % interval {low:.4f} to {high:.4f}), "
            f"log loss {metrics.loss:.4f}, expected calibration error {metrics.ece:.4f} "
            f"({test.ece_uncalibrated:.4f} before calibration).",
            "",
            "| class | precision | recall | F1 | images |",
            "|---|---|---|---|---|",
            *(
                f"| {_cell(row.name)} | {row.precision:.4f} | {row.recall:.4f} | {row.f1:.4f} | {row.support} |"
                for row in metrics.per_class
            ),
        ]
    lines = [
        f"# {card.arch} on {data['name']}",
        "",
        f"A classifier of {card.preprocessing.image_size}×{card.preprocessing.image_size} pictures with "
        f"{card.preprocessing.channels} channel(s) into {len(card.classes)} classes, trained by lrnet-cli "
        f"{card.versions['lrnet_cli']}.",
        "",
        "## Results",
        "",
        *tested,
        "",
        f"Validation: {validation}. On these images the temperature {card.temperature:.4f} was fitted, by which the "
        f"logits are divided; it takes their calibration error from {card.metrics['val_ece_uncalibrated']:.4f} to "
        f"{card.metrics['val_ece']:.4f}.",
        "",
        "![Loss and accuracy by epoch](curves.png)",
        "",
        *more,
        "## Protocol",
        "",
        "```console",
        command_of(config),
        "```",
        "",
        f"Trained on {data['train']} images; the validation images are {protocol['validation']}. The epoch with the "
        "best validation accuracy was kept; the test images are read once, after that choice (so far: "
        f"{test_reads} time{'' if test_reads == 1 else 's'}).",
        "",
        f"- Data: {data['name']}, content SHA-256 `{data['content_sha256']}`",
        f"- Recipe: {json.dumps(protocol['recipe'])}",
        f"- Head: {card.head}",
        f"- Seed: {card.seed}",
        f"- Device: {device}",
        f"- Versions: {', '.join(f'{name} {number}' for name, number in card.versions.items())}",
        "",
        "## Use",
        "",
        "```console",
        f"lrnet predict picture.png --weights {WEIGHTS_NAME}",
        "```",
        "",
        f"Pictures are expected {card.preprocessing.polarity}; `lrnet predict` inverts the others by itself.",
        "",
        "## Limits",
        "",
        "The network names one of its classes for any picture, whatever it shows. It was measured on pictures like "
        "those it was trained on and on no others.",
    ]
    paths.write_text(run_dir / "README.md", "\n".join(lines) + "\n")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
