"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from lrnet_cli.data.catalog import KNOWN_NAMES


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
        matches = [f"{shown}{entry.name}{'/' if entry.is_dir() else ''}" for entry in sorted(parent.iterdir())]
    except OSError:
        return []
    return [path for path in matches if path.startswith(incomplete) and path.isprintable()]


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, and nothing else, on stdout.")]
