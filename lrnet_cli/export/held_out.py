"""The images that calibrate and evaluate an export in int8: such as the network was not trained on, if known."""

from pathlib import Path

from lrnet_cli.data.datasets import Dataset, with_classes_of
from lrnet_cli.data.splits import Split, cut_validation, limited
from lrnet_cli.errors import DataError
from lrnet_cli.evaluation.source import check_recorded, dataset_for, load_for
from lrnet_cli.reporter import Reporter
from lrnet_cli.settings.requests import ExportRequest
from lrnet_cli.weights.card import ValidationCut, WeightsCard

SEED = 0  # fixed, so that the same images calibrate every time
_IMAGES = 4000  # of a data set that does not say which were for validation


def load_held_out(request: ExportRequest, weights: Path, card: WeightsCard, reporter: Reporter) -> tuple[Split, str]:
    """Return the images, two or more, that ``weights`` were validated on or those of ``request.dataset``, and which.

    Raises ``DataError`` or ``UsageError`` for a data set that cannot be used.
    """
    name = dataset_for(weights, card, request.dataset)
    loaded, _ = load_for(card, name, "no", request, reporter)
    check_recorded(weights, card, request.dataset, loaded, reporter.message)
    images, which = held_out_of(with_classes_of(loaded, card.classes), card)
    if len(images) < 2:
        raise DataError(
            f"{loaded.name}: one image calibrates and another measures the loss, but there are {len(images)}."
        )
    return images, f"{loaded.name}: {which}"


def held_out_of(dataset: Dataset, card: WeightsCard) -> tuple[Split, str]:
    """Return the validation images, or else some training images, and which they are."""
    if dataset.val is not None:
        return dataset.val, "validation images"
    # Each network of several has trained on images that validated another.
    own = dataset.content_sha256 == card.dataset.get("content_sha256") and "ensemble" not in card.protocol
    if own and (how := _validation_cut(card)) is not None and 0 < how["fraction"] < 1:
        _, cut = cut_validation(dataset.train, **how)
        if len(cut) == card.dataset.get("val"):
            return cut, "the validation images of its training"
    return limited(dataset.train, _IMAGES, SEED), "training images"


def _validation_cut(card: WeightsCard) -> ValidationCut | None:
    """Return how training cut off the validation images; weights without numbers for it say the share in words."""
    if "val_cut" in card.protocol:
        return card.protocol["val_cut"]
    try:
        fraction = float(card.protocol.get("validation", "").split()[0])
    except (IndexError, ValueError):
        return None
    limit = card.protocol.get("recipe", {}).get("limit")
    return {"fraction": fraction, "seed": card.seed, "limit": limit if isinstance(limit, int) else None}
