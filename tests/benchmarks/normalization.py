"""What normalisation alone changes: ``python tests/benchmarks/normalization.py [--weights digits] [--limit 300]``.

The accuracy of trained weights, without training, as they are and with each normalisation in front, on training images
of their data set: clean, under every corruption at severities 1, 3 and 5, on constant and sloping grounds, and with
less contrast. Test images stay unread: this is for choosing.
"""

import argparse
from collections.abc import Callable
from statistics import mean
from typing import get_args

import torch
from torch import Tensor

from lrnet_cli.data.datasets import load_dataset
from lrnet_cli.devices import describe_device
from lrnet_cli.evaluation.corruptions import CORRUPTIONS, corrupt
from lrnet_cli.models.engine import Engine
from lrnet_cli.models.logits import predict_logits
from lrnet_cli.settings.words import Normalize
from lrnet_cli.weights.file import load_weights
from lrnet_cli.weights.find import find_weights

SEVERITIES = (1, 3, 5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="digits")
    parser.add_argument("--limit", type=int, default=300)
    options = parser.parse_args()
    engine, (model, card) = Engine.at(), load_weights(find_weights(options.weights))
    split = load_dataset(card.dataset["name"]).train
    split = split.take(torch.arange(len(split) - options.limit, len(split)))
    line = torch.linspace(0, 60, split.images.shape[-1])
    cases: dict[str, Callable[[Tensor], list[Tensor]]] = {"clean": lambda x: [x]}
    for corruption in CORRUPTIONS:
        cases[corruption.name] = lambda x, corruption=corruption: [
            corrupt(x, corruption, severity, 0) for severity in SEVERITIES
        ]
    cases |= {f"ground {grey}": lambda x, grey=grey: [added(x, grey)] for grey in (32, 64, 96, 128, 160)}
    cases |= {f"contrast {share}": lambda x, share=share: [scaled(x, share)] for share in (0.5, 0.3, 0.2)}
    cases["sloping ground"] = lambda x: [added(x, line[:, None] + line)]
    columns: dict[str, dict[str, float]] = {}
    for how in get_args(Normalize):
        network = engine.place(model, how).eval()

        def accuracy(images: Tensor, network: torch.nn.Module = network) -> float:
            return float((predict_logits(network, images).argmax(1) == split.labels).float().mean())

        columns[how] = {name: mean(map(accuracy, case(split.images))) for name, case in cases.items()}
        columns[how]["mean over the first twelve"] = mean(
            columns[how][corruption.name] for corruption in CORRUPTIONS[:12]
        )
    print(f"{options.weights}, {len(split)} training images, {describe_device(engine.device)}, {engine.precision}")
    print(f"{'':26}", *(f"{how:>8}" for how in columns))
    for name in columns["none"]:
        print(f"{name:26}", *(f"{column[name]:8.3f}" for column in columns.values()))


def added(images: Tensor, grey: float | Tensor) -> Tensor:
    return (images.float() + grey).clamp(0, 255).to(torch.uint8)


def scaled(images: Tensor, share: float) -> Tensor:
    return (images.float() * share).to(torch.uint8)


if __name__ == "__main__":
    main()
