"""Options that several commands share."""

from typing import Annotated

import typer

from lrnet_cli.settings import words

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, and nothing else, on stdout.")]
Weights = Annotated[
    str | None,
    typer.Option(
        help="A weight file, a run folder, or a released network: digits or fashion.",
        show_default="the newest run of this user, else digits",
    ),
]
Invert = Annotated[
    words.Invert,
    typer.Option(help="Swap light and dark: auto decides for each picture by the polarity of the training pictures."),
]
