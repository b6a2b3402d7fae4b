"""The page that shows labels that look wrong, with their images."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from lrnet_cli import paths
from lrnet_cli.data.ahead import read_ahead
from lrnet_cli.data.images import Preprocessing, Read, read_image
from lrnet_cli.errors import ImageError
from lrnet_cli.report.page import as_data_uri, environment
from lrnet_cli.runs.suspects import Suspect

_SHOWN, _SIDE = 200, 96  # images, and their side in pixels


def write_suspects_page(path: Path, title: str, suspects: Sequence[Suspect]) -> None:
    """Write the first suspects to ``path`` as one self-contained HTML file."""
    page = environment().get_template("suspects.html.j2")
    files = (Path(suspect.file) for suspect in suspects[:_SHOWN])
    read = read_ahead(files, partial(read_image, preprocessing=Preprocessing(_SIDE, 3, "mixed"), invert="no"))
    shown = [_content(suspect, *one) for suspect, one in zip(suspects, read, strict=False)]
    paths.write_text(path, page.render(title=title, count=len(suspects), shown=shown))


def _content(suspect: Suspect, file: Path, outcome: Read | ImageError) -> dict[str, Any]:
    if isinstance(outcome, ImageError):
        return asdict(suspect) | {"src": None, "link": None}
    return asdict(suspect) | {"src": as_data_uri(outcome.pixels), "link": file.resolve().as_uri()}
