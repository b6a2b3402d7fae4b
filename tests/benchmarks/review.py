"""How long a review page takes to write and open, how large it is, and how smoothly it scrolls.

``python tests/benchmarks/review.py FOLDER --images 20000`` writes that many colour JPEG files of 160×200 pixels to
FOLDER, unless they are there, then the page, and opens it in Chromium at desktop and phone width.
"""

import argparse
import csv
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lrnet_cli.review.job import make_review
from lrnet_cli.settings.requests import ReviewRequest

CLASSES, SCROLLED = 50, 6  # classes, and seconds
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
# Frames a second, and the share of them that took over 25 ms, while a wheel would scroll by three rows a frame.
FRAMES = """(seconds) => new Promise((done) => {
  const view = document.getElementById("grid"); const begun = performance.now(); const took = []; let last = begun;
  const step = (now) => {
    took.push(now - last); last = now;
    view.scrollTop += 240;
    if (view.scrollTop + view.clientHeight >= view.scrollHeight - 1) view.scrollTop = 0;
    if (now - begun < 1000 * seconds) requestAnimationFrame(step);
    else done([took.length / ((now - begun) / 1000), took.filter((one) => one > 25).length / took.length]);
  };
  requestAnimationFrame(step);
})"""


def write_images(folder: Path, count: int) -> Path:
    """Write images with the colours and the grain of scans, and predictions of them; return those."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(count):
        file = folder / f"{number:06}.jpg"
        if not file.exists():
            coarse = random.integers(40, 220, (5, 4, 3), dtype=np.uint8)
            page = np.asarray(Image.fromarray(coarse).resize((160, 200), Image.Resampling.BICUBIC), np.int16)
            grain = random.integers(-20, 20, (200, 160, 1), dtype=np.int16)
            Image.fromarray((page + grain).clip(0, 255).astype(np.uint8)).save(file, quality=85)
        rows.append([str(file.resolve()), f"class {number % CLASSES}", number % CLASSES, round(random.random(), 4)])
    source = folder / "labels.csv"
    with source.open("w", newline="", encoding="utf-8") as target:
        table = csv.writer(target)
        table.writerow(["path", "label", "index", "probability"])
        table.writerows(rows)
    return source


def measure(page: Path) -> dict[str, Any]:
    """Return how long the page takes to open and how smoothly it scrolls, by the size of the window."""
    from playwright.sync_api import sync_playwright

    result: dict[str, Any] = {}
    arguments = ["--no-sandbox", "--disable-gpu"]
    with sync_playwright() as session:
        browser = session.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        for name, (width, height) in SIZES.items():
            window = browser.new_page(viewport={"width": width, "height": height})
            begun = time.perf_counter()
            window.goto(page.resolve().as_uri())
            while not window.evaluate("/blob:/.test(document.querySelector('.cell.current i')?.style.backgroundImage)"):
                time.sleep(0.01)
            opened = time.perf_counter() - begun
            frames, slow = window.evaluate(FRAMES, SCROLLED)
            begun = time.perf_counter()
            window.keyboard.press("ArrowRight")
            window.evaluate("() => new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)))")
            key = time.perf_counter() - begun
            result[name] = {"opened_s": opened, "frames_per_second": frames, "slow_frames": slow, "key_s": key}
            window.close()
        browser.close()
    return result


def main() -> None:
    """Measure, and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--weights", help="also show what this network saw")
    arguments = parser.parse_args()
    source = write_images(arguments.folder, arguments.images)
    page = arguments.folder / "page.html"
    begun = time.perf_counter()
    made = make_review(ReviewRequest(source=source, output=page, weights=arguments.weights))
    written = time.perf_counter() - begun
    figures = {"images": made.images, "written_s": written, "megabytes": page.stat().st_size / 1e6} | measure(page)
    json.dump(figures, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
