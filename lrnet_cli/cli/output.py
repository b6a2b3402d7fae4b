"""Where output goes: data to stdout, everything else to stderr; bars only on a terminal.

All that a terminal shows passes through here, where names are escaped.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from lrnet_cli import ranks
from lrnet_cli.escape import as_json, printable
from lrnet_cli.reporter import Reporter

_NAMED = 5  # files that cannot be read


@dataclass(frozen=True)
class Output:
    """What a command prints on stdout: one JSON document, or lines and tables for people.

    A command gives it both; the one not asked for is not printed, and the rows of its tables are not even computed.
    """

    as_json: bool

    def document(self, content: Mapping[str, object]) -> None:
        """Print ``content``, which names its schema, indented."""
        if self.as_json:
            print(as_json(content, indent=2))

    def line(self, text: str) -> None:
        """Print a line for people."""
        if not self.as_json:
            print(printable(text))

    def table(self, columns: Iterable[str], rows: Iterable[Iterable[object]], title: str | None = None) -> None:
        """Print a table for people; long cells are folded, never cut."""
        if self.as_json:
            return
        table = Table(title=None if title is None else _cell(title, "table.title"), title_justify="left")
        for name in columns:
            table.add_column(_cell(name), overflow="fold")
        for row in rows:
            table.add_row(*map(_cell, row))
        Console(width=None if sys.stdout.isatty() else 200).print(table)


class Data:
    """Takes data for stdout: unaltered into a file or pipe, for a terminal escaped."""

    def write(self, text: str, /) -> None:
        """Print ``text``."""
        sys.stdout.write(printable(text, keep="\n") if sys.stdout.isatty() else text)

    def flush(self) -> None:
        """Show what was printed."""
        sys.stdout.flush()


def message(text: str) -> None:
    """Print a line to stderr; of several processes that work together only the first does."""
    if ranks.is_first():
        print(printable(text), file=sys.stderr, flush=True)


def error(*lines: str) -> None:
    """Print an error to stderr."""
    shown = Text("\n").join(_cell(line, "not bold default") for line in lines)
    Console(stderr=True, soft_wrap=True).print(Text("Error: ", style="bold red").append(shown))


def unreadable(files: Sequence[tuple[str, str]]) -> None:
    """Print errors for image files that cannot be read, each with the reason; of many, only the first few."""
    for path, reason in files[:_NAMED]:
        error(f"{path}: {reason}.")
    if len(files) > _NAMED:
        error(f"{len(files) - _NAMED} more images cannot be read.")


def _cell(content: object, style: str = "") -> Text:
    """Return ``content`` to be shown as it is, not as markup."""
    return Text(printable(str(content)), style)


def progress(*columns: ProgressColumn) -> Progress:
    """Return a progress display on stderr, which shows nothing elsewhere than on a terminal, or in a second process."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        *columns,
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not (sys.stderr.isatty() and ranks.is_first()),
    )


class RateColumn(ProgressColumn):
    """Shows the number of images per second."""

    def render(self, task: Task) -> Text:
        """Return the rate of ``task``, or nothing while it is unknown."""
        return Text(f"{task.speed:.0f} images/s" if task.speed else "")


class LoadBars(Reporter):
    """Shows messages, a bar for each file that arrives, one for the images that are read, and one for other work.

    The last has the columns ``of_work``, too, unless it is ``hidden``.
    """

    def __init__(self, *of_work: ProgressColumn, hidden: bool = False) -> None:
        self._downloads = progress(DownloadColumn(), TransferSpeedColumn())
        self._images = progress(MofNCompleteColumn(), RateColumn())
        self._work = progress(MofNCompleteColumn(), *of_work)
        self._work.disable |= hidden
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> "LoadBars":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Remove the bars."""
        self._downloads.stop()
        self._images.stop()
        self._work.stop()

    def message(self, text: str) -> None:
        """Print a line to stderr."""
        message(text)

    def download(self, name: str, done: int, total: int | None) -> None:
        """Show that ``done`` of ``total`` bytes of the file ``name`` have arrived."""
        self._advance(self._downloads, name, done, total)

    def images(self, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` image files are read."""
        self._downloads.stop()
        self._advance(self._images, "reading", done, total)

    def work(self, name: str, done: int, total: int | None) -> None:
        """Show that ``done`` of ``total`` pieces of the work ``name`` are done."""
        self._advance(self._work, name, done, total)

    def _advance(self, bars: Progress, name: str, done: int, total: int | None) -> None:
        bars.start()
        if name not in self._tasks:
            self._tasks[name] = bars.add_task(printable(name))
        bars.update(self._tasks[name], completed=done, total=total)
        if done == total:
            bars.stop()
