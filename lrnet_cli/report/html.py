"""The evaluation report: one HTML file that asks nothing of any other."""

import base64
import io
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image


def render_report(**content: Any) -> str:
    """Return the page for ``content``, whose names are those of the template; every text in it is escaped.

    Only ``reliability_svg``, ``curves_svg`` and the ``svg`` of each kind are markup and go in as they are.
    """
    environment = Environment(
        loader=PackageLoader("lrnet_cli", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    return environment.get_template("report.html.j2").render(**content)


def as_data_uri(pixels: NDArray[np.uint8]) -> str:
    """Return a picture, uint8 (channels, side, side), as a PNG in a data URI."""
    stored = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))).save(
        stored, format="PNG", optimize=True
    )
    return "data:image/png;base64," + base64.b64encode(stored.getvalue()).decode("ascii")
