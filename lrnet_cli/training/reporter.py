"""What a training tells of itself while it goes."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class EpochRow:
    """One row of ``metrics.csv``. Losses are means a picture in nats, accuracies shares in [0, 1].

    Nothing here depends on the clock: a resumed run writes the rows of an uninterrupted one.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float


class Reporter:
    """Hears of a run as it goes; every method does nothing unless overridden."""

    def message(self, text: str) -> None:
        """Something worth a line happened."""

    def download(self, name: str, done: int, total: int | None) -> None:
        """``done`` of ``total`` bytes of a file have arrived."""

    def start(self, run_dir: Path, epochs: int | None) -> None:
        """Take note that a run of ``epochs`` epochs, or of as many as fit into its time, begins or goes on."""

    def step(self, epoch: int, done: int, total: int) -> None:
        """``done`` of ``total`` steps of an epoch are taken."""

    def epoch(self, row: EpochRow, is_best: bool, images_per_second: float) -> None:
        """Take note that an epoch is over, its training steps having run at ``images_per_second``."""
