"""The job of ``lrnet predict``: a record of each image file, made by one process or by several."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from statistics import median

from lrnet_cli import ranks
from lrnet_cli.data.reading import kinds_of, listed
from lrnet_cli.models.engine import Engine
from lrnet_cli.predict.classifier import UNKNOWN
from lrnet_cli.predict.inputs import find_inputs, shown
from lrnet_cli.predict.promised import Outcome, Promise
from lrnet_cli.predict.record import Record, Recorder
from lrnet_cli.predict.rows import RowFile, RowStyle, Spool, sole_writer
from lrnet_cli.predict.shared import shared_out
from lrnet_cli.processes import Processes, joined
from lrnet_cli.reporter import SILENT, Reporter, counted
from lrnet_cli.settings.requests import PredictRequest
from lrnet_cli.weights.find import described_weights, find_weights, fingerprint_of

_ENOUGH = 5  # images, to judge polarity by
_LARGE = 12  # sides of the network's input
_LISTED = 200_000  # files, at most, are listed before the first is predicted, so that their number is known


@dataclass
class Summary:
    """How many images have a prediction (``done``), and how many cannot be read (``failed``).

    Both include those whose rows were in ``output`` before. Of the images predicted now, ``unknown`` are in none of the
    classes, ``inverted`` had light and dark swapped, and ``reviewed`` have a person's answer.
    """

    done: int = 0
    failed: int = 0
    unknown: int = 0
    inverted: int = 0
    reviewed: int = 0

    def add(self, record: Record) -> None:
        """Count the image of ``record``."""
        if "error" in record:
            self.failed += 1
            return
        self.done += 1
        reviewed = record.get("reviewed", False)
        self.unknown += record["index"] is None and not reviewed
        self.inverted += record["inverted"]
        self.reviewed += reviewed


class PredictionJob:
    """The prediction of image files: iterate over it, once, for the record of each, in order.

    ``recorder`` has the network, and ``summary`` counts the records so far. ``rows``, of the first process, is the file
    of ``request.output``, to which the records are written. With a promised error rate, the records come once all
    images are predicted, those of a resumed file too, and ``outcome`` says then what is promised.
    """

    def __init__(self, recorder: Recorder, rows: RowFile | None, processes: Processes, reporter: Reporter) -> None:
        self.recorder, self.rows = recorder, rows
        self.summary = Summary() if rows is None else Summary(done=rows.count - rows.failed, failed=rows.failed)
        self.outcome: Outcome | None = None
        self._processes, self._reporter = processes, reporter
        self._left_out = Counter[str]()

    def __iter__(self) -> Iterator[Record]:
        if self.recorder.promise is None:
            yield from self._predicted(self.rows)
            if self.rows is not None:
                self.rows.finish()
        elif self.rows is not None:
            yield from self._settled_together(self.recorder.promise, self.rows)
        else:
            with Spool() as spool:
                yield from self._settled_together(self.recorder.promise, spool)
        if self.rows is not None and not self.rows.added:
            self._reporter.message(f"{self.rows.path} already has a row for each input; none was added.")

    def _settled_together(self, promise: Promise, drafts: RowFile | Spool) -> Iterator[Record]:
        """Predict every image, set the threshold for all of them, and yield their records."""
        for _ in self._predicted(drafts):
            pass
        if isinstance(drafts, RowFile) and drafts.is_settled:
            return
        outcome = self.outcome = promise.outcome(draft["seen"] for draft in drafts.drafts() if _is_own(draft))
        self.summary = Summary()
        for draft in drafts.drafts():
            record = _settled(draft, outcome)
            self.summary.add(record)
            yield record
        if isinstance(drafts, RowFile):
            drafts.finish((_settled(draft, outcome) for draft in drafts.drafts()), promise.aim.max_error)

    def _predicted(self, rows: RowFile | Spool | None) -> Iterator[Record]:
        """Yield the records of the images that have no row yet, and write them to ``rows``."""
        numbered, total = self._inputs()
        done = self.summary.done + self.summary.failed
        self._reporter.work("images", done, total)
        for record in shared_out(numbered, self.recorder.records, self._processes):
            done += 1
            self.summary.add(record)
            if rows is not None:
                rows.write(record)
            self._reporter.work("images", done, total)
            yield record

    def _inputs(self) -> tuple[Iterator[tuple[int, Path]], int | None]:
        """Return the files that have no row yet, numbered among all, and the number of all if it is known."""
        paths, rows, count = find_inputs(self.recorder.request.inputs, self._left_out), self.rows, 0
        if rows is not None:
            paths, count = (path for path in paths if rows.lacks(shown(path))), rows.count
        numbered: Iterator[tuple[int, Path]] = enumerate(paths, count + 1)
        if self._processes.together:  # others could find other files, or nothing on stdin
            numbered = iter(self._processes.agree([*numbered] if self._processes.is_first else None))
        elif "-" in self.recorder.request.inputs:  # whose paths may arrive one by one
            return numbered, None
        listed = [*islice(numbered, _LISTED)]
        return chain(listed, numbered), count + len(listed) if len(listed) < _LISTED else None

    def remarks(self) -> Iterator[str]:
        """Yield what became of the images, and in what they are, as a whole, unlike those that the network knows."""
        summary, recorder = self.summary, self.recorder
        preprocessing = recorder.classifier.card.preprocessing
        if recorder.promise is not None and self.outcome is not None:
            yield from recorder.promise.remarks(self.outcome)
        if self.rows is not None:
            added = self.rows.added
            is_all = self.outcome is not None or added == summary.done + summary.failed
            images = counted(summary.done, "image has", "images have")
            unknown = f"{summary.unknown}" if is_all else f"{summary.unknown} of the {added} new ones"
            of_new = f", {unknown} as unknown" if is_all or added else ""
            yield f"{images} a row{of_new}; {summary.failed} cannot be read."
        if self._left_out:
            yield f"Left out in folders: {listed(kinds_of(self._left_out))}."
        if recorder.request.merge:
            yield f"{summary.reviewed} of the labels are answers of a person."
        if summary.done >= _ENOUGH and summary.inverted > summary.done / 2:
            yield (
                f"{summary.inverted} of {summary.done} images were inverted, since the weights know "
                f"{preprocessing.polarity} ones; if the labels look wrong, try --invert no."
            )
        if recorder.sides and median(recorder.sides) > _LARGE * preprocessing.image_size:
            yield (
                f"The images are about {median(recorder.sides):.0f} pixels wide or high, and the weights see "
                f"{preprocessing.image_size}: fine detail is lost."
            )


@contextmanager
def predict_files(request: PredictRequest, reporter: Reporter = SILENT) -> Iterator[PredictionJob]:
    """Give the prediction of the files that ``request`` names, to iterate over inside a ``with`` block.

    If PyTorch's launcher started several processes, they share the work: each is given all records, and the first one
    reports and writes. ``procs`` and ``gpus`` start no process here.

    Raises ``WeightsError``, ``DeviceError`` or ``ExplanationError`` for what is missing or cannot be used,
    ``UsageError`` for inputs without images and for files that cannot be written or resumed, and ``LostProcessError``
    if another process has ended.
    """
    reporter = reporter if ranks.is_first() else SILENT
    weights = find_weights(request.weights)
    with joined(Engine.at(request).device, lambda: recovery_hint(request)) as processes:
        recorder = Recorder(request, weights)
        reporter.message(
            f"Weights: {described_weights(weights)}. Device: {recorder.classifier.runs_on}{processes.among}."
        )
        is_bounded = request.max_novelty not in (PredictRequest.max_novelty, math.inf)
        if is_bounded and recorder.classifier.card.novelty is None:
            reporter.message(
                f"{weights}: these weights cannot recognise unfamiliar images, so --max-novelty has no effect."
            )
        if recorder.promise is not None:
            reporter.message(recorder.promise.announcement())
        with ExitStack() as stack:
            rows = None
            if processes.is_first and request.output is not None:
                stack.enter_context(sole_writer(request.output))
                rows = stack.enter_context(_row_file(recorder))
            job = PredictionJob(recorder, rows, processes, reporter)
            try:
                yield job
            except KeyboardInterrupt:
                if rows is not None and rows.count:
                    reporter.message(f"{rows.count} rows are in {rows.part}; continue with --resume.")
                raise
        for remark in job.remarks():
            reporter.message(remark)


def recovery_hint(request: PredictRequest) -> str:
    """Return what to do if one of several processes is lost."""
    return "Run the command again." if request.output is None else "The rows so far are kept; continue with --resume."


def _row_file(recorder: Recorder) -> RowFile:
    request, form = recorder.request, recorder.request.row_format
    assert request.output is not None
    assert form is not None
    bounds = float(request.min_confidence), float(request.max_novelty)
    settings: list[object] = [
        form,
        recorder.top_k,
        *bounds,
        request.invert,
        str(request.save_inputs),
        str(request.explain),
    ]
    if (request.max_error, request.label_set) != (None, None):
        settings += [request.max_error, request.confidence, request.by_class, request.label_set]
    if request.merge:
        settings += [f"{path}: {label}" for path, label in sorted(recorder.answers.items())]
    digest = hashlib.sha256((fingerprint_of(recorder.weights) + json.dumps(settings)).encode())
    fingerprint, drafts = digest.hexdigest()[:8], recorder.promise is not None
    return RowFile(
        request.output,
        RowStyle(form, recorder.top_k, request.label_set is not None, bool(request.merge)),
        fingerprint,
        resume=request.resume,
        drafts=drafts,
    )


def _is_own(draft: Record) -> bool:
    """Return whether the label of a draft is the network's, not a person's."""
    return "seen" in draft and not draft.get("reviewed", False)


def _settled(draft: Record, outcome: Outcome) -> Record:
    """Return the record of a draft, which is ``unknown`` if the network's label is not accepted."""
    record: Record = {**draft}
    record.pop("seen", None)
    if _is_own(draft) and draft["index"] is not None and not outcome.accepts(draft["seen"]["score"], draft["index"]):
        record["label"], record["index"] = UNKNOWN, None
    return record
