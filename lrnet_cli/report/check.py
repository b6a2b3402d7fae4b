"""The page on a data set that was checked: counts, findings, and a contact sheet."""

from pathlib import Path
from typing import Any

import numpy as np

from lrnet_cli import paths
from lrnet_cli.data.check import Check
from lrnet_cli.data.images import Preprocessing, prepare
from lrnet_cli.data.readers.raw import RawDataset
from lrnet_cli.errors import ImageError, UsageError
from lrnet_cli.report.page import as_data_uri, environment

_OF_A_CLASS, _SIDE = 12, 56  # images on the sheet, and their side in pixels


def write_check_page(path: Path, checked: Check) -> None:
    """Write the page to ``path``, one self-contained HTML file; raises ``UsageError`` if it cannot be written."""
    page = environment().get_template("check.html.j2")
    try:
        paths.write_text(path, page.render(name=checked.name, found=checked, sheet=_sheet(checked.source)))
    except OSError as error:
        raise UsageError(f"{path}: the page cannot be written ({error.strerror or error}).") from error


def _sheet(raw: RawDataset) -> list[dict[str, Any]]:
    """Return, for each class, the first training images that can be read."""
    look = Preprocessing(_SIDE, 3, "mixed")
    rows = []
    for index, label in enumerate(raw.classes):
        shown = []
        for place in np.flatnonzero(raw.train.labels == index):
            try:
                pixels, _ = prepare(raw.train.images[int(place)], look, "no")
            except ImageError:
                continue
            shown.append(as_data_uri(pixels))
            if len(shown) == _OF_A_CLASS:
                break
        rows.append({"label": label, "images": shown})
    return rows
