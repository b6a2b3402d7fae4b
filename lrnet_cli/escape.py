"""Names come from strangers. This is how they are made harmless for each place where they are shown or handed on."""

import html
import json
import os
import re
import shlex
from collections.abc import Callable

_FORMULA = ("=", "+", "-", "@", "\0", "\t", "\n", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # or wide
_MARKDOWN = r"[\\`*~|#$\[\]]|(?<![^\W_])_|_(?![^\W_])"  # an underscore inside a word is no markup


def printable(text: str, keep: str = "") -> str:
    """Return ``text`` with everything escaped that steers a terminal or the direction of writing, except ``keep``."""
    return _with_escaped(text, keep, lambda one: one.encode("unicode_escape", "surrogatepass").decode("ascii"))


def as_json(content: object, indent: int | None = None) -> str:
    """Return ``content`` as JSON, with the same escaped: it reads back unchanged, and is safe to look at."""
    return _with_escaped(
        json.dumps(content, indent=indent, ensure_ascii=False), "\n", lambda one: json.dumps(one).strip('"')
    )


def in_markdown(text: str) -> str:
    """Return Markdown that shows ``text`` in a line or in the cell of a table."""
    return re.sub(_MARKDOWN, r"\\\g<0>", html.escape(printable(text), quote=False))


def in_words(value: object) -> str:
    """Return a JSON value as text for people: without brackets and quotes, and numbers with six digits."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {in_words(item)}" for name, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(in_words, value)) or "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def in_shell(*words: object) -> str:
    """Return the command line that consists of ``words``, for bash and zsh, in printable characters."""
    return " ".join(shlex.quote(word) if word.isprintable() else _ansi_c(word) for word in map(str, words))


def resuming(folder: object) -> str:
    """Return the command line that resumes the run in ``folder``."""
    return in_shell("lrnet", "train", "--resume", folder)


def in_spreadsheet(cell: object) -> object:
    """Return ``cell`` of a CSV file with an apostrophe before text that a spreadsheet would take for a formula.

    So OWASP advises: https://owasp.org/www-community/attacks/CSV_Injection
    """
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def _ansi_c(word: str) -> str:
    r"""Return ``word`` in the shell's form ``$'…'``, where ``\xNN`` is a byte."""
    quoted = re.sub(r"[\\']", r"\\\g<0>", word)
    escaped = _with_escaped(quoted, "", lambda one: "".join(f"\\x{byte:02x}" for byte in os.fsencode(one)))
    return f"$'{escaped}'"


def _with_escaped(text: str, keep: str, escaped: Callable[[str], str]) -> str:
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in keep else escaped(one) for one in text)
