"""``lrnet select``."""

import typer

from lrnet_cli.cli import output
from lrnet_cli.cli.options import Json
from lrnet_cli.cli.output import Output
from lrnet_cli.cli.settings import with_request
from lrnet_cli.escape import in_shell
from lrnet_cli.settings.requests import SelectRequest

EXAMPLES = (
    "lrnet select scans/ --n 200",
    "lrnet select scans/ --weights runs/first --answers selected-reviewed.csv --output second.csv",
)


@with_request(SelectRequest)
def select_command(request: SelectRequest, json: Json = False) -> None:
    """Select the images that a person should label first: as different as possible, and a tenth at random."""
    from lrnet_cli.selection.job import refuse_existing, select_images  # loads PyTorch

    refuse_existing(request.output)
    with output.LoadBars() as bars:
        selection = select_images(request, bars)
    selection.write(request.output)
    out = Output(json)
    out.document(selection.document() | {"output": str(request.output)})
    out.line(str(request.output))
    output.message(selection.summary)
    output.message(f"Label them in a page: {in_shell('lrnet', 'review', request.output)}")
    output.unreadable(selection.unread)
    if selection.unread:
        raise typer.Exit(3)
