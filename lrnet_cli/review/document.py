"""From templates to documents of one style: the pages that this tool writes."""

import base64
import hashlib
from functools import cache
from importlib.resources import files

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from lrnet_cli.escape import printable

_SCRIPTS = ("state.js", "store.js", "grid.js", "picker.js", "page.js")  # in this order, as one


def environment() -> Environment:
    """Return where templates are found; text that fills them in is escaped, and nothing may be missing."""
    return Environment(
        loader=ChoiceLoader([PackageLoader("lrnet_cli", "report"), PackageLoader("lrnet_cli.review", "page")]),
        autoescape=True,
        finalize=lambda value: printable(value, keep="\n") if type(value) is str else value,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )


@cache
def script() -> str:
    """Return the script of the review page."""
    page = files("lrnet_cli.review") / "page"
    parts = (page.joinpath(name).read_text(encoding="utf-8") for name in _SCRIPTS)
    return '"use strict";\n' + "\n".join(parts)


@cache
def style() -> str:
    """Return the style of the review page, which begins with that of all pages."""
    page = files("lrnet_cli.review") / "page"
    return "".join(page.joinpath(name).read_text(encoding="utf-8") for name in ("family.css", "review.css"))


def source_hash(text: str) -> str:
    """Return how a content security policy names an inline script or style."""
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii") + "'"
