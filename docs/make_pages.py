"""Makes the image of the README and of pages of this site in a browser: ``python docs/make_pages.py SITE``.

``SITE`` is the folder that Sphinx built. Needs Chromium, which Playwright starts.
"""

import shutil
import sys
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from markdown_it import MarkdownIt
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

HERE = Path(__file__).resolve().parent
PAGES = ("index.html", "how-to/own-images.html", "results.html")
PHONE, DESKTOP, HEIGHT = 390, 1280, 1000  # pixels
STYLE = """<meta charset="utf-8"><meta name="color-scheme" content="light dark"><style>
body { font: 16px/1.5 sans-serif; max-width: 55rem; margin: 1rem auto; padding: 0 1rem }
img { max-width: 100% }
pre { overflow: auto; padding: 0.7rem; background: color-mix(in srgb, currentColor 8%, transparent) }
table { border-collapse: collapse; display: block; overflow: auto }
td, th { border: 1px solid #ccc; padding: 0.3rem }
</style>"""


def main() -> None:
    site = Path(sys.argv[1]).resolve()
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        shown = [readme(Path(folder)), *(site / page for page in PAGES)]
        executable = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        rows = [
            [shot(browser, page, width, scheme) for width in (DESKTOP, PHONE) for page in shown]
            for scheme in ("light", "dark")
        ]
    draw(rows, HERE / "images" / "pages.webp")


def readme(folder: Path) -> Path:
    """Write the README as a page, with the images of this checkout."""
    text = (HERE.parent / "README.md").read_text(encoding="utf-8")
    page = folder / "README.html"
    body = MarkdownIt("commonmark").enable("table").render(text)
    body = body.replace("https://github.com/OWNER/REPOSITORY/raw/main/", f"{HERE.parent.as_uri()}/")
    page.write_text(STYLE + body, encoding="utf-8")
    return page


def shot(browser: Browser, page: Path, width: int, scheme: str) -> Image.Image:
    """Return the top of ``page`` as it looks in a window of ``width`` pixels, into which it must fit."""
    opened = browser.new_page(viewport={"width": width, "height": HEIGHT}, color_scheme=scheme)
    opened.goto(page.as_uri())
    wide = opened.evaluate("document.documentElement.scrollWidth")
    if wide > width:
        sys.exit(f"{page}: is {wide} pixels wide in a window of {width}.")
    image = Image.open(BytesIO(opened.screenshot()))
    opened.close()
    return image.convert("RGB")


def draw(rows: list[list[Image.Image]], path: Path) -> None:
    """Draw the screenshots side by side, at half their size."""
    gap = 12
    width = sum(image.width // 2 + gap for image in rows[0])
    sheet = Image.new("RGB", (width, len(rows) * (HEIGHT // 2 + gap)), "grey")
    for number, row in enumerate(rows):
        left = 0
        for image in row:
            sheet.paste(image.reduce(2), (left, number * (HEIGHT // 2 + gap)))
            left += image.width // 2 + gap
    sheet.save(path, quality=70)


if __name__ == "__main__":
    main()
