"""Expected failures. Each message says what was wrong, where, and what to do."""

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from string import Formatter


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return a sentence, after a space, with the one of ``known`` that is nearest to ``word``; empty if none is."""
    near = get_close_matches(word.lower(), list(known), 1)
    return f" Did you mean {near[0]}?" if near else ""


def reason_of(error: Exception) -> str:
    """Return the first line of what ``error`` says, or its kind if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


class LRNetError(Exception):
    """Base class of expected failures. The command line ends with exit code 1.

    Several arguments are lines, of which the first says it all.
    """

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))


class UsageError(LRNetError):
    """Settings that cannot be used as given. The command line ends with exit code 2."""


class SettingError(UsageError):
    """Settings that cannot be used, named in a message that a library and a command line write differently.

    In ``text``, ``{name}`` stands for the setting of that name, ``{no_name}`` for one that is off, or for the one of
    ``values`` that is called so: ``SettingError("{top_k} takes {range}, got {value}.", range=…, value=…)``.
    """

    def __init__(self, text: str, /, **values: object) -> None:
        super().__init__(text)
        self.text, self.values = text, values

    def __str__(self) -> str:
        return self.naming(lambda name: f"{name[3:]}=False" if name.startswith("no_") else name)

    def naming(self, write: Callable[[str], str]) -> str:
        """Return the message with the names of settings as ``write`` writes them."""
        named = {name: write(name) for _, name, _, _ in Formatter().parse(self.text) if name}
        return self.text.format(**named | self.values)


class DataError(LRNetError):
    """A data set or one of its files cannot be used."""


class DownloadError(DataError):
    """A file of a data set could not be fetched, checked or stored."""


class ImageError(LRNetError):
    """An image file cannot be read. The message holds the reason only: callers put the path before it."""


class WeightsError(LRNetError):
    """A weight file cannot be used."""


class MissingWeightsError(WeightsError, UsageError):
    """There are no weights of the name that was given."""


class ExportError(LRNetError):
    """A network cannot be written in another form, or one in another form cannot be run."""


class ExplanationError(LRNetError):
    """A prediction cannot be explained."""


class DeviceError(LRNetError):
    """A requested device is missing."""


class TrainingError(LRNetError):
    """A training run cannot start or continue."""


class RunFolderError(TrainingError, UsageError):
    """The folder that was given holds no run, or is not free for a new one."""


class LostProcessError(LRNetError):
    """Another of the processes that work together has ended."""


class InterruptedRunError(LRNetError):
    """Training was stopped before any weights were saved. The command line ends with exit code 130."""
