"""What images without labels add to few labelled ones: ``python tests/benchmarks/unlabelled.py DATA OUT``.

DATA is a folder of IDX files, or one with the class folders train/ and test/. Of the training images, ``--labelled``
of each class keep their labels; ``--others`` more, or all, are written without, and half as many of ``--foreign``, if
that data set is given. Trains with and without them, for the same time, and prints a Markdown row for each seed: the
accuracies on the test images, and what the run says of the images without labels.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from lrnet_cli.data.readers.by_path import read_raw
from lrnet_cli.data.readers.raw import RawSplit
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.settings.units import seconds_of
from lrnet_cli.training.train import train


def opened(split: RawSplit, index: int) -> Image.Image:
    """Return an image of ``split``, which holds files or pixels."""
    image = split.images[index]
    return Image.open(image) if isinstance(image, Path) else Image.fromarray(image.squeeze())


def write_set(data: Path, out: Path, labelled: int, others: int | None, seed: int) -> Path:
    """Write the list of labelled images and test images, and the folder scans/ of others; return the list."""
    raw = read_raw(data)
    assert raw.test is not None
    order = np.random.default_rng(seed).permutation(len(raw.train.labels))
    few = np.concatenate([order[raw.train.labels[order] == label][:labelled] for label in range(len(raw.classes))])
    rest = order[~np.isin(order, few)][:others]
    rows = ["file_name,label,split"]
    for name, split, chosen in (("train", raw.train, few), ("test", raw.test, np.arange(len(raw.test.labels)))):
        (out / name).mkdir(parents=True, exist_ok=True)
        for index in chosen.tolist():
            opened(split, index).save(out / name / f"{index}.png")
            rows.append(f"{name}/{index}.png,{raw.classes[split.labels[index]]},{name}")
    (out / "scans").mkdir(exist_ok=True)
    for index in rest.tolist():
        opened(raw.train, index).save(out / "scans" / f"{index}.png")
    (out / "labelled.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return out / "labelled.csv"


def add_foreign(source: Path, scans: Path) -> None:
    """Add half as many images of another data set to ``scans``."""
    raw = read_raw(source)
    count = min(len(list(scans.iterdir())) // 2, len(raw.train.labels))
    for index in range(count):
        opened(raw.train, index).save(scans / f"foreign-{index}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--labelled", type=int, default=10, help="images of each class")
    parser.add_argument("--others", type=int, help="images without labels; all by default")
    parser.add_argument("--foreign", type=Path, help="a data set whose images are among these")
    parser.add_argument("--arch", default="auto")
    parser.add_argument("--crop", default="auto", help="off for images as released")
    parser.add_argument("--time", type=seconds_of, default=3600.0, help="of each training, such as 1h")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    print("| seed | supervised | with the others | kept | taught | foreign | unsure | decided by |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for seed in range(options.seeds):
        folder = options.out.resolve() / f"seed-{seed}"
        table = write_set(options.data, folder, options.labelled, options.others, seed)
        if options.foreign is not None:
            add_foreign(options.foreign, folder / "scans")
        results = []
        for name, scans in (("alone", None), ("others", folder / "scans")):
            settings = {"arch": options.arch, "max_time": options.time, "seed": seed, "crop": options.crop}
            results.append(train(TrainConfig(dataset=str(table), unlabelled=scans, out=folder / name, **settings)))
        note = results[1]["unlabelled"]
        decided = f"{note['right'][0]} and {note['right'][1]} of {note['validation']}"
        cells = (
            *(seed, *(f"{result['test_accuracy']:.4f}" for result in results), note["kept"]),
            *(note["taught"], note["foreign"], note["unsure"], decided),
        )
        print("|", " | ".join(map(str, cells)), "|", flush=True)


if __name__ == "__main__":
    main()
