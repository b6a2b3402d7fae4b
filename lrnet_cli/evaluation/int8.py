"""Exporting a network in eight-bit integers, judged beside the original on pictures that it was not calibrated on."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import nn

from lrnet_cli.data.datasets import Dataset, load_dataset, with_classes_of
from lrnet_cli.data.splits import Split, cut_validation, limited
from lrnet_cli.errors import DataError, ExportError, UsageError
from lrnet_cli.evaluation.evaluate import Evaluation, evaluate
from lrnet_cli.evaluation.source import check_recorded, dataset_for, fold_for
from lrnet_cli.models.engine import Engine
from lrnet_cli.reporter import OnMessage, OnPictures, OnProgress, silent
from lrnet_cli.weights import onnx
from lrnet_cli.weights.card import ValidationCut, WeightsCard
from lrnet_cli.weights.export import as_exported, writing
from lrnet_cli.weights.file import load_weights
from lrnet_cli.weights.int8 import calibration_pictures, quantized

MAX_LOSS = 0.1  # points of accuracy
_SEED = 0  # fixed, so that the same pictures calibrate every time
_PICTURES = 4000  # of a data set that does not say which were for validation


@dataclass(frozen=True)
class Int8Export:
    """An export in int8, and how it compares with the original in float32 on ``judged`` pictures.

    ``judged_on`` says which those are; ``calibrated`` others of them set the steps. ``agreement`` is the share of
    pictures with the same label.
    """

    path: Path
    judged_on: str
    judged: int
    calibrated: int
    agreement: float
    accuracy: float
    accuracy_before: float
    ece: float
    ece_before: float

    @property
    def lost(self) -> float:
        """The accuracy that was lost, in points."""
        return 100 * (self.accuracy_before - self.accuracy)


def export_int8(
    weights: Path,
    target: Path,
    dataset: str | None = None,
    *,
    max_loss: float = MAX_LOSS,
    data_dir: Path | None = None,
    mirror: str | None = None,
    on_progress: OnProgress = silent,
    on_pictures: OnPictures = silent,
    on_message: OnMessage = silent,
) -> Int8Export:
    """Write the LR-Net of a weight file to ``target``, an ``.onnx`` file, with convolutions in int8.

    The pictures are those that ``weights`` were validated on, or of another ``dataset``, a name or path, its validation
    or else its training pictures. One half calibrates, the other judges.

    Raises ``ExportError`` if more than ``max_loss`` points of accuracy are lost, or without the extra packages;
    ``WeightsError``, ``DataError`` or ``UsageError`` for what cannot be used.
    """
    model, card = load_weights(weights)
    if target.suffix != ".onnx":
        raise UsageError(f"{target}: int8 is written as an .onnx file; give it that suffix.")
    if card.arch != "lrnet":
        raise UsageError(f"{weights}: is a {card.arch}; only an LR-Net can be exported in int8.")
    name = dataset_for(weights, card, dataset)
    loaded = load_dataset(
        name,
        preprocessing=card.preprocessing,
        data_dir=data_dir,
        mirror=mirror,
        fold=fold_for(card, name),
        on_progress=on_progress,
        on_pictures=on_pictures,
        on_message=on_message,
    )
    check_recorded(weights, card, dataset, loaded, on_message)
    pictures, which = _unseen(with_classes_of(loaded, card.classes), card)
    if len(pictures) < 2:
        raise DataError(f"{loaded.name}: one picture calibrates and another judges, but there are {len(pictures)}.")
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(_SEED))
    others, judged = (pictures.take(part) for part in order.chunk(2))
    chosen = calibration_pictures(others.images)
    card = as_exported(card)
    before = _evaluation(Engine(torch.device("cpu")).place(model, card.preprocessing.normalize), judged, card)
    content = quantized(model, card, chosen)
    with writing(target) as temporary:
        temporary.write_bytes(onnx.with_card(content, card))
        after = _evaluation(onnx.PixelNetwork(onnx.load_onnx(temporary)[0]), judged, card)
        result = _compared(target, f"{loaded.name}: {which}", len(chosen), before, after)
        if result.lost > max_loss:
            raise ExportError(
                f"{target}: not written, because {result.lost:.2f} points of accuracy are lost on {len(judged)} "
                f"pictures ({result.accuracy_before:.4f} to {result.accuracy:.4f}; allowed: {max_loss:g}); "
                "calibrate with more pictures like those it will see, or allow a larger loss."
            )
        note = {name: value for name, value in asdict(result).items() if name != "path"}
        card = replace(card, protocol=card.protocol | {"int8": note})
        temporary.write_bytes(onnx.with_card(content, card))
    return result


def _compared(target: Path, judged_on: str, calibrated: int, before: Evaluation, after: Evaluation) -> Int8Export:
    return Int8Export(
        path=target,
        judged_on=judged_on,
        judged=len(after.labels),
        calibrated=calibrated,
        agreement=float((before.logits.argmax(1) == after.logits.argmax(1)).float().mean()),
        accuracy=after.metrics.accuracy,
        accuracy_before=before.metrics.accuracy,
        ece=after.metrics.ece,
        ece_before=before.metrics.ece,
    )


def _evaluation(network: nn.Module, split: Split, card: WeightsCard) -> Evaluation:
    return evaluate(network.eval(), split, card)


def _unseen(dataset: Dataset, card: WeightsCard) -> tuple[Split, str]:
    """Return the pictures to calibrate with and to judge on, and which they are."""
    if dataset.val is not None:
        return dataset.val, "validation pictures"
    # Each network of several has trained on pictures that validated another.
    own = dataset.content_sha256 == card.dataset.get("content_sha256") and "ensemble" not in card.protocol
    if own and (how := _validation_cut(card)) is not None and 0 < how["fraction"] < 1:
        _, cut = cut_validation(dataset.train, **how)
        if len(cut) == card.dataset.get("val"):
            return cut, "the validation pictures of its training"
    return limited(dataset.train, _PICTURES, _SEED), "training pictures"


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
