"""Compared runs as cells, Markdown and bars."""

from collections.abc import Sequence
from pathlib import Path

from lrnet_cli import paths
from lrnet_cli.escape import in_markdown
from lrnet_cli.runs.compare import ComparedRuns

COLUMNS = (
    *("data set", "network", "runs", "test accuracy", "95% interval", "published", "parameters", "multiply-adds"),
    *("training images/s", "test images/s", "epochs", "minutes per run"),
)
_RESULTS = 6  # this many columns say how well the runs did, the others what they cost


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
    with paths.write_errors(path), paths.replacing(path) as temporary:
        write_png(plot_comparison(panels), temporary)


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


_NARROW = {"test accuracy": "accuracy", "multiply-adds": "multiply adds"}  # or they would not fit, or be cut


def narrow_tables(rows: Sequence[ComparedRuns]) -> tuple[list[str], list[tuple[list[str], list[list[str]]]]]:
    """Return sentences on ``rows``, and two tables of them, columns and lines: results, then costs.

    Neither is wider than a terminal of 80 columns: what all rows have in common, and the settings in which they differ,
    is in the sentences.
    """
    lines = [(cell[0], row.arch, *cell[2:]) for row, cell in zip(rows, map(cells, rows), strict=True)]
    by_column = {name: column for name, *column in zip(COLUMNS, *lines, strict=True)}
    same = [
        name
        for name, column in by_column.items()
        if len(rows) > 1 and len(set(column)) == 1 and name not in ("network", "test accuracy")
    ]
    tables = []
    for part in (COLUMNS[:_RESULTS], COLUMNS[_RESULTS:]):
        shown = [name for name in part if name not in same and any(by_column[name])]
        if shown:
            cells_of = zip(*(by_column[name] for name in shown), strict=True)
            heads = ["#", *(_NARROW.get(name, name) for name in shown)]
            tables.append((heads, [[str(number), *line] for number, line in enumerate(cells_of, 1)]))
    common = ", ".join(f"{name} {by_column[name][0]}" for name in same if by_column[name][0])
    sentences = [f"The same in all rows: {common}"] if common else []
    return sentences + [f"#{n}: {text}" for n, row in enumerate(rows, 1) if (text := _settings(row))], tables


def legend(rows: Sequence[ComparedRuns]) -> str:
    """Return the legend that a table of ``rows`` needs."""
    text = "Intervals: Wilson's over the test images"
    if any(row.accuracy.over == "seeds" for row in rows):
        text += "; with a star Student's, of the mean over seeds"
    if any(row.published is not None for row in rows):
        text += ". Published runs had their epoch chosen on the test images; these did not"
    return text + "."


def _network(row: ComparedRuns) -> str:
    settings = _settings(row)
    return f"{row.arch} ({settings})" if settings else row.arch


def _settings(row: ComparedRuns) -> str:
    return ", ".join(
        f"{name} {' + '.join(value) if isinstance(value, tuple | list) else value}"
        for name, value in row.settings.items()
        if value not in (None, (), [])
    )
