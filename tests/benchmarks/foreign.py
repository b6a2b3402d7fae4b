"""How foreign images are told from known ones: ``python tests/benchmarks/foreign.py WEIGHTS [DATASET…] [--limit N]``.

The known images are the test images of the weights' own data set. The foreign ones are those of the data sets named,
and four kinds that are made here: printed letters (without those that look like digits), noise, blank paper of any grey
with a slope and a little noise, and paper with scribbled lines.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib import font_manager
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lrnet_cli.data.images import prepare
from lrnet_cli.evaluation.foreign import ForeignImages, measure_foreign
from lrnet_cli.evaluation.setup import EvaluationSetup, load_foreign, load_setup
from lrnet_cli.models.engine import Engine
from lrnet_cli.settings.requests import EvalRequest
from lrnet_cli.weights.find import find_weights

_MADE = 500  # of each kind
_LETTERS = "ACDEFGHJKLMNPQRTUVWXYacdefhijkmnprtuvwxy"
_FONTS = ("DejaVu Sans", "DejaVu Serif", "DejaVu Sans Mono", "STIXGeneral", "cmr10")
_SIDE = 56  # of a made image; the weights' own preprocessing makes it smaller


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights")
    parser.add_argument("datasets", nargs="*")
    parser.add_argument("--limit", type=int, help="images of each data set")
    options = parser.parse_args()
    request = EvalRequest(limit=options.limit, foreign=tuple(options.datasets))
    setup = load_setup(find_weights(options.weights), request, Engine.at())
    unknown, found = foreign_of(setup, request)
    print(f"{len(setup.split)} known images, of which {unknown:.4f} are called unknown\n")
    print("\n".join(as_table(found)))


def foreign_of(setup: EvaluationSetup, request: EvalRequest) -> tuple[float, list[ForeignImages]]:
    """Return the share of the setup's own images that are unknown, and how foreign ones are told from them."""
    known = setup.novelty(setup.split.images)
    sets = [load_foreign(setup, name, request) for name in request.foreign]
    generator = np.random.default_rng(0)
    for name, make in (("letters", letter), ("noise", noise), ("blank paper", blank), ("scribbles", scribble)):
        images = [prepare(make(generator), setup.card.preprocessing)[0] for _ in range(_MADE)]
        sets.append((name, torch.from_numpy(np.stack(images)).to(setup.split.images.device)))
    measured = [measure_foreign(name, setup.novelty(images), known) for name, images in sets]
    return float((known > 1).float().mean()), measured


def as_table(found: list[ForeignImages]) -> list[str]:
    return [
        "| out-of-distribution | images | AUROC | 95% interval | called unknown |",
        "|---|---|---|---|---|",
        *(
            f"| {Path(item.dataset).name} | {item.n} | {item.auroc:.4f} | {item.auroc_ci95[0]:.4f} to "
            f"{item.auroc_ci95[1]:.4f} | {item.unknown:.4f} |"
            for item in found
        ),
    ]


def letter(generator: np.random.Generator) -> Image.Image:
    image = Image.new("L", (_SIDE, _SIDE))
    family = font_manager.FontProperties(family=str(generator.choice(_FONTS)))
    font = ImageFont.truetype(font_manager.findfont(family), int(generator.integers(34, 46)))
    text = str(generator.choice(list(_LETTERS)))
    ImageDraw.Draw(image).text((_SIDE / 2, _SIDE / 2), text, fill=255, font=font, anchor="mm")
    return image


def noise(generator: np.random.Generator) -> Image.Image:
    return Image.fromarray(generator.integers(0, 256, (28, 28), np.uint8))


def blank(generator: np.random.Generator) -> Image.Image:
    return as_image(paper(generator))


def scribble(generator: np.random.Generator) -> Image.Image:
    ink = Image.new("L", (_SIDE, _SIDE))
    points = [tuple(generator.uniform(0, _SIDE, 2)) for _ in range(int(generator.integers(3, 9)))]
    ImageDraw.Draw(ink).line(points, fill=255, width=int(generator.integers(2, 6)), joint="curve")
    grey = np.maximum(paper(generator) * 0.4, np.asarray(ink))
    return as_image(grey)


def paper(generator: np.random.Generator) -> NDArray[np.float64]:
    line = np.linspace(-0.5, 0.5, _SIDE)
    down, right = generator.uniform(-60, 60, 2)
    plane = generator.uniform(20, 235) + down * line[:, None] + right * line
    return np.asarray(plane + generator.normal(0, generator.uniform(0, 8), plane.shape))


def as_image(grey: NDArray[np.float64]) -> Image.Image:
    return Image.fromarray(grey.clip(0, 255).astype(np.uint8))


if __name__ == "__main__":
    main()
