"""Running ONNX files that were exported."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lrnet_cli.documents import open_regular
from lrnet_cli.errors import ExportError, WeightsError, reason_of
from lrnet_cli.models.novelty import novelty_given
from lrnet_cli.threads import even_parts, in_workers
from lrnet_cli.weights.card import WeightsCard, card_of
from lrnet_cli.weights.onnx_trial import problem_with, session_of

INPUT, OUTPUTS, NOVELTY = "images", ("logits", "probabilities"), "novelty"
_IMAGES = 32  # that a thread takes at a time, whose activations fit into its cache
_INSTALL = "pip install 'lrnet-cli[export]'"


def load_onnx(path: Path) -> tuple[Callable[[Tensor], Tensor], WeightsCard]:
    """Return a function from uint8 images (N, C, S, S) to logits (N, classes), and the card, of an exported file.

    Of a file that gives the novelty, it follows the logits.
    Raises ``WeightsError`` for a file that cannot be used, ``ExportError`` without ONNX Runtime.
    """
    try:
        open_regular(path).close()  # a pipe would hang
        with needed_packages():
            import onnxruntime  # noqa: F401
        if problem := problem_with(path):
            raise WeightsError(f"{path}: {problem}.")
        run = OnnxNetwork(path)
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}.") from error
    card = card_of(path, run.metadata)
    expected = [card.arch_args["in_channels"], card.arch_args["image_size"], card.arch_args["image_size"]]
    if run.shape[1:] != expected:
        raise WeightsError(f"{path}: takes images of {run.shape[1:]}, its card says {expected}.")
    shapes: list[tuple[int, ...]] = [(2, len(card.classes)), (2, len(card.classes)), (2,)]
    for values, shape in zip(run(torch.zeros(2, *expected, dtype=torch.uint8)), shapes, strict=False):
        # What a file declares need not be so.
        if values.shape != shape or values.dtype != torch.float32 or not values.isfinite().all():
            raise WeightsError(
                f"{path}: gives {values.dtype} of the shape {tuple(values.shape)} for two blank images, expected "
                f"finite numbers, float32 of {shape}."
            )
    if run.has_novelty:
        card = replace(card, novelty=novelty_given(len(card.classes)))
    elif card.needs_description:
        card = replace(card, novelty=None)
    return lambda images: _joined(run(images)), card


def _joined(outputs: list[Tensor]) -> Tensor:
    """Return logits, and the novelty after them if there is one."""
    logits, _, *novelty = outputs
    return torch.cat([logits, *(values[:, None] for values in novelty)], 1)


class OnnxNetwork:
    """An ONNX Runtime session over a file's content: uint8 images in, logits, probabilities and perhaps novelty out.

    Raises ``WeightsError`` for a file that cannot be run, ``ExportError`` without ONNX Runtime.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with needed_packages():
                self.session = session_of(path.read_bytes())
            [source] = self.session.get_inputs()
            names = [output.name for output in self.session.get_outputs()]
        except (OSError, ExportError):
            raise
        except Exception as error:  # ONNX Runtime's own kinds are private
            raise WeightsError(f"{path}: is not a usable ONNX file ({reason_of(error)}).") from error
        self.shape: list[int | str] = source.shape
        self.metadata: dict[str, str] = self.session.get_modelmeta().custom_metadata_map
        self.has_novelty = NOVELTY in names
        self._names = [*OUTPUTS, NOVELTY] if self.has_novelty else list(OUTPUTS)
        if (source.name, source.type, *names) != (INPUT, "tensor(uint8)", *self._names):
            raise WeightsError(f"{path}: was not exported by lrnet: it takes {source.name!r} and gives {names}.")

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Return logits and probabilities, float32 (N, classes), and perhaps novelty (N,), of uint8 (N, C, S, S)."""
        parts = images.split(even_parts(len(images), _IMAGES))
        try:
            outputs = in_workers(self._run, parts)
            return [torch.from_numpy(np.concatenate(parts)) for parts in zip(*outputs, strict=True)]
        except Exception as error:  # ONNX Runtime's own kinds are private, and a file may give anything
            raise WeightsError(f"{self.path}: cannot be run ({reason_of(error)}).") from error

    def _run(self, images: Tensor) -> list[NDArray[np.float32]]:
        inputs = {INPUT: np.ascontiguousarray(images.numpy())}
        outputs: list[NDArray[np.float32]] = self.session.run(self._names, inputs)
        return outputs


class PixelNetwork(nn.Module):
    """``run``, from uint8 images to logits, as a network of floats (N, C, S, S) in [0, 1].

    What comes after as many outputs as ``classes`` is left out.
    """

    def __init__(self, run: Callable[[Tensor], Tensor], classes: int | None = None) -> None:
        super().__init__()
        self.run = run
        self.classes = classes

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, float32 (N, classes)."""
        return self.run((images * 255).round().to(torch.uint8))[:, : self.classes]


@contextmanager
def needed_packages() -> Iterator[None]:
    """Raise ``ExportError`` where a package of the extra is missing."""
    try:
        yield
    except ImportError as error:
        raise ExportError(f"ONNX needs packages that are not installed ({error.name}): {_INSTALL}") from error
