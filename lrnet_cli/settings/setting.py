"""What a setting is: a dataclass field with help, range and role in addition to type and default."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, MISSING, Field, dataclass, field, fields
from functools import cache
from inspect import get_annotations
from types import UnionType
from typing import Any, Concatenate, Literal, ParamSpec, Union, get_args, get_origin, get_type_hints

from lrnet_cli.errors import SettingError, suggestion
from lrnet_cli.settings.units import seconds_of

Role = Literal["recipe", "augmentation", "data", "engine", "place"]
"""What a setting decides: how the network learns, how training images are altered, on which images, how it is computed,
and where (folders and devices, which belong to one machine)."""

_P = ParamSpec("_P")


@dataclass(frozen=True)
class Range:
    """The numbers from ``low`` to ``high``; each end may be included or not. ``noun`` says what they are."""

    noun: Literal["whole number", "number", "share"]
    low: float
    high: float = math.inf
    low_included: bool = True
    high_included: bool = False
    because: str = ""

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, int | float):
            return False
        above = value >= self.low if self.low_included else value > self.low
        return above and (value <= self.high if self.high_included else value < self.high)

    def __str__(self) -> str:
        start = f"a {self.noun} {'from' if self.low_included else 'above'} {self.low:g}"
        if self.high == math.inf:
            return f"{start} up" if self.low_included else start
        return f"{start} to {self.high:.10g}" if self.high_included else f"{start} and below {self.high:g}"


COUNT = Range("whole number", 1)


def flag_of(name: str) -> str:
    """Return the option that sets the setting ``name``, such as ``--batch-size``; ``try_`` is a word of Python's."""
    return "--" + name.removesuffix("_").replace("_", "-")


@dataclass(frozen=True)
class Declared:
    """What the declaration of a setting says of it, besides its name, type and default.

    Its panel in ``--help`` is named after its role unless another is given; ``basic`` stands for the first panel.
    ``resumable`` settings may change when a run is resumed. Runs that differ only in settings that are not ``compared``
    have the same recipe. Without a word on either, a setting is resumable, and not compared, if it belongs to one
    machine. A setting that is not an ``option`` cannot be given on the command line. ``unit`` is ``time`` for seconds
    that are written as durations. ``placeholder`` stands for its value in ``--help``, where its kind does not say
    enough, and ``default_text`` for a default of None. An ``argument`` is given without its name.
    """

    help: str
    role: Role | None = None
    _: KW_ONLY
    panel: str | None = None
    within: Range | tuple[int, ...] | None = None
    compared: bool | None = None
    resumable: bool | None = None
    option: bool = True
    unit: Literal["time"] | None = None
    envvar: str | None = None
    placeholder: str | None = None
    default_text: str | None = None
    argument: bool = False


@dataclass(frozen=True, kw_only=True)
class Setting(Declared):
    """A setting as declared, with its name, its type without None (``kind``), and its default, ``...`` for none.

    ``words`` are those that a number's setting takes beside numbers.
    """

    name: str
    kind: Any
    default: Any
    words: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """The option that sets it, such as ``--batch-size``."""
        return flag_of(self.name)

    @property
    def choices(self) -> tuple[Any, ...]:
        """The words or numbers that it takes; empty if it takes any value of its kind."""
        if get_origin(self.kind) is Literal:
            return get_args(self.kind)
        return self.within if isinstance(self.within, tuple) else ()

    @property
    def _alternatives(self) -> str:
        *others, last = map(str, self.choices or ("",))
        return f"{', '.join(others)} or {last}" if others else last

    def completed(self, beginning: str) -> list[str]:
        """Return the words that it takes and that start with ``beginning``."""
        return [word for word in map(str, self.choices) if word.startswith(beginning)]

    @property
    def description(self) -> str:
        """The help text, its choices if it does not name them, and the default unless that is None, False or empty."""
        text = self.help
        if not all(re.search(rf"\b{choice}\b", text) for choice in self.choices):
            text += f" One of: {', '.join(map(str, self.choices))}."
        if self.default_text is not None:
            return f"{text} Default: {self.default_text}."
        if self.default in (None, False, (), ...):
            return text
        return f"{text} Default: {'on' if self.default is True else self.default}."

    def read(self, text: str) -> object:
        """Return the value that ``text`` stands for; raises ``SettingError`` if it is no number, and has to be one."""
        if self.unit == "time":
            return seconds_of(text, self.name)
        if self.kind not in (int, float) or text in self.words:
            return text
        try:
            value: object = self.kind(text)
        except ValueError as error:
            numbers = " or ".join([str(self._alternatives or self.within or "a whole number"), *self.words])
            raise SettingError(
                f"{{{self.name}}} takes {{numbers}}, got {{text!r}}.", numbers=numbers, text=text
            ) from error
        return value

    def check(self, value: object) -> None:
        """Raise ``SettingError`` if ``value`` is out of range or an unknown word; None always passes."""
        if value is None or value in self.words:
            return
        shown = f"{value:g}" if isinstance(value, float) else f"{value!r}" if isinstance(value, str) else value
        if self.choices and value not in self.choices:
            raise SettingError(
                f"{{{self.name}}} takes {self._alternatives}, got {{value}}."
                + suggestion(str(value), map(str, self.choices)),
                value=shown,
            )
        if isinstance(self.within, Range) and value not in self.within:
            because = f": {self.within.because}" if self.within.because else ""
            raise SettingError(f"{{{self.name}}} takes {self.within}, got {{value}}{because}.", value=shown)


def _declaring(declaration: Callable[_P, Declared]) -> Callable[Concatenate[object, _P], Any]:
    def declare(default: object, /, *args: _P.args, **more: _P.kwargs) -> Any:
        declared = declaration(*args, **more)
        return field(default=MISSING if default is ... else default, metadata={"declared": declared})

    return declare


setting = _declaring(Declared)
"""Return the dataclass field of a setting: its default, or ``...`` for one that has to be given, and ``Declared``."""


class Request:
    """A dataclass whose fields are made by ``setting``; bad values raise ``SettingError`` naming the field."""

    def __post_init__(self) -> None:
        own: type = type(self)
        for name, item in settings_of(own).items():
            item.check(getattr(self, name))


@cache
def settings_of(config: type) -> Mapping[str, Setting]:
    """Return the settings of a dataclass whose fields are made by ``setting``, by name, inherited ones last."""
    hints, known = get_type_hints(config), {item.name: item for item in fields(config)}
    names = dict.fromkeys([*get_annotations(config), *known])
    return {name: _setting_of(known[name], hints[name]) for name in names}


def _setting_of(item: Field[object], hint: object) -> Setting:
    union = get_origin(hint) in (Union, UnionType)
    kind, *more = (part for part in (get_args(hint) if union else (hint,)) if part is not type(None))
    declared: Declared = item.metadata["declared"]
    of_machine = declared.role == "place"
    panel = declared.panel or (declared.role and declared.role.capitalize())
    resolved = {
        "panel": None if panel == "basic" else panel,
        "compared": not of_machine if declared.compared is None else declared.compared,
        "resumable": of_machine if declared.resumable is None else declared.resumable,
        "default": ... if item.default is MISSING else item.default,
    }
    return Setting(**vars(declared) | resolved, name=item.name, kind=kind, words=get_args(more[0]) if more else ())
