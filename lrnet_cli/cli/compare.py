"""``lrnet compare``."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lrnet_cli.cli import output
from lrnet_cli.cli.options import Json
from lrnet_cli.errors import UsageError


def compare_command(
    runs: Annotated[
        list[str],
        typer.Argument(help="Run folders, folders of them, or names of released weights.", show_default=False),
    ],
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the accuracies as bars, with their intervals, to this PNG file.")
    ] = None,
    json: Json = False,
) -> None:
    """Put finished runs beside one another and beside the published figures, a row for each recipe and data set."""
    if json and markdown:
        raise UsageError("--json and --markdown are two forms of one table; choose one.")
    from lrnet_cli.training.compare import (
        COLUMNS,
        as_markdown,
        cells,
        compare_runs,
        find_runs,
        legend,
        write_comparison_plot,
    )
    from lrnet_cli.weights import RELEASED, find_weights

    folders = [
        folder
        for name in runs
        for folder in find_runs(
            find_weights(name).parent if name in RELEASED else Path(name).expanduser(), output.message
        )
    ]
    rows = compare_runs(folders)
    if plot is not None:
        write_comparison_plot(plot, rows)
    if json:
        output.print_json({"schema": "lrnet.compare/1", "rows": [asdict(row) for row in rows]})
    elif markdown:
        print(as_markdown(rows), end="")
    else:
        output.print_table(COLUMNS, map(cells, rows))
        print(legend(rows))
