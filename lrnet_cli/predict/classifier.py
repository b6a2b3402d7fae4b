"""Weights and images in, labelled probabilities out."""

import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar, cast, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lrnet_cli.data.ahead import read_ahead
from lrnet_cli.data.images import ImageSource, Read, read_image
from lrnet_cli.errors import ImageError, SettingError
from lrnet_cli.models.heads import probabilities
from lrnet_cli.models.logits import BATCH_SIZE, predict_logits
from lrnet_cli.predict.promised import Outcome, Promise, Seen, evidence_in
from lrnet_cli.promise.evidence import Floats, log_odds, rounded, tones
from lrnet_cli.promise.label_sets import images_for_sets, label_set, least_odds
from lrnet_cli.promise.threshold import Aim
from lrnet_cli.settings.place import Place
from lrnet_cli.settings.requests import PredictRequest
from lrnet_cli.settings.words import Invert, Precision
from lrnet_cli.weights.card import WeightsCard
from lrnet_cli.weights.find import find_weights
from lrnet_cli.weights.open import OpenNetwork, open_network

UNKNOWN, NONE_OF_THESE = "unknown", "none of these"
_YES = 0.5  # probability from which a sigmoid output counts as a yes

_Source = TypeVar("_Source", bound=ImageSource)


@dataclass(frozen=True)
class Prediction:
    """The answer for one image: every class with its probability in [0, 1], the most likely first in ``top``.

    ``index`` is the position of ``label`` in the class list, ``probability`` that of the most likely class.
    Where the answer is none of the classes, ``index`` is None and ``label`` is ``unknown`` (the probability is below
    the minimum, the novelty above the maximum, or either is not a number) or ``none of these`` (a sigmoid head says no
    to every class).
    ``novelty``, from 0 up, is above 1 for images that are unlike those that the network knows, and None if the
    weights do not tell. ``inverted`` says whether light and dark were swapped, and ``pixels``, uint8 (channels, side,
    side), are what the network saw. ``odds`` are the log-odds of each class (classes,), before calibration.
    """

    label: str
    index: int | None
    probability: float
    top: tuple[tuple[str, float], ...]
    novelty: float | None
    inverted: bool
    pixels: NDArray[np.uint8] = field(repr=False, compare=False)
    odds: Floats = field(repr=False, compare=False)

    @property
    def score(self) -> float:
        """The log-odds of the most likely class, by which images are ranked."""
        return float(rounded(self.odds).max())


@dataclass(frozen=True)
class Accepted:
    """Predictions of which the accepted ones have a label, the others are unknown, and what is promised of them."""

    predictions: list[Prediction]
    promise: Promise
    outcome: Outcome


class Classifier:
    """A trained network that labels images.

    ``logits`` takes uint8 images (N, C, S, S) on the CPU and returns float32 logits (N, classes) there, followed by a
    description if the novelty needs one; ``card`` is the weight file's metadata, and ``runs_on`` describes where and
    how the network runs.
    """

    def __init__(self, logits: Callable[[Tensor], Tensor], card: WeightsCard, runs_on: str) -> None:
        self.logits = logits
        self.card = card
        self.runs_on = runs_on

    @classmethod
    def load(
        cls,
        weights: str | Path | None = None,
        *,
        device: str = "auto",
        precision: Precision = "auto",
        threads: str | None = None,
    ) -> "Classifier":
        """Return the classifier of a weight file, run folder or exported ``.onnx``; without one, of the newest run.

        On a CPU as many images are worked on side by side as there are ``threads``, by default those that PyTorch is
        set to, or the cores to use if there are fewer.

        Raises ``WeightsError`` for weights that cannot be used, ``DeviceError`` or ``UsageError`` for a device that
        cannot.
        """
        place = Place(device=device, precision=precision, threads=threads)
        return cls.of(open_network(find_weights(weights), place))

    @classmethod
    def of(cls, opened: OpenNetwork) -> "Classifier":
        """Return the classifier of a network that is open."""
        network, where = opened.described, opened.device
        return cls(lambda images: predict_logits(network, images.to(where)), opened.card, opened.runs_on)

    @overload
    def predict(  # type: ignore[overload-overlap]  # a path is also an iterable of texts, an array one of arrays
        self, images: ImageSource, *, invert: Invert = ..., min_confidence: float = ..., max_novelty: float = ...
    ) -> Prediction: ...

    @overload
    def predict(
        self,
        images: Iterable[ImageSource],
        *,
        invert: Invert = ...,
        min_confidence: float = ...,
        max_novelty: float = ...,
    ) -> list[Prediction]: ...

    def predict(
        self,
        images: ImageSource | Iterable[ImageSource],
        *,
        invert: Invert = "auto",
        min_confidence: float = 0.0,
        max_novelty: float = math.inf,
    ) -> Prediction | list[Prediction]:
        """Return the prediction for an image, or a list of them for several.

        An image is a path, a PIL image, an array or a tensor. An array is (height, width) or (height, width,
        channels), a tensor (height, width) or (channels, height, width), with 1, 3 or 4 channels, as uint8 from 0 to
        255 or as floats from 0 to 1. Several are any iterable of images; an array (N, height, width, channels) or a
        tensor (N, channels, height, width) is one.

        The label is ``unknown`` below ``min_confidence`` and above ``max_novelty``, of which 1 lets 99% of the
        validation images pass; by default, the answer is always a class.

        Raises ``ImageError`` for the first image that cannot be read.
        """
        several = not isinstance(images, str | os.PathLike | Image.Image)
        if isinstance(images, np.ndarray | Tensor):
            several = images.ndim == 4
        sources = images if several else (images,)
        predictions = []
        for number, (source, outcome) in enumerate(
            self.stream(
                cast("Iterable[ImageSource]", sources),
                invert=invert,
                min_confidence=min_confidence,
                max_novelty=max_novelty,
            )
        ):
            if isinstance(outcome, ImageError):
                name = os.fspath(source) if isinstance(source, str | os.PathLike) else f"image {number}"
                raise ImageError(f"{name}: {outcome}") from outcome
            predictions.append(outcome)
        return predictions if several else predictions[0]

    def stream(
        self,
        images: Iterable[_Source],
        *,
        invert: Invert = "auto",
        min_confidence: float = 0.0,
        max_novelty: float = math.inf,
    ) -> Iterator[tuple[_Source, Prediction | ImageError]]:
        """Yield, in order, each image with its prediction, or with the error if it cannot be read.

        Files are read ahead by other processes while the network works; memory holds about a thousand images, however
        many there are.

        Raises ``UsageError`` for a ``min_confidence`` outside 0 to 1, or a ``max_novelty`` not above 0.
        """
        PredictRequest(inputs=(), min_confidence=min_confidence, max_novelty=max_novelty)  # or say what is wrong
        read = read_ahead(images, partial(read_image, preprocessing=self.card.preprocessing, invert=invert))
        while batch := list(islice(read, BATCH_SIZE)):
            inputs = [outcome.pixels for _, outcome in batch if isinstance(outcome, Read)]
            rows = iter(self._answers(inputs))
            for source, outcome in batch:
                if isinstance(outcome, ImageError):
                    yield source, outcome
                    continue
                row, novelty, odds = next(rows)
                is_number = bool(row.isfinite().all()) and math.isfinite(novelty or 0)
                answer = self._label(row.nan_to_num(0.0), novelty if is_number else None, outcome, odds)
                is_unknown = answer.probability < min_confidence or (novelty or 0) > max_novelty
                if not is_number or (is_unknown and answer.index is not None):
                    answer = replace(answer, label=UNKNOWN, index=None)
                yield source, answer

    def accept(
        self,
        images: Iterable[ImageSource],
        *,
        max_error: float,
        confidence: float = 0.95,
        by_class: bool = False,
        invert: Invert = "auto",
        max_novelty: float = 1.0,
    ) -> Accepted:
        """Return predictions of which, with this ``confidence``, at most ``max_error`` of the accepted ones are wrong.

        So it is for images like those that the weights were validated on; the others are ``unknown``. ``by_class``
        promises it for each class that is answered. The threshold is set for these images together, so give a whole
        stack at once. Raises ``UsageError`` for what the weights cannot promise, else what ``predict`` raises.
        """
        promise = Promise("weights", self.card, Aim(max_error, confidence), max_novelty, by_class=by_class)
        answers = self.predict(images, invert=invert, max_novelty=max_novelty)
        assert isinstance(answers, list), "a stack is several images"
        outcome = promise.outcome(map(self.seen, answers))
        kept = [answer if outcome.accepts(answer.score, answer.index) else _unknown(answer) for answer in answers]
        return Accepted(kept, promise, outcome)

    def seen(self, answer: Prediction) -> Seen:
        """Return what a promise needs of a prediction."""
        (ground,), (contrast,) = tones(answer.pixels[None])
        return Seen(
            score=answer.score,
            predicted=self.card.classes.index(answer.top[0][0]),
            is_class=answer.index is not None,
            probability=answer.probability,
            novelty=answer.novelty,
            ground=float(ground),
            contrast=float(contrast),
        )

    def label_set(self, answer: Prediction, coverage: float) -> tuple[str, ...]:
        """Return the classes that hold the right one with the probability ``coverage``, the most likely first.

        The probability is over the draw of the validation images and of this one, which is like them. Raises
        ``UsageError`` if the weights cannot say.
        """
        return tuple(self.card.classes[index] for index in label_set(answer.odds, self.least_odds(coverage)))

    def least_odds(self, coverage: float) -> float:
        """Return the log-odds from which a class belongs to a set of labels; raises what ``label_set`` raises."""
        evidence = evidence_in(self.card, "weights")
        if len(evidence) < images_for_sets(coverage):
            raise SettingError(
                f"{{label_set}} {coverage:g} needs {images_for_sets(coverage)} validation images, and these weights "
                f"have {len(evidence)}; train with more images or with {{folds}}."
            )
        return least_odds(np.array(evidence.truths), coverage)

    def _answers(self, inputs: list[NDArray[np.uint8]]) -> list[tuple[Tensor, float | None, Floats]]:
        """Return probabilities (classes,), novelty and log-odds (classes,) of each image."""
        if not inputs:
            return []
        outputs, card = self.logits(torch.from_numpy(np.stack(inputs))), self.card
        novelties = card.novelty(outputs).tolist() if card.novelty is not None else [None] * len(inputs)
        logits = outputs[:, : len(card.classes)]
        odds = log_odds(logits.double().nan_to_num(0.0).numpy(), yes_or_no=card.head == "sigmoid")
        return list(zip(probabilities(logits / card.temperature, card.head), novelties, odds, strict=True))

    def _label(self, row: Tensor, novelty: float | None, read: Read, odds: Floats) -> Prediction:
        values, order = row.sort(descending=True, stable=True)
        top = tuple((self.card.classes[i], p) for i, p in zip(order.tolist(), values.tolist(), strict=True))
        label, highest = top[0]
        index: int | None = int(order[0])
        if self.card.head == "sigmoid" and highest < _YES:
            label, index = NONE_OF_THESE, None
        return Prediction(label, index, highest, top, novelty, read.inverted, read.pixels, odds)


def _unknown(answer: Prediction) -> Prediction:
    return answer if answer.index is None else replace(answer, label=UNKNOWN, index=None)
