"""Accuracy on even grounds and with little contrast: ``python tests/benchmarks/grounds.py WEIGHTS… [--limit N]``.

On the test images of the weights' own data set, with a grey added to every pixel (and clipped at white), and with
every pixel multiplied by a share.
"""

import argparse

import torch
from torch import Tensor

from lrnet_cli.evaluation.intervals import wilson_interval
from lrnet_cli.evaluation.setup import load_setup
from lrnet_cli.models.engine import Engine
from lrnet_cli.models.logits import predict_logits
from lrnet_cli.settings.requests import EvalRequest
from lrnet_cli.weights.find import find_weights

GREYS, SHARES = (0, 32, 64, 96, 128, 160), (0.5, 0.3, 0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", nargs="+")
    parser.add_argument("--limit", type=int)
    options = parser.parse_args()
    engine, request = Engine.at(), EvalRequest(limit=options.limit)
    setups = [load_setup(find_weights(weights), request, engine) for weights in options.weights]
    print(f"| {len(setups[0].split)} test images | {' | '.join(options.weights)} |")
    print("|---|" + "---|" * len(setups))
    cases: dict[str, tuple[float, float]] = {f"grey {grey} added": (1.0, grey) for grey in GREYS}
    cases |= {f"contrast reduced to {share}": (share, 0.0) for share in SHARES}
    for name, (share, grey) in cases.items():
        cells = []
        for setup in setups:
            images: Tensor = (setup.split.images.float() * share + grey).round().clamp(0, 255).to(torch.uint8)
            right = int((predict_logits(setup.opened.network, images).argmax(1) == setup.split.labels.cpu()).sum())
            low, high = wilson_interval(right, len(images))
            cells.append(f"{right / len(images):.4f} ({low:.4f} to {high:.4f})")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
