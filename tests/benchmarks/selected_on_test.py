"""What the published protocol would have told: ``python tests/benchmarks/selected_on_test.py RUN… > OUT.json``.

Each RUN was trained with ``lrnet train --keep-epochs``. Every epoch's weights are tested, as the published
runs were, so that the epoch that is luckiest on the test images can be told. Nothing is chosen by it.
"""

import json
import sys
from pathlib import Path

from lrnet_cli.evaluation.setup import load_setup
from lrnet_cli.models.engine import Engine
from lrnet_cli.runs.folder import read_result
from lrnet_cli.settings.requests import EvalRequest


def main(folders: list[Path]) -> None:
    runs = []
    for folder in folders:
        result = read_result(folder)
        assert result is not None
        epochs = []
        for weights in sorted((folder / "epochs").glob("*.safetensors")):
            accuracy = load_setup(weights, EvalRequest(), Engine.at()).evaluate().metrics.accuracy
            epochs.append({"epoch": int(weights.stem), "test_accuracy": accuracy})
            print(f"{weights}: {accuracy:.4f}", file=sys.stderr, flush=True)
        kept = {"dataset": result["dataset"], "arch": result["arch"], "best_epoch": result["best_epoch"]}
        runs.append(kept | {"epochs": epochs})
    print(json.dumps({"runs": runs}, indent=2))


if __name__ == "__main__":
    main([Path(word) for word in sys.argv[1:]])
