"""What ``lrnet predict`` says of an image file: a record, and PNG files of what the network saw and why."""

import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Required, TypedDict

import torch

from lrnet_cli import paths
from lrnet_cli.data.files import longer_side
from lrnet_cli.data.images import as_image
from lrnet_cli.data.readers.manifest import read_answers
from lrnet_cli.errors import ImageError, UsageError
from lrnet_cli.predict.classifier import NONE_OF_THESE, Classifier, Prediction
from lrnet_cli.predict.inputs import shown
from lrnet_cli.predict.promised import Promise, Seen
from lrnet_cli.promise.label_sets import label_set
from lrnet_cli.promise.threshold import Aim
from lrnet_cli.settings.requests import PredictRequest
from lrnet_cli.weights.open import open_network

_SIZED = 20  # images whose sizes are read


class ClassShare(TypedDict):
    """A class and its probability in [0, 1]."""

    label: str
    probability: float


class Record(TypedDict, total=False):
    """The answer for one image file, with values as in ``Prediction``, or the ``error`` if it cannot be read.

    ``label_set`` are the labels of ``PredictRequest.label_set``, and ``input`` and ``explanation`` the paths of PNG
    files, where these are asked for. ``seen`` is there only until a promised threshold is set. With the answers of a
    person, ``reviewed`` says whether the label is one; ``probability`` is then what the network gives it, or 0 if it
    has no such class.
    """

    path: Required[str]
    error: str
    label: str
    index: int | None
    probability: float
    top: list[ClassShare]
    novelty: float | None
    inverted: bool
    label_set: list[str]
    seen: Seen
    input: str
    explanation: str
    reviewed: bool


class Recorder:
    """Predicts image files with the network and the settings of ``request``.

    ``weights`` is the network's file, ``top_k`` how many classes a record has, ``answers`` are those of a person by
    absolute path, and ``sides`` the longer sides, in pixels, of the first images. Raises what ``open_network``,
    ``read_answers`` and ``Explainer`` raise.
    """

    def __init__(self, request: PredictRequest, weights: Path) -> None:
        self.request, self.weights = request, weights
        opened = open_network(weights, request)
        self.classifier, card = Classifier.of(opened), opened.card
        self.top_k = min(request.top_k, len(card.classes))
        self.promise: Promise | None = None
        if request.max_error is not None:
            aim = Aim(request.max_error, request.confidence)
            self.promise = Promise(str(weights), card, aim, request.max_novelty, by_class=request.by_class)
        self._least_odds = None if request.label_set is None else self.classifier.least_odds(request.label_set)
        self.sides: list[int] = []
        self.answers: dict[str, str] = {}
        for answers in request.merge:
            self.answers |= read_answers(paths.expanded(answers))
        self._savers = _savers_of(request, weights, opened.device)

    def records(self, numbered: Iterator[tuple[int, Path]]) -> Iterator[Record]:
        """Yield the record of each file, which comes with its number among all.

        Raises ``UsageError`` for a PNG file that cannot be written.
        """
        numbers = deque[int]()  # of the images that are being read

        def paths() -> Iterator[Path]:
            for number, path in numbered:
                numbers.append(number)
                yield path

        for source, outcome in self.classifier.stream(
            paths(),
            invert=self.request.invert,
            min_confidence=self.request.min_confidence,
            max_novelty=self.request.max_novelty,
        ):
            record, number = self._record_of(source, outcome), numbers.popleft()
            if not isinstance(outcome, ImageError):
                if self.request.merge:
                    record["reviewed"] = False
                    self._answer(record, source, outcome)
                for saver in self._savers:
                    record[saver.key] = saver.save(number, source, outcome)
                if len(self.sides) < _SIZED:
                    self.sides.append(longer_side(source))
            yield record

    def _record_of(self, source: Path, outcome: Prediction | ImageError) -> Record:
        if isinstance(outcome, ImageError):
            return {"path": shown(source), "error": str(outcome)}
        record: Record = {
            "path": shown(source),
            "label": outcome.label,
            "index": outcome.index,
            "probability": outcome.probability,
            "top": [{"label": label, "probability": share} for label, share in outcome.top[: self.top_k]],
            "novelty": None if outcome.novelty is None else round(outcome.novelty, 4),
            "inverted": outcome.inverted,
        }
        if self._least_odds is not None:
            classes = self.classifier.card.classes
            record["label_set"] = [classes[index] for index in label_set(outcome.odds, self._least_odds)]
        if self.promise is not None:
            record["seen"] = self.classifier.seen(outcome)
        return record

    def _answer(self, record: Record, source: Path, outcome: Prediction) -> None:
        """Put the answer of a person into ``record`` if there is one."""
        answer = self.answers.get(paths.absolute(source))
        if answer is None:
            return
        classes = self.classifier.card.classes
        record["label"], record["reviewed"] = answer or NONE_OF_THESE, True
        record["index"] = classes.index(answer) if answer in classes else None
        record["probability"] = dict(outcome.top).get(answer, 0.0)


@dataclass(frozen=True)
class _Saver:
    """Saves a PNG of each prediction in ``folder``, for the entry ``key`` of its record."""

    key: Literal["input", "explanation"]
    folder: Path
    write: Callable[[Path, Prediction], None]

    def save(self, number: int, source: Path, prediction: Prediction) -> str:
        name = re.sub(r"[^\w.-]", "_", shown(Path(source.stem)))[:80]
        target = self.folder / f"{number:06}-{name}.png"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.write(target, prediction)
        except OSError as error:
            raise UsageError(f"{target}: cannot be written ({error.strerror or error}).") from error
        return str(target)


def _write_input(target: Path, prediction: Prediction) -> None:
    as_image(prediction.pixels.transpose(1, 2, 0)).save(target, format="PNG")


def _savers_of(request: PredictRequest, weights: Path, device: torch.device) -> list[_Saver]:
    savers = []
    if request.save_inputs is not None:
        savers.append(_Saver("input", request.save_inputs, _write_input))
    if request.explain is not None:
        from lrnet_cli.predict.explain import Explainer, write_overlay

        explainer = Explainer(weights, device)

        def explain(target: Path, prediction: Prediction) -> None:
            index = explainer.classes.index(prediction.top[0][0])
            write_overlay(target, prediction.pixels, explainer.attribute(prediction.pixels, index))

        savers.append(_Saver("explanation", request.explain, explain))
    return savers
