"""What a training shows while it runs, and how it is stopped."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rich.progress import MofNCompleteColumn, TaskID, TextColumn

from lrnet_cli import ranks
from lrnet_cli.cli import launch, output
from lrnet_cli.escape import resuming
from lrnet_cli.reporter import EpochRow, Reporter


@contextmanager
def live() -> Iterator[tuple[Reporter, Callable[[], bool]]]:
    """Yield a reporter that shows the training, and a function that returns true after the first Ctrl-C or SIGTERM.

    A second one interrupts at once. Before the first step there is nothing to save, so there the first one does too.
    """
    shown = _Live()
    asked = False

    def ask(number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if not ranks.is_first():
            return  # the first process decides, and ends the others
        # The launcher ends the remaining processes with SIGTERM, which needs no message.
        is_ended = launch.is_launched() and number == signal.SIGTERM
        if asked or not shown.is_training:
            raise SystemExit(launch.LOST_ANOTHER) if is_ended else KeyboardInterrupt
        asked = True
        if not is_ended:
            output.message("Stopping after this step; press Ctrl-C again to stop at once.")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield shown, lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        shown.stop()


class _Live(output.LoadBars):
    """Shows a bar for the epoch on a terminal, and one line per epoch everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.is_training = False
        self.bar = output.progress(MofNCompleteColumn(), TextColumn("steps"))
        self._of_epochs = ""
        self._task: TaskID | None = None

    def stop(self) -> None:
        super().stop()
        self.bar.stop()

    def start(self, run_dir: Path, epochs: int | None) -> None:
        launch.note_recovery_hint(f"Resume from the last checkpoint with: {resuming(run_dir)}")
        self._of_epochs = f"/{epochs}" if epochs is not None else ""
        super().stop()

    def end(self) -> None:
        self.is_training = False  # while the next one prepares, there is nothing to save

    def step(self, epoch: int, done: int, total: int) -> None:
        self.is_training = True
        if self._task is None:
            self.bar.start()
            self._task = self.bar.add_task("")
        self.bar.update(
            self._task,
            completed=done,
            total=total,
            description=f"epoch {epoch}{self._of_epochs}",
            refresh=done == total,
        )

    def epoch(self, row: EpochRow, is_kept: bool, images_per_second: float) -> None:
        score = f"  score {row.val_score:.4f}" if row.val_score is not None else ""
        self.bar.console.print(
            f"epoch {row.epoch}{self._of_epochs}  train loss {row.train_loss:.4f}  accuracy {row.train_accuracy:.4f}  "
            f"val loss {row.val_loss:.4f}  accuracy {row.val_accuracy:.4f}{score}{' (kept)' if is_kept else ''}  "
            f"{images_per_second:.0f} images/s",
            highlight=False,
            soft_wrap=True,
        )
