"""What a setting is: a dataclass field with help, range and role in addition to type and default."""

import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cache
from inspect import get_annotations
from typing import Any, Literal, TypedDict, Unpack, get_args, get_origin, get_type_hints

from lrnet_cli.errors import SettingError, suggestion

Role = Literal["recipe", "augmentation", "data", "engine", "place"]
"""What a setting decides: how the network learns, how training images are altered, on which images, how it is computed,
and where (folders and devices, which belong to one machine)."""


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
    """Return the option that sets the setting ``name``, such as ``--batch-size``."""
    return "--" + name.replace("_", "-")


@dataclass(frozen=True)
class Setting:
    """A field of the settings: ``kind`` is its type without None.

    ``resumable`` settings may change when a run is resumed. Runs that differ only in settings that are not ``compared``
    have the same recipe. A setting that is not an ``option`` cannot be given on the command line. ``unit`` is ``time``
    for seconds that are written as durations. ``placeholder`` stands for its value in ``--help``, where its kind does
    not say enough, and ``default_text`` for a default of None. A setting without a default (``...``) has to be given;
    an ``argument`` is given without its name.
    """

    name: str
    kind: Any
    default: Any
    help: str
    role: Role | None
    panel: str | None
    within: Range | tuple[int, ...] | None
    compared: bool
    resumable: bool = False
    option: bool = True
    unit: Literal["time"] | None = None
    envvar: str | None = None
    placeholder: str | None = None
    default_text: str | None = None
    argument: bool = False

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

    def check(self, value: object) -> None:
        """Raise ``SettingError`` if ``value`` is out of range or an unknown word; None always passes."""
        if value is None:
            return
        shown = f"{value:g}" if isinstance(value, float) else f"{value!r}" if isinstance(value, str) else value
        if self.choices and value not in self.choices:
            raise SettingError(
                f"{{{self.name}}} takes {' or '.join(map(str, self.choices))}, got {{value}}."
                + suggestion(str(value), map(str, self.choices)),
                value=shown,
            )
        if isinstance(self.within, Range) and value not in self.within:
            because = f": {self.within.because}" if self.within.because else ""
            raise SettingError(f"{{{self.name}}} takes {self.within}, got {{value}}{because}.", value=shown)


class _More(TypedDict, total=False):
    """What few settings say of themselves; see ``Setting``."""

    resumable: bool
    compared: bool
    option: bool
    unit: Literal["time"] | None
    envvar: str | None
    placeholder: str | None
    default_text: str | None
    argument: bool


def setting(
    default: object,
    help: str,
    role: Role | None = None,
    *,
    panel: str | None = None,
    within: Range | tuple[int, ...] | None = None,
    **more: Unpack[_More],
) -> Any:
    """Return the dataclass field of a setting; ``more`` are those of ``Setting`` that differ from the usual.

    Its panel in ``--help`` is named after its role unless another is given; ``basic`` stands for the first panel.
    """
    shown = None if panel == "basic" else panel or (role and role.capitalize())
    return field(
        default=MISSING if default is ... else default,
        metadata={"compared": role != "place", **more, "help": help, "role": role, "panel": shown, "within": within},
    )


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
    kind = hint
    if type(None) in get_args(hint):
        (kind,) = (part for part in get_args(hint) if part is not type(None))
    default = ... if item.default is MISSING else item.default
    return Setting(name=item.name, kind=kind, default=default, **item.metadata)
