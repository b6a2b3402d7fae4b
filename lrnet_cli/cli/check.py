"""``lrnet check``."""

from dataclasses import asdict
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
    dataset, report = request.dataset, request.report
    from lrnet_cli.data.check import check
    from lrnet_cli.data.datasets import name_of, read_source

    with output.LoadBars() as bars:
        raw = read_source(
            dataset,
            on_progress=bars.download,
            on_message=output.message,
            mirror=request.mirror,
            data_dir=request.data_dir,
        )
        found = check(raw, bars.pictures)
    if report is not None:
        from lrnet_cli.report.check import write_check_page  # matplotlib takes a second

        write_check_page(report, name_of(dataset), raw, found)
        output.message(f"Report: {report}")
    out = Output(json)
    out.document(
        {"schema": "lrnet.check/1", "dataset": name_of(dataset)} | asdict(found) | {"findings": found.findings}
    )
    _show(out, name_of(dataset), found)
    if found.findings:
        raise typer.Exit(_DESERVES_A_LOOK)


def _show(out: Output, name: str, found: "Check") -> None:
    counts = found.counts
    totals = {split: sum(of_split.values()) for split, of_split in counts.items()}
    pictures = ", ".join(f"{count} {split}" for split, count in totals.items())
    smallest, middle, largest = found.sides
    out.line(f"{name}: {sum(totals.values())} pictures ({pictures}) in {len(found.classes)} classes")
    out.table(
        ("class", *counts),
        ((label, *(of_split.get(label, 0) for of_split in counts.values())) for label in found.classes),
    )
    out.line(f"  longer side   {smallest} to {largest} pixels, median {middle:g}")
    out.line(f"  colour        {found.colour} pictures in colour, the others grey")
    out.line(f"  polarity      {', '.join(f'{count} {kind}' for kind, count in found.polarity.items())}")
    kept = ", ".join(f"{100 * share:.0f} % at {size}" for size, share in found.detail.items() if size <= 2 * largest)
    out.line(f"  detail kept   {kept}")
    out.line(f"  advice        --image-size {found.advised_size}{' --channels 3' if found.colour else ''}")
    if found.left_out:
        out.line(f"  left out      {', '.join(f'{count} {kind}' for kind, count in found.left_out.items())}")
    out.line("Nothing deserves a look." if not found.findings else "What deserves a look:")
    for finding in found.findings:
        out.line(f"  - {finding}")
