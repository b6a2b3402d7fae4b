"""Exporting a network in eight-bit integers, compared with the original on images that it was not calibrated on."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lrnet_cli.errors import ExportError, UsageError
from lrnet_cli.evaluation.evaluate import evaluate
from lrnet_cli.export.held_out import SEED, load_held_out
from lrnet_cli.export.onnx import with_card
from lrnet_cli.export.quantize import calibration_images, quantized
from lrnet_cli.export.whole import writing
from lrnet_cli.models.engine import Engine
from lrnet_cli.reporter import Reporter
from lrnet_cli.settings.requests import ExportRequest
from lrnet_cli.settings.words import LRNETS
from lrnet_cli.weights.file import load_weights
from lrnet_cli.weights.onnx import PixelNetwork, load_onnx

_MAX_LOSS = 0.1  # points of accuracy


@dataclass(frozen=True)
class Int8Export:
    """An export in int8, and how it compares with the original in float32 on ``images`` images.

    ``evaluated_on`` says which those are; ``calibrated`` others of them set the steps. ``agreement`` is the share of
    images with the same label.
    """

    weights: Path
    path: Path
    evaluated_on: str
    images: int
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

    @property
    def note(self) -> dict[str, int | float | str]:
        """What is stored in the file."""
        return {name: value for name, value in asdict(self).items() if name not in ("weights", "path")}

    def document(self) -> dict[str, Any]:
        """Return the JSON document."""
        return {"schema": "lrnet.export/3", "weights": str(self.weights), "path": str(self.path), **self.note}


def export_int8(weights: Path, request: ExportRequest, reporter: Reporter) -> Int8Export:
    """Write the LR-Net of a weight file, with convolutions in int8, as ``request`` says.

    One half of the images that ``load_held_out`` returns calibrates, the other measures the loss.
    """
    model, card = load_weights(weights)
    if request.to.suffix != ".onnx":
        raise UsageError(f"{request.to}: int8 is written as an .onnx file; give it that suffix.")
    if card.arch not in LRNETS:
        raise UsageError(f"{weights}: is a {card.arch}; only an LR-Net can be exported in int8.")
    images, which = load_held_out(request, weights, card, reporter)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(SEED))
    calibrating, tested = (images.take(part) for part in order.chunk(2))
    calibration = calibration_images(calibrating.images)
    original = Engine(torch.device("cpu")).place(model, card.preprocessing.normalize)
    before = evaluate(original.eval(), tested, card)
    content = quantized(model, card, calibration)
    with writing(request.to) as temporary:
        temporary.write_bytes(with_card(content, card))
        after = evaluate(PixelNetwork(load_onnx(temporary)[0]).eval(), tested, card)
        exported = Int8Export(
            weights=weights,
            path=request.to,
            evaluated_on=which,
            images=len(tested),
            calibrated=len(calibration),
            agreement=float((before.logits.argmax(1) == after.logits.argmax(1)).float().mean()),
            accuracy=after.metrics.accuracy,
            accuracy_before=before.metrics.accuracy,
            ece=after.metrics.ece,
            ece_before=before.metrics.ece,
        )
        _refuse_loss(exported, _MAX_LOSS if request.max_loss is None else request.max_loss)
        card = replace(card, protocol=card.protocol | {"int8": exported.note})
        temporary.write_bytes(with_card(content, card))
    return exported


def _refuse_loss(exported: Int8Export, allowed: float) -> None:
    if exported.lost > allowed:
        raise ExportError(
            f"{exported.path}: not written, because {exported.lost:.2f} points of accuracy are lost on "
            f"{exported.images} images ({exported.accuracy_before:.4f} to {exported.accuracy:.4f}; allowed: "
            f"{allowed:g}); calibrate with more images like those it will see, or allow a larger loss."
        )
