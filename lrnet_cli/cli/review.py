"""``lrnet review``."""

import typer

from lrnet_cli.cli import output
from lrnet_cli.cli.options import Json
from lrnet_cli.cli.output import Output
from lrnet_cli.cli.settings import with_request
from lrnet_cli.reporter import counted
from lrnet_cli.settings.requests import ReviewRequest

EXAMPLES = (
    "lrnet review labels.csv",
    "lrnet review scans/ --select 200",
    "lrnet review runs/folds --output suspects.html",
    "lrnet review labels.csv --answers reviewed.csv --output all.csv",
)


@with_request(ReviewRequest)
def review_command(request: ReviewRequest, json: Json = False) -> None:
    """Write a page in which a person confirms and corrects labels, by keyboard; it works without a server."""
    from lrnet_cli.review.job import make_review  # loads PyTorch

    with output.LoadBars() as bars:
        made = make_review(request, bars)
    out = Output(json)
    out.document(
        {
            "schema": "lrnet.review/1",
            "pages": [str(path) for path in made.pages],
            "list": None if made.written_list is None else str(made.written_list),
            "images": made.images,
            "answers": made.answers,
            "unread": [{"path": path, "reason": reason} for path, reason in made.unread],
        }
    )
    for written in made.pages or (made.written_list,):
        out.line(str(written))
    output.message(f"{counted(made.images, 'image', 'images')}, {made.answers} of them answered.")
    if made.pages:
        output.message("Open the page in a browser; the key ? shows what its keys do.")
    output.unreadable(made.unread)
    if made.unread:
        raise typer.Exit(3)
