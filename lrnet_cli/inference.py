"""Weights and pictures in, labelled probabilities out."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeVar, cast, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from lrnet_cli.choices import Head, Precision
from lrnet_cli.data.images import Invert, Picture, prepare
from lrnet_cli.engine import Engine
from lrnet_cli.errors import ImageError, UsageError
from lrnet_cli.weights import WeightsCard, find_weights, load_weights

BATCH_SIZE = 256
UNKNOWN, NONE_OF_THESE = "unknown", "none of these"
_YES = 0.5  # from which probability on a sigmoid output says that a picture is of its class
_CHUNK = 64  # pictures that a thread reads at a time
_CHUNKS_AHEAD = 2 * BATCH_SIZE // _CHUNK
_READERS = min(4, os.cpu_count() or 1)  # each may hold a picture of 64 million pixels

_Source = TypeVar("_Source", bound=Picture)
_Read = tuple[NDArray[np.uint8], bool] | ImageError


@dataclass(frozen=True)
class Prediction:
    """The answer for one picture: every class with its probability in [0, 1], the likeliest first in ``top``.

    ``index`` is the position of ``label`` in the class list, ``probability`` that of the likeliest class.
    Where the answer is none of the classes, ``index`` is None and ``label`` is ``unknown`` (the probability is below
    what was asked for) or ``none of these`` (a sigmoid head says no to every class). ``inverted`` tells whether light
    and dark were swapped, and ``pixels``, uint8 (channels, side, side), are what the network saw.
    """

    label: str
    index: int | None
    probability: float
    top: tuple[tuple[str, float], ...]
    inverted: bool
    pixels: NDArray[np.uint8] = field(repr=False, compare=False)


class Classifier:
    """A trained network that labels pictures.

    ``logits`` takes uint8 pictures (N, C, S, S) on the CPU and returns float32 logits (N, classes) there; ``card`` is
    what the weight file says of itself, and ``runs_on`` where and how the network runs, in words.
    """

    def __init__(self, logits: Callable[[Tensor], Tensor], card: WeightsCard, runs_on: str) -> None:
        self.logits = logits
        self.card = card
        self.runs_on = runs_on

    @classmethod
    def load(
        cls, weights: str | Path | None = None, *, device: str = "auto", precision: Precision = "auto"
    ) -> "Classifier":
        """Return the classifier of a weight file, run folder or exported ``.onnx``; without one, of the newest run.

        Raises ``WeightsError`` for weights that cannot be used, ``DeviceError`` or ``UsageError`` for a device that
        cannot.
        """
        path = find_weights(weights)
        if path.suffix == ".onnx":
            from lrnet_cli.export import load_onnx

            if device not in ("auto", "cpu") or precision == "bf16":
                raise UsageError(f"{path}: an ONNX file runs on the CPU, in fp32; leave out --device and --precision.")
            logits, card = load_onnx(path)
            return cls(logits, card, "ONNX Runtime, cpu")
        engine = Engine.choose(device, precision)
        model, card = load_weights(path)
        network = engine.ready(model)
        return cls(lambda images: predict_logits(network, images.to(engine.device)), card, str(engine))

    @overload
    def predict(  # type: ignore[overload-overlap]  # a path is also an iterable of texts, an array one of arrays
        self, pictures: Picture, *, invert: Invert = ..., min_confidence: float = ...
    ) -> Prediction: ...

    @overload
    def predict(
        self, pictures: Iterable[Picture], *, invert: Invert = ..., min_confidence: float = ...
    ) -> list[Prediction]: ...

    def predict(
        self, pictures: Picture | Iterable[Picture], *, invert: Invert = "auto", min_confidence: float = 0.0
    ) -> Prediction | list[Prediction]:
        """Return the prediction for a picture, or a list of them for several.

        A picture is a path, a PIL image, an array or a tensor. An array is (height, width) or (height, width,
        channels), a tensor (height, width) or (channels, height, width), with 1, 3 or 4 channels, as uint8 from 0 to
        255 or as floats from 0 to 1. Several are any iterable of pictures; an array (N, height, width, channels) or a
        tensor (N, channels, height, width) is one.

        Raises ``ImageError`` for the first picture that cannot be read.
        """
        several = not isinstance(pictures, str | os.PathLike | Image.Image)
        if isinstance(pictures, np.ndarray | Tensor):
            several = pictures.ndim == 4
        given = pictures if several else (pictures,)
        found = []
        for number, (source, outcome) in enumerate(
            self.stream(cast("Iterable[Picture]", given), invert=invert, min_confidence=min_confidence)
        ):
            if isinstance(outcome, ImageError):
                name = os.fspath(source) if isinstance(source, str | os.PathLike) else f"picture {number}"
                raise ImageError(f"{name}: {outcome}") from outcome
            found.append(outcome)
        return found if several else found[0]

    def stream(
        self, pictures: Iterable[_Source], *, invert: Invert = "auto", min_confidence: float = 0.0
    ) -> Iterator[tuple[_Source, Prediction | ImageError]]:
        """Yield, in order, each picture with its prediction, or with the error that kept it from being read.

        Threads read ahead while the network works; memory holds some hundred pictures, however many there are.

        Raises ``UsageError`` for a ``min_confidence`` outside 0 to 1.
        """
        if not 0 <= min_confidence <= 1:
            raise UsageError(f"--min-confidence takes a probability from 0 to 1, got {min_confidence:g}.")
        read = self._read_ahead(pictures, invert)
        while batch := list(islice(read, BATCH_SIZE)):
            inputs = [outcome[0] for _, outcome in batch if not isinstance(outcome, ImageError)]
            rows = iter(self._probabilities(inputs))
            for source, outcome in batch:
                if isinstance(outcome, ImageError):
                    yield source, outcome
                else:
                    yield source, self._label(next(rows), *outcome, min_confidence)

    def _read_ahead(self, pictures: Iterable[_Source], invert: Invert) -> Iterator[tuple[_Source, _Read]]:
        def read(sources: list[_Source]) -> list[tuple[_Source, _Read]]:
            return [(source, self._read(source, invert)) for source in sources]

        remaining, pending = iter(pictures), deque[Future[list[tuple[_Source, _Read]]]]()
        pool = ThreadPoolExecutor(_READERS, thread_name_prefix="reader")
        try:
            while chunk := list(islice(remaining, _CHUNK)):
                pending.append(pool.submit(read, chunk))
                if len(pending) == _CHUNKS_AHEAD:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _read(self, source: Picture, invert: Invert) -> _Read:
        try:
            return prepare(source, self.card.preprocessing, invert)
        except ImageError as error:
            return error

    def _probabilities(self, inputs: list[NDArray[np.uint8]]) -> Tensor:
        if not inputs:
            return torch.empty(0, len(self.card.classes))
        logits = self.logits(torch.from_numpy(np.stack(inputs)))
        return probabilities(logits / self.card.temperature, self.card.head)

    def _label(self, row: Tensor, pixels: NDArray[np.uint8], inverted: bool, min_confidence: float) -> Prediction:
        values, order = row.sort(descending=True, stable=True)
        top = tuple((self.card.classes[i], p) for i, p in zip(order.tolist(), values.tolist(), strict=True))
        label, highest = top[0]
        index: int | None = int(order[0])
        if self.card.head == "sigmoid" and highest < _YES:
            label, index = NONE_OF_THESE, None
        elif highest < min_confidence:
            label, index = UNKNOWN, None
        return Prediction(label, index, highest, top, inverted, pixels)


def as_input(images: Tensor) -> Tensor:
    """Return uint8 pictures (N, C, S, S) as the network's floats in [0, 1], channels last."""
    return images.to(torch.float32, memory_format=torch.channels_last).div_(255)


@dataclass(frozen=True)
class View:
    """A picture moved ``down`` and ``right`` by whole pixels, its border repeated, and perhaps mirrored."""

    down: int = 0
    right: int = 0
    mirrored: bool = False

    def of(self, images: Tensor) -> Tensor:
        """Return the view of pictures (N, C, S, S)."""
        side = images.shape[-1]
        if self.down or self.right:
            down, right = abs(self.down), abs(self.right)
            padded = nn.functional.pad(images, (right, right, down, down), mode="replicate")
            top, left = down - self.down, right - self.right
            images = padded[..., top : top + side, left : left + side]
        return (images.flip(-1) if self.mirrored else images).contiguous(memory_format=torch.channels_last)


AS_IT_IS = (View(),)


def averaging_views(*, mirrored: bool) -> tuple[View, ...]:
    """Return the views that test-time augmentation averages: as it is, moved a pixel each way, all of it mirrored."""
    moves = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))
    return tuple(View(down, right, side) for side in (False, True)[: 1 + mirrored] for down, right in moves)


@torch.inference_mode()
def predict_logits(model: nn.Module, images: Tensor, views: tuple[View, ...] = AS_IT_IS) -> Tensor:
    """Return the logits, float32 (N, classes) on the CPU, of uint8 pictures (N, C, S, S), averaged over ``views``.

    ``model`` must be in evaluation mode and on the device of ``images``; it sees a batch at a time.
    """
    batches = (as_input(batch) for batch in images.split(BATCH_SIZE))
    return torch.cat([torch.stack([model(view.of(batch)) for view in views]).mean(0) for batch in batches]).cpu()


def probabilities(logits: Tensor, head: Head) -> Tensor:
    """Return the probabilities in [0, 1] of logits (N, classes): their softmax, or independent ones for ``sigmoid``."""
    return logits.softmax(1) if head == "softmax" else logits.sigmoid()
