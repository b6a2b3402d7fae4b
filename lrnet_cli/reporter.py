"""What is reported during work: messages, downloads, steps and epochs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

OnProgress = Callable[[str, int, int | None], None]
"""Called with a file's name, the bytes that have arrived and the total number (None if not known)."""
OnMessage = Callable[[str], None]


def silent(*_: object) -> None:
    """Report nothing."""


def counted(number: int, one: str, several: str) -> str:
    """Return ``number`` and what there is of that number: ``one``, or ``several``."""
    return f"{number} {one if number == 1 else several}"


@dataclass(frozen=True)
class EpochRow:
    """One row of ``metrics.csv``. Losses are means per image in nats, accuracies shares in [0, 1].

    ``val_score``, the higher the better, decides which epoch is kept where that is not the accuracy. Nothing here
    depends on the clock: a resumed run writes the rows of an uninterrupted one.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    val_score: float | None = None

    @property
    def score(self) -> float:
        """What decides which epoch is kept; the higher the better."""
        return self.val_accuracy if self.val_score is None else self.val_score


class Reporter:
    """Receives what a training run reports; every method does nothing unless overridden."""

    def message(self, text: str) -> None:
        """Something worth a line happened."""

    def download(self, name: str, done: int, total: int | None) -> None:
        """``done`` of ``total`` bytes of a file have arrived."""

    def images(self, done: int, total: int) -> None:
        """``done`` of ``total`` image files of the data set are read."""

    def work(self, name: str, done: int, total: int | None) -> None:
        """``done`` of ``total`` images of a piece of work are done."""

    def start(self, run_dir: Path, epochs: int | None) -> None:
        """A network starts or goes on to learn, for ``epochs`` epochs or for as many as fit into its time.

        A run that images without labels teach has two networks before its own.
        """

    def end(self) -> None:
        """A network is trained; another one may follow, of the same run or of the next one."""

    def step(self, epoch: int, done: int, total: int) -> None:
        """``done`` of ``total`` steps of an epoch are taken."""

    def epoch(self, row: EpochRow, is_kept: bool, images_per_second: float) -> None:
        """An epoch is over; its training steps ran at ``images_per_second``."""


SILENT = Reporter()
