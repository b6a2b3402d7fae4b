"""The page on a data set that was checked: counts, findings, and a contact sheet."""

from pathlib import Path
from typing import Any

import numpy as np

from lrnet_cli import paths
from lrnet_cli.data.check import Check
from lrnet_cli.data.images import Preprocessing, prepare
from lrnet_cli.errors import UsageError
from lrnet_cli.report.page import as_data_uri, environment

_OF_A_CLASS, _SIDE = 12, 56  # images on the sheet, and their side in pixels


def write_check_page(path: Path, checked: Check) -> None:
    """Write the page to ``path``, one self-contained HTML file; raises ``UsageError`` if it cannot be written."""
    page = environment().get_template("check.html.j2")
    try:
        paths.write_text(path, page.render(name=checked.name, found=checked, sheet=_sheet(checked)))
    except OSError as error:
        raise UsageError(f"{path}: the page cannot be written ({error.strerror or error}).") from error


def _sheet(checked: Check) -> list[dict[str, Any]]:
    """Return, for each class, the first training images that can be read."""
    look, raw, damaged = Preprocessing(_SIDE, 3, "mixed"), checked.source, {item.path for item in checked.damaged}
    rows = []
    for index, label in enumerate(raw.classes):
        shown = []
        for place in np.flatnonzero(raw.train.labels == index):
            image = raw.train.images[int(place)]
            if isinstance(image, Path) and str(image) in damaged:  # and may have ended the process that read it
                continue
            shown.append(as_data_uri(prepare(image, look, "no")[0]))
            if len(shown) == _OF_A_CLASS:
                break
        rows.append({"label": label, "images": shown})
    return rows
