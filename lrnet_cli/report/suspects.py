"""The page that shows labels that look wrong, with their images."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lrnet_cli import paths
from lrnet_cli.data.images import Preprocessing, prepare
from lrnet_cli.errors import ImageError
from lrnet_cli.report.page import as_data_uri, environment
from lrnet_cli.runs.suspects import Suspect

_SHOWN, _SIDE = 200, 96  # images, and their side in pixels


def write_suspects_page(path: Path, title: str, suspects: Sequence[Suspect]) -> None:
    """Write the first suspects to ``path`` as one self-contained HTML file."""
    page = environment().get_template("suspects.html.j2")
    shown = [_content(suspect) for suspect in suspects[:_SHOWN]]
    paths.write_text(path, page.render(title=title, count=len(suspects), shown=shown))


def _content(suspect: Suspect) -> dict[str, Any]:
    file, source = Path(suspect.file), None
    if file.is_file():
        try:
            source = as_data_uri(prepare(file, Preprocessing(_SIDE, 3, "mixed"), "no")[0])
        except ImageError:
            source = None
    return asdict(suspect) | {"src": source, "link": file.resolve().as_uri() if source is not None else None}
