"""Writes the project's address into every file that needs it: ``python docs/fill_urls.py https://github.com/me/lrnet``.

The address stands in ``[project.urls]`` of ``pyproject.toml``. Links must be absolute in files that PyPI, GitHub or a
citation manager show outside the repository. GitHub's own tool takes the owner and the name only.
"""

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = (
    "README.md",
    "CITATION.cff",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "docs/explanation/security.md",
    "pyproject.toml",
)


def address() -> str:
    """Return the address of the source in ``pyproject.toml``."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    return str(urls["Source"])


def main(new: str) -> None:
    old, new = address(), new.rstrip("/")
    for name in FILES:
        path = ROOT / name
        text = path.read_text(encoding="utf-8").replace(old, new)
        path.write_text(text.replace(repository(old), repository(new)), encoding="utf-8")


def repository(address: str) -> str:
    """Return the owner and the name at the end of ``address``."""
    return "/".join(address.split("/")[-2:])


if __name__ == "__main__":
    main(sys.argv[1])
