"""The job of ``lrnet select``: from image files to the list of those that a person labels first."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lrnet_cli import paths
from lrnet_cli.data.readers.manifest import Listed, read_reviewed
from lrnet_cli.errors import DataError, SettingError
from lrnet_cli.models.features import points_of
from lrnet_cli.models.heads import probabilities
from lrnet_cli.predict.inputs import find_inputs
from lrnet_cli.reporter import SILENT, Reporter
from lrnet_cli.selection.outputs import seen
from lrnet_cli.selection.spread import spread
from lrnet_cli.settings.place import Place
from lrnet_cli.settings.requests import SelectRequest
from lrnet_cli.weights.card import WeightsCard
from lrnet_cli.weights.find import find_weights
from lrnet_cli.weights.open import open_network

_RANDOM_SHARE = 0.1
LIST_COLUMNS = ("file_name", "label", "reviewed", "previous", "split", "group")
"""Of the list that a person answers: its split and its group are left out where they say nothing."""


@dataclass(frozen=True)
class Selection:
    """The images to label, of ``pool`` without a label: ``chosen`` ones, and ``random`` ones for validation.

    ``answered`` are the rows with an answer of before, and ``by`` says what was preferred in a cluster: its most
    ``central`` image, or the one with the smallest ``margin`` between its two likeliest labels. ``unread`` are files
    that cannot be read, with the reason.
    """

    chosen: tuple[Listed, ...]
    random: tuple[Listed, ...]
    answered: tuple[Listed, ...]
    by: Literal["central", "margin"]
    pool: int
    weights: Path | None
    unread: tuple[tuple[str, str], ...]

    @property
    def rows(self) -> tuple[Listed, ...]:
        """Those answered before, and those to label, as the list has them."""
        return (*self.answered, *self.chosen, *self.random)

    @property
    def summary(self) -> str:
        """What was selected, in a sentence or two."""
        how = "that differ most" if self.by == "central" else "about which the network is least sure, of every kind"
        return (
            f"{len(self.chosen) + len(self.random)} of {self.pool} images without a label: {len(self.chosen)} {how}, "
            f"and {len(self.random)} at random, for validation only."
        )

    def write(self, path: Path) -> None:
        """Write the list that a review page and ``lrnet train`` read; raises ``UsageError`` if it cannot."""
        has_groups = any(row.group for row in self.rows)
        rows = (
            (row.name, row.label, "yes" if row.reviewed else "", row.previous, row.split, row.group)[: 5 + has_groups]
            for row in self.rows
        )
        with paths.write_errors(path):
            paths.write_table(path, LIST_COLUMNS[: 5 + has_groups], rows)

    def document(self) -> dict[str, Any]:
        """Return the JSON document."""
        return {
            "schema": "lrnet.select/1",
            "chosen": [row.name for row in self.chosen],
            "random": [row.name for row in self.random],
            "answered": len(self.answered),
            "by": self.by,
            "pool": self.pool,
            "weights": None if self.weights is None else str(self.weights),
            "unread": [{"path": path, "reason": reason} for path, reason in self.unread],
        }


def select_images(request: SelectRequest, reporter: Reporter = SILENT) -> Selection:
    """Select ``request.n`` images to be labelled: a tenth at random, the others as different as possible.

    The random ones are of the split ``val``, so that no training learns from them: what a network is measured by, and
    what a promise rests on, must be drawn as the images are that it will label. Raises ``DataError`` for answers that
    cannot be read or if no image is left, ``UsageError`` for inputs without images, ``WeightsError`` for weights that
    cannot be used.
    """
    answered = {paths.absolute(row.file): row for row in read_reviewed(request.answers)}
    weights = None if request.weights is None else find_weights(request.weights)
    opened = None if weights is None else open_network(weights, Place(device=request.device, threads=request.threads))
    by = "" if opened is None else f" and by {weights}, {opened.runs_on}"
    reporter.message(f"Comparing the images by their edges{by}.")
    files = list(dict.fromkeys(paths.absolute(path) for path in find_inputs(request.inputs)))
    read, unread, edges, logits, features = seen(files, opened, reporter)
    known = np.array([index for index, path in enumerate(read) if path in answered], dtype=np.int64)
    pool = np.setdiff1d(np.arange(len(read)), known)
    if not len(pool):
        raise DataError(f"No image is left to select: {len(known)} are answered, and {len(unread)} cannot be read.")
    if len(pool) <= request.n:
        reporter.message(f"Only {len(pool)} images have no answer yet; all of them are selected.")
    count = min(request.n, len(pool))
    drawn = np.sort(np.random.default_rng(request.seed).choice(pool, round(_RANDOM_SHARE * count), replace=False))
    doubt = None if opened is None or logits is None else _doubt_of(logits, opened.card, answered, reporter)
    points = points_of(edges, features)
    if doubt is None:  # far from what is known; the drawn ones will be
        others = np.setdiff1d(np.arange(len(read)), drawn)
        places = spread(points[others], count - len(drawn), request.seed, np.flatnonzero(np.isin(others, known)))
    else:
        others = np.setdiff1d(pool, drawn)
        none = np.empty(0, dtype=np.int64)
        places = spread(points[others], count - len(drawn), request.seed, none, doubt[others])
    return Selection(
        chosen=tuple(_to_label(read[index], "train") for index in others[places].tolist()),
        random=tuple(_to_label(read[index], "val") for index in drawn.tolist()),
        answered=tuple(replace(row, name=path) for path, row in answered.items()),
        by="central" if doubt is None else "margin",
        pool=len(pool),
        weights=weights,
        unread=tuple(unread),
    )


def refuse_existing(path: Path) -> None:
    """Raise ``UsageError`` if the list ``path`` exists, or cannot be written, before the work is done."""
    if path.exists():
        raise SettingError("{path}: exists already, perhaps with answers; choose another file for {output}.", path=path)
    paths.check_writable(path)


def _to_label(path: str, split: Literal["train", "val"]) -> Listed:
    return Listed(path, Path(path), label="", split=split, group="", reviewed=False, previous="")


def _doubt_of(
    logits: Tensor, card: WeightsCard, answered: Mapping[str, Listed], reporter: Reporter
) -> NDArray[np.float64] | None:
    """Return how doubtful the label of each image is, (N,), from -1 to 0; None if the network has other labels."""
    labels = {row.label for row in answered.values() if row.label}
    if not labels:
        return None
    if strange := labels - set(card.classes):
        reporter.message(
            f"The network does not know {len(strange)} of the labels, such as {min(strange)}, so its doubt does not "
            "count; train one on the answers first for that."
        )
        return None
    best = probabilities(logits.double().nan_to_num(0.0) / card.temperature, card.head).topk(2).values
    doubt: NDArray[np.float64] = (best[:, 1] - best[:, 0]).numpy()
    return doubt
