"""Command-line options made from the settings of a training run, which define them completely."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from lrnet_cli.cli.options import complete_dataset, complete_weights
from lrnet_cli.settings.config import SETTINGS
from lrnet_cli.settings.durations import seconds_of
from lrnet_cli.settings.setting import Setting


def with_settings(*names: str, **switches: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for each setting in ``names``; without any, for all of them, in panels.

    ``command(given, …)`` receives, by name, those on the command line and in environment variables, and whether each of
    ``switches``, options that are off by default, is on.
    """
    chosen = {name: setting for name, setting in SETTINGS.items() if setting.option and (name in names or not names)}
    made = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[_kind(setting) | None, _option(setting, None if names else setting.panel)],
        )
        for name, setting in chosen.items()
    ]
    made += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=switch)
        for name, switch in switches.items()
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(**values: Any) -> None:
            given = {name: values.pop(name) for name in (*chosen, *switches)}
            given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
            command({name: value for name, value in given.items() if value not in (None, ())}, **values)

        _, *own = inspect.signature(command).parameters.values()
        parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
        # The settings come first where a command is all about them.
        ordered = [*parameters, *made] if names else [*made, *parameters]
        run.__signature__ = inspect.Signature(ordered)  # type: ignore[attr-defined]  # what Typer reads
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in ordered}
        return run

    return decorate


_COMPLETIONS = {"dataset": complete_dataset, "init": complete_weights, "distill": complete_weights}


def _kind(setting: Setting) -> Any:
    return list[str] if setting.kind == tuple[str, ...] else setting.kind


def _option(setting: Setting, panel: str | None) -> Any:
    # A switch that is off by default needs no second flag to turn it off.
    flags = [setting.flag] if setting.kind is bool and not setting.default else []
    more: dict[str, Any] = {"metavar": setting.placeholder}
    if setting.unit == "time":
        more["parser"] = seconds_of
    if setting.name in _COMPLETIONS:
        more["autocompletion"] = _COMPLETIONS[setting.name]
    return typer.Option(
        *flags, help=setting.description, show_default=False, rich_help_panel=panel, envvar=setting.envvar, **more
    )
