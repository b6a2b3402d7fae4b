"""Expected failures. Each message says what was wrong, where, and what to do."""

from collections.abc import Iterable
from difflib import get_close_matches


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return a sentence, after a space, with the one of ``known`` that is nearest to ``word``; empty if none is."""
    near = get_close_matches(word.lower(), list(known), 1)
    return f" Did you mean {near[0]}?" if near else ""


class LRNetError(Exception):
    """Something outside the program is not as required. The command line ends with exit code 1.

    Several arguments are lines, of which the first says it all.
    """

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))


class UsageError(LRNetError):
    """Settings that cannot be used as given. The command line ends with exit code 2."""


class DataError(LRNetError):
    """A data set or one of its files cannot be used."""


class DownloadError(DataError):
    """A file of a data set could not be fetched, checked or stored."""


class ImageError(LRNetError):
    """A picture file cannot be read. The message holds the reason only: callers put the path before it."""


class WeightsError(LRNetError):
    """A weight file cannot be used."""


class ExportError(LRNetError):
    """A network cannot be written in another form, or one in another form cannot be run."""


class ExplanationError(LRNetError):
    """A prediction cannot be explained."""


class DeviceError(LRNetError):
    """A requested device is missing."""


class TrainingError(LRNetError):
    """A training run cannot start or continue."""


class LostProcessError(LRNetError):
    """Another of the processes that work together has ended."""


class InterruptedRunError(LRNetError):
    """A training was stopped before it had anything to show. The command line ends with exit code 130."""
