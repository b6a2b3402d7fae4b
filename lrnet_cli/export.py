"""Trained networks for other runtimes: ONNX and PyTorch's own exported programs, and ONNX files back as classifiers."""

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lrnet_cli import paths
from lrnet_cli.data.datasets import load_dataset
from lrnet_cli.data.images import is_regular_file
from lrnet_cli.errors import ExportError, UsageError, WeightsError
from lrnet_cli.inference import BATCH_SIZE, predict_logits, probabilities
from lrnet_cli.models.folding import FoldedLRNet
from lrnet_cli.models.lrnet import LRNet
from lrnet_cli.weights import WeightsCard, card_of, load_weights, metadata_of

SUFFIXES = (".onnx", ".pt2")
TOLERANCE = 1e-4  # of logits and probabilities
_INPUT, _OUTPUTS = "images", ("logits", "probabilities")
_INSTALL = "pip install 'lrnet-cli[export]'"


@dataclass(frozen=True)
class Exported:
    """An export: the largest difference from PyTorch in any logit or probability over ``pictures`` real pictures."""

    path: Path
    difference: float
    pictures: int


class _Whole(nn.Module):
    """uint8 pictures (N, C, S, S) in, logits and calibrated probabilities (N, classes) out."""

    def __init__(self, network: nn.Module, card: WeightsCard) -> None:
        super().__init__()
        self.network = network
        self.temperature = card.temperature
        self.head = card.head

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.network(images.to(torch.float32) / 255)
        return logits, probabilities(logits / self.temperature, self.head)


def export_weights(weights: Path, target: Path) -> Exported:
    """Write the network of a weight file to ``target``, an ``.onnx`` or ``.pt2`` file, and check it on real pictures.

    The exported network takes uint8 pictures (N, C, S, S) for any N ≥ 1 and gives ``logits`` and ``probabilities``
    (N, classes), float32; the card of the weights travels in its metadata. It is compared with the plain network of the
    weight file on the embedded scans of digits, brought to the network's size.

    Raises ``ExportError`` if any value differs by more than 1e-4, or without the extra packages; ``WeightsError`` for
    weights that cannot be used; ``UsageError`` for another suffix or a place that cannot be written.
    """
    if target.suffix not in SUFFIXES:
        raise UsageError(f"{target}: the form is chosen by the suffix, which is one of: {', '.join(SUFFIXES)}.")
    model, card = load_weights(weights)
    whole = _Whole(FoldedLRNet(model) if isinstance(model, LRNet) else model, card).eval()
    pictures = load_dataset(
        "optdigits", image_size=card.preprocessing.image_size, channels=card.preprocessing.channels
    ).test.images
    try:
        with paths.replacing(target) as temporary:
            if target.suffix == ".onnx":
                temporary.write_bytes(_to_onnx(whole, card, pictures[:2]))
                run: Callable[[Tensor], Sequence[Tensor]] = _OnnxNetwork(temporary)
            else:
                temporary.write_bytes(_to_program(whole, card, pictures[:2]))
                run = torch.export.load(io.BytesIO(temporary.read_bytes())).module()
            difference = _difference(run, model, card, pictures)
            if not difference <= TOLERANCE:
                raise ExportError(
                    f"{target}: not written, because the exported network differs from PyTorch's by {difference:.1e} "
                    f"on {len(pictures)} real pictures (allowed: {TOLERANCE:g}); please report this."
                )
    except OSError as error:
        raise UsageError(f"{target}: cannot be written ({error.strerror or error}); choose another --to.") from error
    return Exported(target, difference, len(pictures))


def load_onnx(path: Path) -> tuple[Callable[[Tensor], Tensor], WeightsCard]:
    """Return what computes logits (N, classes) of uint8 pictures (N, C, S, S), and the card, of an exported ONNX file.

    Raises ``WeightsError`` for a file that cannot be used, ``ExportError`` without ONNX Runtime.
    """
    try:
        if not is_regular_file(path):
            raise WeightsError(f"{path}: is no weight file, but a folder, pipe or device.")
        run = _OnnxNetwork(path)
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}.") from error
    card = card_of(path, run.metadata)
    wanted = [card.arch_args["in_channels"], card.arch_args["image_size"], card.arch_args["image_size"]]
    if run.shape[1:] != wanted:
        raise WeightsError(f"{path}: takes pictures of {run.shape[1:]}, its card says {wanted}.")
    return lambda images: torch.cat([run(batch)[0] for batch in images.split(BATCH_SIZE)]), card


class _OnnxNetwork:
    """An ONNX Runtime session over a file's content: uint8 pictures in, logits and probabilities out."""

    def __init__(self, path: Path) -> None:
        with _needed_packages():
            import onnxruntime

        try:
            # Given as bytes, a file cannot point to others.
            self.session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
            [given] = self.session.get_inputs()
            names = [output.name for output in self.session.get_outputs()]
        except OSError:
            raise
        except Exception as error:  # ONNX Runtime's own kinds are private
            reason = str(error).strip().splitlines()[0][:200]
            raise WeightsError(f"{path}: is no ONNX file that can be run ({reason}).") from error
        self.shape: list[int | str] = given.shape
        self.metadata: dict[str, str] = self.session.get_modelmeta().custom_metadata_map
        if (given.name, given.type, *names) != (_INPUT, "tensor(uint8)", *_OUTPUTS):
            raise WeightsError(f"{path}: was not exported by lrnet: it takes {given.name!r} and gives {names}.")

    def __call__(self, images: Tensor) -> list[Tensor]:
        given = {_INPUT: np.ascontiguousarray(images.numpy())}
        return [torch.from_numpy(values) for values in self.session.run(list(_OUTPUTS), given)]


def _to_onnx(whole: nn.Module, card: WeightsCard, example: Tensor) -> bytes:
    with _needed_packages(), warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")  # the exporter warns of its own internals
        program = torch.onnx.export(
            whole,
            (example,),
            dynamo=True,
            input_names=[_INPUT],
            output_names=list(_OUTPUTS),
            dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1)}},
            verbose=False,
        )
    assert program is not None
    content = program.model_proto
    for key, value in metadata_of(card).items():
        content.metadata_props.add(key=key, value=value)
    return bytes(content.SerializeToString())


def _to_program(whole: nn.Module, card: WeightsCard, example: Tensor) -> bytes:
    program = torch.export.export(whole, (example,), dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1)}})
    target = io.BytesIO()
    torch.export.save(program, target, extra_files=metadata_of(card))
    return target.getvalue()


@torch.inference_mode()
def _difference(
    run: Callable[[Tensor], Sequence[Tensor]], model: nn.Module, card: WeightsCard, pictures: Tensor
) -> float:
    """Return the largest difference between ``run`` and ``model``, for a single picture and for many."""
    logits = predict_logits(model, pictures)
    wanted = logits, probabilities(logits / card.temperature, card.head)
    found = [torch.cat(parts) for parts in zip(run(pictures[:1]), run(pictures[1:]), strict=True)]
    return max(float((one - other).abs().max()) for one, other in zip(wanted, found, strict=True))


@contextmanager
def _needed_packages() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise ExportError(f"ONNX needs packages that are not installed ({error.name}): {_INSTALL}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's advice to its developers from the user."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
