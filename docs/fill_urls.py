"""Writes the project's address into every file that needs it: ``python docs/fill_urls.py https://github.com/me/lrnet``.

The address stands in ``[project.urls]`` of ``pyproject.toml``. Links must be absolute in files that PyPI, GitHub or a
citation manager show outside the repository.
"""

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = ("README.md", "CITATION.cff", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "pyproject.toml")


def address() -> str:
    """Return the address of the source in ``pyproject.toml``."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    return str(urls["Source"])


def main(new: str) -> None:
    old = address()
    for name in FILES:
        path = ROOT / name
        path.write_text(path.read_text(encoding="utf-8").replace(old, new.rstrip("/")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
