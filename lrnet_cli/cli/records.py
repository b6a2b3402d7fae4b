"""The work of ``lrnet predict``: a record for each picture, made by one process or by several."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from rich.progress import Progress

from lrnet_cli.cli import output
from lrnet_cli.cli.inputs import find_inputs, shown
from lrnet_cli.cli.rows import RowFile
from lrnet_cli.errors import ImageError

if TYPE_CHECKING:
    from lrnet_cli.predict.classifier import Classifier, Prediction
    from lrnet_cli.processes import Processes

_ENOUGH, _SIZED = 5, 20  # pictures: to judge polarity by; whose sizes are looked at
_LARGE = 12  # sides of the network's input
Saver = Callable[[int, Path, "Prediction"], dict[str, str]]
_Place = tuple[int, Path]  # in all inputs, from 1 up


@dataclass
class Work:
    """The current prediction, by the settings ``asked`` of the classifier.

    ``rows`` and ``bar`` are those of the first process. ``done`` and ``failed`` count pictures, including those of
    earlier predictions into the same output.
    """

    classifier: "Classifier"
    processes: "Processes"
    inputs: list[str]
    asked: dict[str, Any]
    top_k: int
    savers: list[Saver]
    rows: RowFile | None
    bar: Progress
    done: int = 0
    failed: int = 0
    unknown: int = 0  # of those of this command, as the next ones
    inverted: int = 0
    sides: list[int] = field(default_factory=list)

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield one record per picture, in order, in every process."""
        from lrnet_cli.predict.shared import shared_out

        task = self.bar.add_task("", total=None)
        for record in shared_out(self._places(task), self._made, self.processes):
            self._count(record)
            self.bar.advance(task)
            yield record

    def remark(self) -> None:
        """Say what became of the pictures, and where they are, as a whole, foreign to the weights."""
        if self.rows is not None:
            output.message(f"{self.done} pictures have a row, {self.unknown} as unknown; {self.failed} cannot be read.")
        preprocessing = self.classifier.card.preprocessing
        if self.done >= _ENOUGH and self.inverted > self.done / 2:
            output.message(
                f"{self.inverted} of {self.done} pictures were inverted, since the weights know "
                f"{preprocessing.polarity} ones; if the labels look wrong, try --invert no."
            )
        if self.sides and median(self.sides) > _LARGE * preprocessing.image_size:
            output.message(
                f"The pictures are about {median(self.sides):.0f} pixels wide or high, and the weights see "
                f"{preprocessing.image_size}: fine detail is lost."
            )

    def _places(self, task: Any) -> Iterator[_Place]:
        """Yield the inputs that have no row yet, each with its place."""
        found, rows, place = find_inputs(self.inputs), self.rows, 0
        if rows is not None:
            place, self.failed = rows.count, rows.failed
            self.done = place - self.failed
            found = (path for path in found if rows.lacks(shown(path)))
        if self.processes.together:  # others could find other files, or nothing on stdin
            listed = list(enumerate(found, place + 1)) if self.processes.is_first else None
            listed = self.processes.agree(listed)
        elif self.bar.disable or "-" in self.inputs:
            self.bar.update(task, completed=place)
            return enumerate(found, place + 1)
        else:  # the bar shows how many there are
            listed = list(enumerate(found, place + 1))
        self.bar.update(task, completed=place, total=place + len(listed))
        return iter(listed)

    def _made(self, places: Iterator[_Place]) -> Iterator[dict[str, Any]]:
        ahead = deque[int]()  # the places of what is being read

        def paths() -> Iterator[Path]:
            for place, path in places:
                ahead.append(place)
                yield path

        for source, outcome in self.classifier.stream(paths(), **self.asked):
            yield self._record(ahead.popleft(), source, outcome)

    def _record(self, place: int, source: Path, outcome: "Prediction | ImageError") -> dict[str, Any]:
        if isinstance(outcome, ImageError):
            return {"path": shown(source), "error": str(outcome)}
        record = {
            "path": shown(source),
            "label": outcome.label,
            "index": outcome.index,
            "probability": outcome.probability,
            "top": [{"label": label, "probability": share} for label, share in outcome.top[: self.top_k]],
            "novelty": None if outcome.novelty is None else round(outcome.novelty, 4),
            "inverted": outcome.inverted,
        }
        for save in self.savers:
            record |= save(place, source, outcome)
        if len(self.sides) < _SIZED:
            from lrnet_cli.data.files import longer_side  # loads Pillow

            self.sides.append(longer_side(source))
        return record

    def _count(self, record: dict[str, Any]) -> None:
        if "error" in record:
            self.failed += 1
            if self.processes.is_first:
                output.error(f"{record['path']}: {record['error']}.")
            return
        self.done += 1
        self.unknown += record["index"] is None
        self.inverted += record["inverted"]
