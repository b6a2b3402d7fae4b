"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lrnet_cli.data.catalog import KNOWN_NAMES
from lrnet_cli.settings import words


def complete_weights(incomplete: str) -> list[str]:
    """Return released networks, and files and folders, whose names begin with ``incomplete``."""
    from lrnet_cli.weights.find import RELEASED  # loads Pillow

    return [name for name in RELEASED if name.startswith(incomplete)] + _paths(incomplete)


def complete_dataset(incomplete: str) -> list[str]:
    """Return known data sets, and files and folders, whose names begin with ``incomplete``."""
    return [name for name in KNOWN_NAMES if name.startswith(incomplete)] + _paths(incomplete)


def _paths(incomplete: str) -> list[str]:
    parent = Path(incomplete) if incomplete.endswith("/") else Path(incomplete).parent
    shown = "" if str(parent) == "." and not incomplete.startswith("./") else f"{str(parent).rstrip('/')}/"
    try:
        found = [f"{shown}{entry.name}{'/' if entry.is_dir() else ''}" for entry in sorted(parent.iterdir())]
    except OSError:
        return []
    return [path for path in found if path.startswith(incomplete) and path.isprintable()]


def _of_weights(text: str) -> Any:
    return typer.Option(
        help=text,
        show_default="the known one that the weights were trained on",
        autocompletion=complete_dataset,
    )


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, and nothing else, on stdout.")]
Weights = Annotated[
    str | None,
    typer.Option(
        help="A weight file, a run folder, or a released network: digits, fashion or fashion-clean.",
        show_default="the newest run of this user, else digits",
        autocompletion=complete_weights,
    ),
]
Judged = Annotated[str | None, _of_weights("A known data set or a path.")]
Calibrating = Annotated[
    str | None,
    _of_weights("With --int8: a known data set or a path, half of whose validation images calibrate, half judge."),
]
Spreadsheet = Annotated[
    bool,
    typer.Option(
        "--spreadsheet",
        help="Write CSV for a spreadsheet: an apostrophe before text that it would take for a formula.",
    ),
]
Invert = Annotated[
    words.Invert,
    typer.Option(
        help="Swap light and dark: yes, no, or auto: decided for each image by the polarity of the training images."
    ),
]
