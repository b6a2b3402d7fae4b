"""Compared runs as cells, Markdown and bars."""

from collections.abc import Sequence
from pathlib import Path

from lrnet_cli import paths
from lrnet_cli.errors import UsageError
from lrnet_cli.escape import in_markdown
from lrnet_cli.runs.compare import ComparedRuns

COLUMNS = (
    *("data set", "network", "runs", "test accuracy", "95 % interval", "published", "parameters", "multiply-adds"),
    *("training images/s", "test images/s", "epochs", "minutes per run"),
)


def as_markdown(rows: Sequence[ComparedRuns]) -> str:
    """Return ``rows`` as a Markdown table with its legend."""
    lines = [" | ".join(map(in_markdown, line)) for line in (COLUMNS, *map(cells, rows))]
    lines.insert(1, " | ".join(["---"] * len(COLUMNS)))
    return "".join(f"| {line} |\n" for line in lines) + f"\n{legend(rows)}\n"


def write_comparison_plot(path: Path, rows: Sequence[ComparedRuns]) -> None:
    """Draw the accuracies of ``rows`` to the PNG file ``path``; raises ``UsageError`` if it cannot be written."""
    from lrnet_cli.plots import plot_comparison, write_png  # takes a second

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
    """Return the cells for the ``COLUMNS`` of a table for ``row``."""
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
    """Return the legend that a table of ``rows`` needs."""
    text = "Intervals: Wilson's over the test images"
    if any(row.accuracy.over == "seeds" for row in rows):
        text += "; with a star Student's, of the mean over seeds"
    if any(row.published is not None for row in rows):
        text += ". Published runs had their epoch chosen on the test images; these did not"
    return text + "."


def _network(row: ComparedRuns) -> str:
    given = {name: value for name, value in row.settings.items() if value not in (None, (), [])}
    shown = {name: " + ".join(value) if isinstance(value, tuple | list) else value for name, value in given.items()}
    settings = ", ".join(f"{name} {value}" for name, value in shown.items())
    return f"{row.arch} ({settings})" if settings else row.arch
