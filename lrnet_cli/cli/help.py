"""How the commands present their options in ``--help``: by what a person gives, not by its type in Python."""

from typing import Any

from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

# What stands for a value, by Typer's word for its type; other options say themselves what they take.
_PLACEHOLDERS = {"<bool>": "", "<path>": "PATH", "<str>": "NAME", "<list[str]>": "NAME"}


class PlainHelp:
    """Mixed into a command or group: placeholders instead of types."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters as they are shown."""
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]  # that of Typer's class
        for param in params:
            if isinstance(param, TyperArgument):
                param.display_type_rich = _nothing  # type: ignore[method-assign]  # its name says enough
            elif isinstance(param, TyperOption) and param.metavar is None:
                param.metavar = _PLACEHOLDERS[param.display_type(ctx)]
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
