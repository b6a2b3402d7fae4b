"""The evaluation report: from an evaluation to one self-contained HTML file."""

import io
import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrnet_cli import __version__, paths
from lrnet_cli.data.images import as_image
from lrnet_cli.evaluation.corruptions import Robustness, means_over
from lrnet_cli.evaluation.evaluate import Evaluation
from lrnet_cli.evaluation.report import Report
from lrnet_cli.plots import (
    as_svg,
    plot_curves,
    plot_reliability,
    plot_risk,
    plot_robustness,
    plot_severities,
    write_png,
)
from lrnet_cli.review.document import environment
from lrnet_cli.review.sprites import data_uri
from lrnet_cli.runs.folder import read_rows
from lrnet_cli.weights.find import fingerprint_of

_IMAGES_A_CELL, _MISTAKES = 24, 40
_CLASSES = 40  # in the confusion matrix: a larger one is unreadable, and the page grows with their square


def write_report(path: Path, report: Report, command: str) -> None:
    """Write ``report`` to ``path`` as one self-contained HTML file with its images and charts.

    ``command`` is the command line that made it. If the weights are in a run folder, its learning curves are shown.
    Raises ``UsageError`` if the file cannot be written, ``DataError`` for a damaged ``metrics.csv``.
    """
    setup, evaluation, robustness = report.setup, report.evaluation, report.robustness
    metrics, card = evaluation.metrics, setup.card
    images = setup.split.images.cpu().numpy()
    rows = read_rows(setup.weights.parent) if setup.weights.is_file() else []
    shown = _most_mistaken(metrics.confusion_matrix)
    # All texts but those called svg, which are markup, are escaped.
    template = environment().get_template("report.html.j2")
    page = template.render(
        title=f"{card.arch} on {evaluation.dataset}",
        subtitle=f"{metrics.n:,} images of {len(evaluation.classes)} classes; weights {setup.weights}",
        figures=_figures(report),
        classes=evaluation.classes,
        matrix=metrics.confusion_matrix,
        shown=shown,
        per_class=metrics.per_class,
        reliability=metrics.reliability,
        reliability_svg=as_svg(
            plot_reliability([tuple(asdict(b).values()) for b in metrics.reliability]), "reliability"
        ),
        risk_svg=as_svg(plot_risk([(p.coverage, p.risk, p.bound) for p in report.risk_coverage.points]), "risk"),
        mistakes=[
            asdict(mistake) | {"src": as_data_uri(images[mistake.index]), "link": _link(mistake.path)}
            for mistake in evaluation.mistakes(_MISTAKES)
        ],
        robustness=_robustness_content(robustness, metrics.accuracy) if robustness is not None else None,
        curves_svg=as_svg(plot_curves(rows), "curves") if rows else None,
        last_val_accuracy=rows[-1]["val_accuracy"] if rows else None,
        settings=_settings(report, command),
        footer=f"Written by lrnet-cli {__version__} on {time.strftime('%Y-%m-%d %H:%M %Z')}.",
        cells=_cells(evaluation, images, set(shown)),
    )
    with paths.write_errors(path):
        paths.write_text(path, page)


def write_robustness_plot(path: Path, networks: Mapping[str, tuple[float, Robustness]]) -> None:
    """Draw accuracy by severity to the PNG file ``path``, for named networks with their accuracy on clean images.

    Raises ``UsageError`` if the file cannot be written.
    """
    lines = {name: _accuracies(robustness, clean) for name, (clean, robustness) in networks.items()}
    with paths.write_errors(path), paths.replacing(path) as temporary:
        write_png(plot_robustness(lines), temporary)


def as_data_uri(pixels: NDArray[np.uint8]) -> str:
    """Return an image, uint8 (channels, side, side), as a PNG in a data URI."""
    stored = io.BytesIO()
    as_image(pixels.transpose(1, 2, 0)).save(stored, format="PNG", optimize=True)
    return data_uri("png", stored)


def _figures(report: Report) -> list[dict[str, str]]:
    """Return the figures as they are shown: name, value and what belongs beside it."""
    evaluation = report.evaluation
    figures = [{"name": f.name, "value": f"{f.value:.4f}", "note": f.remark} for f in report.figures()]
    speed = f"{evaluation.images_per_second:.0f} per second"
    return [*figures, {"name": "images", "value": f"{evaluation.metrics.n:,}", "note": speed}]


def _settings(report: Report, command: str) -> list[tuple[str, str]]:
    """Return how the figures came about: what was asked for, and where the weights are from."""
    request, weights, card = report.request, report.setup.weights, report.setup.card
    return [
        ("command", command),
        ("split", request.split + (f", {request.limit} images of it" if request.limit is not None else "")),
        ("views", "averaged over several (--tta)" if request.tta else "one"),
        ("device", report.setup.opened.runs_on),
        ("weights", f"{weights}\nSHA-256 {fingerprint_of(weights)}"),
        ("data", json.dumps(card.dataset, indent=1, ensure_ascii=False)),
        ("protocol", json.dumps(card.protocol, indent=1, ensure_ascii=False)),
        ("preprocessing", json.dumps(asdict(card.preprocessing))),
        ("head, temperature, seed", f"{card.head}, {card.temperature:.4f}, {card.seed}"),
        ("figures from training", json.dumps(card.metrics)),
        ("trained with", json.dumps(card.versions)),
    ]


def _accuracies(robustness: Robustness, clean: float) -> dict[str, list[float]]:
    return {name: [clean, *(case.accuracy for case in cases)] for name, cases in robustness.by_type().items()}


def _robustness_content(robustness: Robustness, clean: float) -> dict[str, Any]:
    accuracies = _accuracies(robustness, clean)
    lists = [
        {
            "title": title,
            "means": means_over(chain(*types.values())),
            "types": [
                {
                    "name": name.replace("_", " "),
                    "accuracies": [f"{accuracy:.4f}" for accuracy in accuracies[name]],
                    "means": means_over(cases),
                    "svg": as_svg(plot_severities(name, accuracies[name]), name),
                }
                for name, cases in types.items()
            ],
        }
        for title, types in robustness.lists().items()
    ]
    return {"whole": robustness, "lists": lists}


def _most_mistaken(matrix: tuple[tuple[int, ...], ...]) -> list[int]:
    """Return the classes to show a matrix of, in their order: all, or those with the most mistakes to or from them."""
    mistakes = [sum(row) + sum(other[index] for other in matrix) - 2 * row[index] for index, row in enumerate(matrix)]
    return sorted(sorted(range(len(matrix)), key=lambda index: -mistakes[index])[:_CLASSES])


def _link(path: str | None) -> str | None:
    return Path(path).resolve().as_uri() if path is not None and Path(path).is_file() else None


def _cells(evaluation: Evaluation, images: NDArray[np.uint8], shown: set[int]) -> dict[str, list[dict[str, Any]]]:
    """Return some images of every cell: the most confident mistakes, and the least confident correct ones."""
    values, predicted = evaluation.probabilities.max(1)
    chosen: dict[tuple[int, int], list[int]] = {}
    for index in values.argsort(descending=True, stable=True).tolist():
        chosen.setdefault((int(evaluation.labels[index]), int(predicted[index])), []).append(index)
    return {
        f"{true},{taken_for}": [
            {"src": as_data_uri(images[index]), "index": index, "probability": round(float(values[index]), 4)}
            for index in (indices[::-1] if true == taken_for else indices)[:_IMAGES_A_CELL]
        ]
        for (true, taken_for), indices in sorted(chosen.items())
        if {true, taken_for} <= shown
    }
