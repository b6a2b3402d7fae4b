"""Which data set weights are evaluated on: the one that is named, or the one that they were trained on."""

from contextlib import suppress
from pathlib import Path
from typing import Any, TypedDict

from lrnet_cli import paths
from lrnet_cli.data.catalog import KNOWN_NAMES
from lrnet_cli.data.datasets import Dataset, load_dataset, name_of
from lrnet_cli.data.images import ImageOptions
from lrnet_cli.documents import parsed, read_document
from lrnet_cli.errors import DataError, UsageError
from lrnet_cli.reporter import OnMessage, Reporter
from lrnet_cli.settings.place import Source
from lrnet_cli.settings.words import Invert
from lrnet_cli.weights.card import WeightsCard


class _RunNote(TypedDict):
    settings: dict[str, Any]


def dataset_for(weights: Path, card: WeightsCard, dataset: str | None) -> str:
    """Return ``dataset``, or else the known one that the weights were trained on, or the path that their run recorded.

    The content of a recorded path may have changed since: see ``check_recorded``. Raises ``UsageError`` if there is
    neither.
    """
    name = dataset or str(card.dataset.get("name"))
    if dataset is not None or name in KNOWN_NAMES:
        return name
    recorded = _recorded(weights)
    # Several folds have together seen all images; the content hash in their card is that of a single fold.
    if recorded is None or card.protocol.get("folds") or not Path(recorded).exists():
        raise UsageError(
            f"{weights}: was trained on {name}, which is not a known data set; give its path with --dataset."
        )
    return recorded


def check_recorded(
    weights: Path, card: WeightsCard, dataset: str | None, loaded: Dataset, on_message: OnMessage
) -> None:
    """Raise ``UsageError`` if ``loaded`` is from a recorded path, not from ``dataset``, and has changed since."""
    if dataset is not None or loaded.name in KNOWN_NAMES:
        return
    path = _recorded(weights)
    if loaded.content_sha256 != card.dataset.get("content_sha256"):
        raise UsageError(
            f"{weights}: was trained on {path}, whose images are no longer the same (or are changed by --invert); "
            "give the path of a data set with --dataset."
        )
    on_message(f"Data set: {path}, on which the weights were trained, unchanged since.")


def load_for(
    card: WeightsCard, name: str, invert: Invert, source: Source, reporter: Reporter
) -> tuple[Dataset, tuple[int, int] | None]:
    """Return the data set ``name`` as weights with this ``card`` read it, and which fold of it, of how many, tests.

    That is the fold that the weights did not see, if they are of a cross-validation of these very images. Of a data set
    of the same name that differs, even by an image, folds would be other ones: it is returned whole.
    """
    options = ImageOptions(preprocessing=card.preprocessing, invert=invert)
    fold = card.protocol.get("test_fold") if name_of(name) == card.dataset.get("name") else None
    if fold is None:
        return load_dataset(name, options, source=source, reporter=reporter), None
    with suppress(DataError):  # of other images, which may be too few for folds
        loaded = load_dataset(name, options, fold=fold, source=source, reporter=reporter)
        if loaded.content_sha256 == card.dataset.get("content_sha256"):
            return loaded, fold
    return load_dataset(name, options, source=source), None


def _recorded(weights: Path) -> str | None:
    """Return the data set in the settings of the run, or of the several runs, that ``weights`` are from, if any."""
    series = weights / paths.SERIES_NAME
    try:
        text = read_document(series if series.is_file() else weights.with_name("config.json"))
        dataset = parsed(text, _RunNote)["settings"].get("dataset")
    except (OSError, ValueError):
        return None
    return dataset if isinstance(dataset, str) else None
