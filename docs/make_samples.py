"""Makes the images of ``lrnet predict samples``, and the README's of their labels: ``python docs/make_samples.py``.

The digits are scans from scikit-learn's ``load_digits`` (UCI's *optical recognition of handwritten digits*, CC BY 4.0),
enlarged and put on bad paper by this script. The bird is drawn.
"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from sklearn.datasets import load_digits

from lrnet_cli import Classifier
from lrnet_cli.predict.inputs import SAMPLES

SIDE, DIGIT = 64, 44  # pixels of a sample, and of the digit in it
SCANS = {"clean": 4, "noisy": 3, "shadow": 8, "faint": 2, "inverted": 6, "illegible": 19}


def main() -> None:
    SAMPLES.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    inks = {name: scanned(number) for name, number in SCANS.items()} | {"bird": bird()}
    for name, ink in inks.items():
        grey = np.clip(photographed(ink, name, rng), 0, 1)
        Image.fromarray((grey * 255).astype("uint8")).save(SAMPLES / f"{name}.png", optimize=True)
    draw_labels([SAMPLES / f"{name}.png" for name in inks], Path(__file__).parent / "images" / "samples.png")


def scanned(number: int) -> NDArray[np.float64]:
    """Return how much ink each pixel has, (SIDE, SIDE) from 0 to 1."""
    scan = Image.fromarray((load_digits().images[number] * 15.9).astype("uint8"))
    margin = (SIDE - DIGIT) // 2
    return np.pad(np.asarray(scan.resize((DIGIT, DIGIT), Image.Resampling.BICUBIC)) / 255, margin)


def bird() -> NDArray[np.float64]:
    drawing = Image.new("L", (SIDE, SIDE))
    pen = ImageDraw.Draw(drawing)
    pen.ellipse((14, 26, 46, 48), fill=255)
    pen.ellipse((36, 16, 52, 32), fill=255)
    pen.polygon([(50, 22), (59, 26), (50, 28)], fill=255)
    pen.polygon([(16, 36), (4, 26), (6, 42)], fill=255)
    pen.line([(28, 46), (26, 58)], fill=255, width=2)
    pen.line([(34, 46), (34, 58)], fill=255, width=2)
    return np.asarray(drawing) / 255


def photographed(ink: NDArray[np.float64], name: str, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return grey values, dark ink on light paper but for ``inverted``."""
    noise = rng.normal(size=ink.shape)
    light = np.linspace(0.9, 0.35, SIDE)
    return {
        "clean": 0.93 - 0.8 * ink + 0.01 * noise,
        "noisy": 0.85 - 0.6 * ink + 0.12 * noise,
        "shadow": light * (1 - 0.7 * ink) + 0.02 * noise,
        "faint": 0.62 - 0.12 * ink + 0.012 * noise,
        "inverted": 0.12 + 0.75 * ink + 0.05 * noise,
        "illegible": 0.85 - 0.6 * ink + 0.12 * noise,
        "bird": 0.9 - 0.7 * ink + 0.04 * noise,
    }[name]


def draw_labels(files: list[Path], path: Path) -> None:
    """Draw each file above the label that ``lrnet predict --weights digits`` gives it."""
    classifier = Classifier.load("digits")
    figure = Figure(figsize=(8, 1.75), facecolor="white", layout="constrained")
    for axis, file in zip(figure.subplots(1, len(files)), files, strict=True):
        prediction = classifier.predict(file, max_novelty=1.0)
        known = prediction.index is not None
        axis.imshow(Image.open(file), cmap="gray", vmin=0, vmax=255)
        axis.set_title(file.name, fontsize=9, color="#555555")
        axis.set_xlabel(
            f"{prediction.label}\n{prediction.probability:.1%}"
            if known
            else f"unknown\nnovelty {prediction.novelty:.1f}",
            fontsize=11,
            color="#1a1a1a" if known else "#b00020",
        )
        axis.set(xticks=[], yticks=[])
    figure.savefig(path, dpi=150, metadata={"Software": ""})


if __name__ == "__main__":
    main()
