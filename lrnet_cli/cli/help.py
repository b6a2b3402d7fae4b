"""How the commands present their options in ``--help``: by what a person gives, not by its type in Python."""

from typing import Any

from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

# What stands for a value, by Typer's word for its type; all others are choices, which the help text names.
_PLACEHOLDERS = {"<bool>": "", "<int>": "N", "<float>": "X", "<path>": "PATH", "<str>": "NAME", "<list[str]>": "NAME"}


class PlainHelp:
    """Mixed into a command or group: placeholders instead of types, and each default as a sentence."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters as they are shown."""
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]  # that of Typer's class
        for param in params:
            if isinstance(param, TyperArgument):
                param.display_type_rich = _nothing  # type: ignore[method-assign]  # its name says enough
            elif isinstance(param, TyperOption):
                if param.metavar is None:
                    param.metavar = _PLACEHOLDERS.get(param.display_type(ctx), "CHOICE")
                if param.show_default and param.default is not None and param.default is not False:
                    param.show_default = str(param.default)
                if isinstance(param.show_default, str):
                    param.help, param.show_default = f"{param.help} Default: {param.show_default}.", False
        return params

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the parts of the usage line, with arguments in capitals."""
        pieces: list[str] = super().collect_usage_pieces(ctx)  # type: ignore[misc]  # that of Typer's class
        return [piece.replace("{", "").replace("}", "").upper() for piece in pieces]


def _nothing(ctx: object) -> None:  # noqa: ARG001  # passed by name
    return None


class Command(PlainHelp, TyperCommand):
    """A command with plain help."""


class Group(PlainHelp, TyperGroup):
    """A group of commands with plain help."""
