"""Command-line options made from a dataclass of settings, which defines them completely."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_origin

import typer

from lrnet_cli.cli.options import complete_dataset, complete_weights
from lrnet_cli.settings.setting import Request, Setting, settings_of

_COMPLETIONS = {
    "dataset": complete_dataset,
    "foreign": complete_dataset,
    "weights": complete_weights,
    "against": complete_weights,
    "init": complete_weights,
    "distill": complete_weights,
}


def with_request(
    request: type[Request], make: Callable[..., Any] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for each setting of ``request``, before its own parameters.

    ``command(request, …)`` receives what ``make``, by default ``request`` itself, makes of the settings that are on the
    command line or in environment variables.
    """
    declared: type = request
    chosen = {name: setting for name, setting in settings_of(declared).items() if setting.option}
    made = [_parameter(setting) for setting in chosen.values()]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(**values: object) -> None:
            taken = {name: values.pop(name) for name in chosen}
            taken = {name: tuple(value) if isinstance(value, list) else value for name, value in taken.items()}
            asked = {name: value for name, value in taken.items() if value not in (None, ())}
            command((make or request)(**asked), **values)

        _, *own = inspect.signature(command).parameters.values()
        ordered = [*made, *(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own)]
        run.__signature__ = inspect.Signature(ordered)  # type: ignore[attr-defined]  # what Typer reads
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in ordered}
        return run

    return decorate


def _parameter(setting: Setting) -> inspect.Parameter:
    needed = setting.default is ...
    return inspect.Parameter(
        setting.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if needed else None,
        annotation=Annotated[_kind(setting) if needed else _kind(setting) | None, option_of(setting)],
    )


def _kind(setting: Setting) -> Any:
    if setting.kind == tuple[str, ...]:
        return list[str]
    return str if get_origin(setting.kind) is Literal else setting.kind  # words are checked by the request


def option_of(setting: Setting) -> Any:
    """Return Typer's description of the option, or argument, that takes ``setting``."""
    more: dict[str, Any] = {"autocompletion": _COMPLETIONS.get(setting.name), "envvar": setting.envvar}
    if setting.argument:
        return typer.Argument(help=setting.description, show_default=False, **more)
    # A switch that is off by default needs no second flag to turn it off.
    is_switch = setting.kind is bool and not setting.default
    flags = [setting.flag] if setting.default is ... or is_switch or setting.name.endswith("_") else []
    metavar = setting.placeholder
    if setting.kind in (int, float):
        more["parser"] = setting.read
        metavar = metavar or ("N" if setting.kind is int else "X")
    elif setting.choices:
        more["autocompletion"] = setting.completed
        metavar = metavar or "CHOICE"
    return typer.Option(
        *flags,
        help=setting.description,
        show_default=False,
        rich_help_panel=setting.panel,
        metavar=metavar,
        **more,
    )
