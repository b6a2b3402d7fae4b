"""The pages on a data set that was checked: counts, findings, a contact sheet, and copies to be answered."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lrnet_cli import paths
from lrnet_cli.data.check import Check, Pair
from lrnet_cli.data.images import Preprocessing, prepare
from lrnet_cli.report.page import as_data_uri
from lrnet_cli.review.collection import copies_to_review, listed_items
from lrnet_cli.review.document import environment
from lrnet_cli.review.page import write_pages

_OF_A_CLASS = 12  # images on the sheet
_SHOWN = Preprocessing(56, 3, "mixed")  # how images are shown
_SHOWN_PAIRS, _MOST_PAIRS = 30, 5_000  # on this page, and to be answered


def write_check_page(path: Path, checked: Check, dataset: str, advice: Sequence[tuple[str, str]] = ()) -> list[Path]:
    """Write the page on ``dataset`` to ``path``, one self-contained HTML file, and return what was written.

    ``advice`` are rows on how it would be trained on. If image files are copies of each other, a second page beside
    it, called like it with ``-copies`` added, shows them side by side and takes answers. Raises ``UsageError`` if a
    page cannot be written.
    """
    written, copies = [path], list[Path]()
    pairs = [pair for pair in checked.copies if Path(pair.first).is_file() and Path(pair.second).is_file()]
    pairs.sort(key=lambda pair: (pair.labels[0] == pair.labels[1], pair.splits[0] == pair.splits[1], not pair.exact))
    if pairs:
        listed = listed_items(paths.expanded(dataset).resolve())
        review = copies_to_review(f"Duplicates in {checked.name}", pairs[:_MOST_PAIRS], listed)
        copies = write_pages(path.with_stem(f"{path.stem}-copies"), review).pages
    page = environment().get_template("check.html.j2")
    shown = [_pair(pair) for pair in pairs[:_SHOWN_PAIRS]]
    content = {"name": checked.name, "found": checked, "sheet": _sheet(checked), "pairs": shown, "advice": advice}
    with paths.write_errors(path):
        paths.write_text(path, page.render(**content, count=len(pairs), answer=copies[0].name if copies else None))
    return [*written, *copies]


def _pair(pair: Pair) -> dict[str, Any]:
    """Return two copies as they are shown."""
    sources = [as_data_uri(prepare(Path(name), _SHOWN, "no")[0]) for name in (pair.first, pair.second)]
    names = [Path(name).name for name in (pair.first, pair.second)]
    return {"exact": pair.exact, "images": list(zip(sources, names, pair.labels, pair.splits, strict=True))}


def _sheet(checked: Check) -> list[dict[str, Any]]:
    """Return, for each class, the first training images that can be read."""
    raw, damaged = checked.source, {item.path for item in checked.damaged}
    rows = []
    for index, label in enumerate(raw.classes):
        shown = []
        for place in np.flatnonzero(raw.train.labels == index):
            image = raw.train.images[int(place)]
            if isinstance(image, Path) and str(image) in damaged:  # and may have ended the process that read it
                continue
            shown.append(as_data_uri(prepare(image, _SHOWN, "no")[0]))
            if len(shown) == _OF_A_CLASS:
                break
        rows.append({"label": label, "images": shown})
    return rows
