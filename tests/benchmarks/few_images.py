"""From few images a class, from scratch and from known weights: ``python tests/benchmarks/few_images.py DATA OUT``.

DATA is a folder with the class folders train/ and test/. Trains on the first 5, 20 and 100 images of each class, or
as many as there are: from scratch, from ``--init``, and from it with its blocks frozen. Every arm takes about as many
steps. Prints a Markdown row for each: test accuracy with its interval, balanced accuracy, seconds.
"""

import argparse
from pathlib import Path

from lrnet_cli.data.walk import natural
from lrnet_cli.evaluation.setup import load_setup
from lrnet_cli.models.engine import Engine
from lrnet_cli.paths import write_table
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.settings.requests import EvalRequest
from lrnet_cli.training.train import train

ARMS = ("scratch", "{}", "{}, blocks frozen")


def write_list(data: Path, target: Path, count: int) -> int:
    """Write the list of all test images and of ``count`` training images a class; return how many these are."""
    rows = []
    for split in ("train", "test"):
        for folder in sorted((data / split).iterdir(), key=lambda path: natural(path.name)):
            files = sorted(folder.iterdir())[: count if split == "train" else None]
            rows += [(str(file), folder.name, split) for file in files]
    write_table(target, ("file_name", "label", "split"), rows)
    return sum(split == "train" for *_, split in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--init", default="digits")
    parser.add_argument("--counts", type=int, nargs="+", default=[5, 20, 100])
    parser.add_argument("--images", type=int, default=45_000, help="shown to each arm, repeats included")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    print("| images a class | start | epochs | accuracy | balanced accuracy | seconds |")
    print("|---|---|---|---|---|---|", flush=True)
    for count in options.counts:
        table = (options.out / f"{count}.csv").resolve()
        total = write_list(options.data.resolve(), table, count)
        for arm in ARMS:
            name = arm.format(options.init)
            config = TrainConfig(
                dataset=str(table),
                arch="lrnet",
                crop="off",
                epochs=max(1, min(60, round(options.images / total))),
                init=None if arm == "scratch" else options.init,
                freeze="blocks" if "frozen" in arm else None,
                normalize="ground",
                compile="off",
                seed=0,
                out=options.out / f"{count}-{name.replace(', ', '-').replace(' ', '-')}",
            )
            result = train(config)
            evaluation = load_setup(Path(result["weights"]), EvalRequest(dataset=str(table)), Engine.at()).evaluate()
            low, high = evaluation.metrics.accuracy_ci95
            cells = (
                *(count, name, result["epochs"], f"{evaluation.metrics.accuracy:.3f} ({low:.3f} to {high:.3f})"),
                *(f"{evaluation.averages.balanced_accuracy:.3f}", f"{result['seconds']:.0f}"),
            )
            print("|", " | ".join(map(str, cells)), "|", flush=True)


if __name__ == "__main__":
    main()
