"""``lrnet check``."""

from typing import TYPE_CHECKING

import typer

from lrnet_cli.cli import output
from lrnet_cli.cli.options import Json
from lrnet_cli.cli.output import Output
from lrnet_cli.cli.settings import with_request
from lrnet_cli.settings.requests import CheckRequest

if TYPE_CHECKING:
    from lrnet_cli.data.check import Check

EXAMPLES = ("lrnet check stamps/", "lrnet check list.csv --report check.html", "lrnet check fashion --json")
_DESERVES_A_LOOK = 3


@with_request(CheckRequest)
def check_command(request: CheckRequest, json: Json = False) -> None:
    """Look at a data set before training on it: counts, sizes, damaged files, copies, contradicting labels, detail."""
    from lrnet_cli.data.check import check_dataset

    with output.LoadBars() as bars:
        checked = check_dataset(request, bars)
    if request.report is not None:
        from lrnet_cli.report.check import write_check_page  # matplotlib takes a second

        for page in write_check_page(request.report, checked, request.dataset):
            output.message(f"Report: {page}")
    out = Output(json)
    out.document(checked.document())
    _show(checked, out)
    if checked.findings:
        raise typer.Exit(_DESERVES_A_LOOK)


def _show(checked: "Check", out: Output) -> None:
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
    out.line(f"  longer side   {smallest} to {largest} pixels, median {middle:g}")
    out.line(f"  colour        {checked.colour} images in colour, the others grey")
    out.line(f"  polarity      {', '.join(f'{count} {kind}' for kind, count in checked.polarity.items())}")
    kept = ", ".join(f"{100 * share:.0f} % at {size}" for size, share in checked.detail.items() if size <= 2 * largest)
    out.line(f"  detail kept   {kept}")
    advised = f"at most --image-size {checked.advised_size}; lrnet train chooses a size itself"
    out.line(f"  advice        {advised}{'; --channels 3 keeps the colour' if checked.colour else ''}")
    if checked.left_out:
        out.line(f"  left out      {', '.join(kinds_of(checked.left_out))}")
    out.line("Nothing is worth checking." if not checked.findings else "Worth checking:")
    for finding in checked.findings:
        out.line(f"  - {finding}")
