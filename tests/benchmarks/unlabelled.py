"""What images without labels add to few labelled ones: ``python tests/benchmarks/unlabelled.py DATA OUT``.

DATA is a folder of IDX files, or one with the class folders train/ and test/. Of the training images, ``--labelled``
of each class keep their labels; ``--others`` more, or all, are written without, and half as many of ``--foreign``, if
that data set is given. Of the others, with ``--unequal``, the rarest class has a twentieth of the images of the most
frequent one. Trains with and without them, for the same time, and prints a Markdown row for each seed: the
accuracies on the test images, and what the run says of the images without labels.
"""

import argparse
from pathlib import Path

import numpy as np
from sets import save  # beside this file

from lrnet_cli.data.readers.by_path import read_raw
from lrnet_cli.paths import write_table
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.settings.units import seconds_of
from lrnet_cli.training.train import train

_LEAST = 20  # times as many images of the most frequent class as of the rarest


def write_set(options: argparse.Namespace, out: Path, seed: int) -> Path:
    """Write the list of labelled images and test images, and the folder scans/ of others; return the list."""
    raw, draws = read_raw(options.data), np.random.default_rng(seed)
    assert raw.test is not None
    order = draws.permutation(len(raw.train.labels))
    classes = range(len(raw.classes))
    few = np.concatenate([order[raw.train.labels[order] == label][: options.labelled] for label in classes])
    rest = order[~np.isin(order, few)][: options.others]
    if options.unequal:
        shares = draws.permutation(np.geomspace(1, 1 / _LEAST, len(raw.classes)))
        rest = rest[draws.random(len(rest)) < shares[raw.train.labels[rest]]]
    rows = []
    for name, split, chosen in (("train", raw.train, few), ("test", raw.test, np.arange(len(raw.test.labels)))):
        files = save(split, chosen.tolist(), out / name, noisy=options.noisy)
        rows += [(file, raw.classes[split.labels[int(file.stem)]], name) for file in files]
    write_table(out / "labelled.csv", ("file_name", "label", "split"), rows)
    save(raw.train, rest.tolist(), out / "scans", noisy=options.noisy)
    if options.foreign is not None:
        save(read_raw(options.foreign).train, range(len(rest) // 2), out / "scans" / "foreign")
    return out / "labelled.csv"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--labelled", type=int, default=10, help="images of each class")
    parser.add_argument("--others", type=int, help="images without labels; all by default")
    parser.add_argument("--foreign", type=Path, help="a data set whose images are among these")
    parser.add_argument("--unequal", action="store_true", help="the others' classes")
    parser.add_argument("--noisy", action="store_true", help="every third image, of the test too")
    parser.add_argument("--arch", default="auto")
    parser.add_argument("--crop", default="auto", help="off for images as released")
    parser.add_argument("--time", type=seconds_of, default=3600.0, help="of each training, such as 1h")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    print("| seed | supervised | with the others | kept | taught | foreign | unsure | decided by |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for seed in range(options.seeds):
        folder = options.out.resolve() / f"seed-{seed}"
        table = write_set(options, folder, seed)
        results = []
        for name, scans in (("alone", None), ("others", folder / "scans")):
            settings = {"arch": options.arch, "max_time": options.time, "seed": seed, "crop": options.crop}
            results.append(train(TrainConfig(dataset=str(table), unlabelled=scans, out=folder / name, **settings)))
        note = results[1]["unlabelled"]
        cells = [seed, *(f"{result['test_accuracy']:.4f}" for result in results)]
        if note is None:
            cells += ["not used", *4 * [""]]
        else:
            decided = f"{note['right'][0]} and {note['right'][1]} of {note['validation']}"
            cells += [note["kept"], note["taught"], note["foreign"], note["unsure"], decided]
        print("|", " | ".join(map(str, cells)), "|", flush=True)


if __name__ == "__main__":
    main()
