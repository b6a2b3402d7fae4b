"""Configuration of the documentation site: ``sphinx-build -W -n docs docs/_build``."""

from lrnet_cli import __version__

project = "lrnet-cli"
author = "The lrnet-cli developers"
copyright = "2026, the lrnet-cli developers"
release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
smartquotes = False  # it would turn the -- of the options in examples into a dash
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_title = f"lrnet-cli {__version__}"
myst_heading_anchors = 3
autodoc_typehints = "description"
# Other projects' types cannot be linked without asking their sites while building.
nitpick_ignore_regex = [
    ("py:.*", r"(collections|numpy|os|pathlib|PIL|torch)\..*"),
    ("py:class", r".*\._(Source|Value)|.*\.RawDataset|Tensor"),
]
