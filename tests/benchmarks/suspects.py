"""How many exchanged labels the suspects of a series find: ``python tests/benchmarks/suspects.py digits FOLDER``.

Writes images of a known data set to FOLDER/images as class folders, a share of them under a wrong class, drawn at
random; cross-validates on them; and counts the exchanged ones among the first of ``suspects.csv``.
"""

import argparse
import json
import random
from pathlib import Path

from lrnet_cli.data.datasets import load_dataset
from lrnet_cli.data.images import as_image
from lrnet_cli.runs.suspects import find_suspects
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.training.series import train_series


def write_images(name: str, folder: Path, count: int, share: float) -> set[str]:
    """Write the first ``count`` training images; return the files with a wrong label."""
    dataset, drawing, wrong = load_dataset(name), random.Random(0), set()
    images, labels = dataset.train.images[:count].numpy(), dataset.train.labels[:count].tolist()
    chosen = set(drawing.sample(range(count), round(share * count)))
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        given = drawing.choice([other for other in range(len(dataset.classes)) if other != label])
        named = dataset.classes[given if number in chosen else label].replace("/", "-")
        target = folder / named / f"{number:05d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        as_image(image.transpose(1, 2, 0)).save(target)
        if number in chosen:
            wrong.add(str(target.resolve()))
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=6000)
    parser.add_argument("--share", type=float, default=0.02)
    parser.add_argument("--epochs", type=int, default=4)
    options = parser.parse_args()
    wrong = write_images(options.dataset, options.folder / "images", options.count, options.share)
    config = TrainConfig(
        dataset=str(options.folder / "images"),
        arch="lrnet",
        epochs=options.epochs,
        seed=0,
        compile="off",
        out=options.folder / "series",
    )
    result = train_series(config, folds=5)
    suspects = find_suspects(Path(run["run_dir"]) for run in result["runs"])
    first = [suspect.file in wrong for suspect in suspects[: len(wrong)]]
    print(
        json.dumps(
            {
                "images": options.count,
                "exchanged": len(wrong),
                "suspects": len(suspects),
                "exchanged_among_suspects": sum(suspect.file in wrong for suspect in suspects),
                "exchanged_among_the_first_of_as_many": sum(first),
                "accuracy_by_given_labels": result["test_accuracy"],
                "seconds": result["seconds"],
            }
        )
    )


if __name__ == "__main__":
    main()
