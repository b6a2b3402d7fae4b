"""What `lrnet predict` makes of corrupted images by default, where `lrnet eval` never answers `unknown`.

``python tests/benchmarks/unknown.py digits fashion [--limit 200]``
"""

import argparse

import torch

from lrnet_cli.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from lrnet_cli.evaluation.setup import load_setup
from lrnet_cli.models.engine import Engine
from lrnet_cli.models.logits import predict_logits
from lrnet_cli.settings.requests import EvalRequest
from lrnet_cli.weights.find import find_weights

_FIRST = 12  # corruptions, whose mean README names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", nargs="+")
    parser.add_argument("--limit", type=int, default=200)
    options = parser.parse_args()
    engine = Engine.at()
    for name in options.weights:
        setup = load_setup(find_weights(name), EvalRequest(limit=options.limit), engine)
        assert setup.card.novelty is not None
        right, known = [], []
        for kind in CORRUPTIONS[:_FIRST]:
            for severity in SEVERITIES:
                images = corrupt(setup.split.images, kind, severity, 0).to(engine.device)
                outputs = predict_logits(setup.opened.described, images)
                answers = outputs[:, : len(setup.card.classes)].argmax(1)
                right.append(answers == setup.split.labels.cpu())
                known.append(setup.card.novelty(outputs) <= 1)
        is_right, is_known = torch.cat(right), torch.cat(known)
        counted, answered, unknown = is_right, is_right & is_known, ~is_known
        shares = [f"{marks.float().mean():.3f}" for marks in (counted, answered, unknown)]
        print(f"{name}: {len(setup.split)} test images, {_FIRST} corruptions at {len(SEVERITIES)} severities")
        print("  right as eval counts {}, right as predict answers {}, unknown {}".format(*shares))


if __name__ == "__main__":
    main()
