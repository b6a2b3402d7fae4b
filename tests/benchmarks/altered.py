"""Accuracy of runs on their validation images, as they are and altered by ``--robust 1``, whatever they trained with.

``python tests/benchmarks/altered.py runs/a runs/b``: a row of a Markdown table for each.
"""

import sys
from dataclasses import replace
from pathlib import Path

from lrnet_cli.evaluation.evaluate import evaluate
from lrnet_cli.models.engine import Engine
from lrnet_cli.paths import WEIGHTS_NAME
from lrnet_cli.processes import ALONE
from lrnet_cli.reporter import Reporter
from lrnet_cli.runs.folder import read_config
from lrnet_cli.training.certainty import altered
from lrnet_cli.training.prepare import prepare
from lrnet_cli.training.run import Run
from lrnet_cli.weights.file import load_weights


def main() -> None:
    engine = Engine.at()
    print("| run | as they are | altered |\n|---|---|---|", flush=True)
    for folder in map(Path, sys.argv[1:]):
        split = prepared(folder, engine).val_split
        model, card = load_weights(folder / WEIGHTS_NAME)
        network = engine.place(model, card.preprocessing.normalize).eval()
        accuracies = [
            evaluate(network, images, card).metrics.accuracy for images in (split, altered(split, 1.0, card.seed))
        ]
        print(f"| {folder} | {' | '.join(f'{accuracy:.4f}' for accuracy in accuracies)} |", flush=True)


def prepared(folder: Path, engine: Engine) -> Run:
    """Return the run of a folder with its data, as it was before its first step."""
    config = replace(read_config(folder)[0], init=None, distill=())  # what it took over is in its weights
    return prepare(config, folder, engine, ALONE, Reporter())


if __name__ == "__main__":
    main()
