"""``lrnet check``."""

from typing import TYPE_CHECKING

import typer

from lrnet_cli import paths
from lrnet_cli.cli import output
from lrnet_cli.cli.options import Json
from lrnet_cli.cli.output import Output
from lrnet_cli.cli.settings import with_request
from lrnet_cli.settings.requests import CheckRequest

if TYPE_CHECKING:
    from lrnet_cli.data.check import Check
    from lrnet_cli.training.advice import Advice

EXAMPLES = (
    "lrnet check stamps/",
    "lrnet check stamps/ --try 2m",
    "lrnet check list.csv --report check.html",
    "lrnet check fashion --json",
)
_DESERVES_A_LOOK = 3


@with_request(CheckRequest)
def check_command(request: CheckRequest, json: Json = False) -> None:
    """Check a data set before training: counts, damaged files, duplicates, wrong labels, what training would do."""
    from lrnet_cli.data.check import check_dataset
    from lrnet_cli.training.advice import advise

    if request.report is not None:
        paths.check_writable(request.report)
    with output.LoadBars() as bars:
        checked = check_dataset(request, bars)
        advice = advise(request, bars) if checked.refusal is None else None
    out = Output(json)
    out.document(checked.document() | {"advice": advice and advice.document()})
    _show(checked, advice, out)
    if request.report is not None:  # last: what is printed is not lost if this fails
        from lrnet_cli.report.check import write_check_page  # matplotlib takes a second

        for page in write_check_page(request.report, checked, request.dataset, advice.rows if advice else ()):
            output.message(f"Report: {page}")
    if checked.findings:
        raise typer.Exit(_DESERVES_A_LOOK)


def _show(checked: "Check", advice: "Advice | None", out: Output) -> None:
    from lrnet_cli.data.reading import kinds_of

    counts = checked.counts
    totals = {split: sum(of_split.values()) for split, of_split in counts.items()}
    images = ", ".join(f"{count} {split}" for split, count in totals.items())
    smallest, middle, largest = checked.sides
    out.line(f"{checked.name}: {sum(totals.values())} images ({images}) in {len(checked.classes)} classes")
    out.table(
        ("class", *counts),
        ((label, *(of_split.get(label, 0) for of_split in counts.values())) for label in checked.classes),
    )
    sides = f"{smallest} to {largest} pixels, median {middle:g}" if smallest < largest else f"{largest} pixels"
    out.line(f"  longer side   {sides}")
    out.line(f"  colour        {checked.colour_said}")
    out.line(f"  polarity      {', '.join(f'{count} {kind}' for kind, count in checked.polarity.items())}")
    if checked.left_out:
        out.line(f"  left out      {', '.join(kinds_of(checked.left_out))}")
    if advice is not None:
        out.line("lrnet train would choose:")
        for name, text in advice.rows:
            out.line(f"  {name:<15} {text}")
    out.line("Nothing is worth checking." if not checked.findings else "Worth checking:")
    for finding in checked.findings:
        out.line(f"  - {finding}")
