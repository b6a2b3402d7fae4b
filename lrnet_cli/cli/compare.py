"""``lrnet compare``."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lrnet_cli import paths
from lrnet_cli.cli import output
from lrnet_cli.cli.options import Json
from lrnet_cli.cli.output import Output
from lrnet_cli.errors import UsageError

EXAMPLES = ("lrnet compare runs/", "lrnet compare digits runs/mine --plot accuracies.png", "lrnet compare runs/ --json")


def compare_command(
    runs: Annotated[
        list[str],
        typer.Argument(help="Run folders, folders of them, or names of released weights.", show_default=False),
    ],
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Plot the accuracies as bars, with their intervals, to this PNG file.")
    ] = None,
    json: Json = False,
) -> None:
    """Compare finished runs with each other and the published figures, one row per recipe and data set."""
    if json and markdown:
        raise UsageError("--json and --markdown are two formats of one table; choose one.")
    from lrnet_cli.runs.compare import compare_runs, find_runs
    from lrnet_cli.runs.table import as_markdown, legend, narrow_tables, write_comparison_plot
    from lrnet_cli.weights.find import RELEASED

    folders = [
        folder for name in runs for folder in find_runs(RELEASED.get(name, paths.expanded(name)), output.message)
    ]
    rows = compare_runs(folders)
    if plot is not None:
        write_comparison_plot(plot, rows)
    out = Output(json)
    out.document({"schema": "lrnet.compare/1", "rows": [asdict(row) for row in rows]})
    if markdown:
        print(as_markdown(rows), end="")
        return
    sentences, tables = narrow_tables(rows)
    for sentence in sentences:
        out.line(sentence)
    for columns, lines in tables:
        out.table(columns, lines)
    out.line(legend(rows))
