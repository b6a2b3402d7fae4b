"""Selected images against random ones: ``python tests/benchmarks/selection.py DATA OUT``.

DATA is a folder of IDX files, or one with the class folders train/ and test/. For each seed and each of ``--labels``,
that many of ``--pool`` training images get their label: those that ``lrnet select`` chooses, or as many at random. Of
several ``--labels`` each is a round: what is selected is added to the round before, by the doubt of its network unless
``--covering``. Each training takes ``--time``, and knows nothing of the other images. Prints a Markdown row for each
pair, with the test accuracies, and how often the selected images were at least as good.
"""

import argparse
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from sets import save  # beside this file

from lrnet_cli.data.readers.by_path import read_raw
from lrnet_cli.data.readers.raw import RawDataset
from lrnet_cli.paths import write_table
from lrnet_cli.selection.job import select_images
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.settings.requests import SelectRequest
from lrnet_cli.settings.units import seconds_of
from lrnet_cli.training.train import train

_RANDOM_SHARE = 0.1  # for validation, of random images too


def write_images(raw: RawDataset, out: Path, pool: int, tested: int) -> dict[str, tuple[str, str]]:
    """Write the pool and the test images; return the label and the split of each file."""
    assert raw.test is not None
    known, draws = dict[str, tuple[str, str]](), np.random.default_rng(0)
    for name, split, most in (("train", raw.train, pool), ("test", raw.test, tested)):
        for path in save(split, draws.permutation(len(split.labels))[:most].tolist(), (out / name).resolve()):
            known[str(path)] = raw.classes[split.labels[int(path.stem)]], name
    return known


def accuracy_of(out: Path, known: dict[str, tuple[str, str]], splits: dict[str, str], **settings: Any) -> float:
    """Train in ``out`` on the images with ``splits``, their labels being ``known``; return the test accuracy."""
    columns = ("file_name", "label", "split", "reviewed")
    labelled = [(path, known[path][0], split, "yes") for path, split in splits.items()]
    tested = [(path, label, split, "yes") for path, (label, split) in known.items() if split == "test"]
    write_table(answers_of(out), columns, labelled)
    table = out.with_name(f"{out.name}-with-test.csv")
    write_table(table, columns, [*labelled, *tested])
    return float(train(TrainConfig(dataset=str(table), out=out, **settings))["test_accuracy"])


def answers_of(run: Path) -> Path:
    return run.with_name(f"{run.name}.csv")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--labels", type=int, nargs="+", default=[100, 200, 500])
    parser.add_argument("--pool", type=int, default=6000)
    parser.add_argument("--tested", type=int, default=2000)
    parser.add_argument("--covering", action="store_true", help="in later rounds too")
    parser.add_argument("--arch", default="resnet-small")
    parser.add_argument("--time", type=seconds_of, default=60.0)
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    out = options.out.resolve()
    known = write_images(read_raw(options.data), out, options.pool, options.tested)
    pool = [path for path, (_, split) in known.items() if split == "train"]
    pairs = defaultdict[int, list[tuple[float, float]]](list)
    print("| labels | seed | random | selected |\n|---|---|---|---|", flush=True)
    for seed in range(options.seeds):
        settings = {"arch": options.arch, "max_time": options.time, "seed": seed}
        selected, before = dict[str, str](), None
        for count in options.labels:
            drawn = np.random.default_rng([seed, count]).permutation(pool)[:count].tolist()
            held_out = round(_RANDOM_SHARE * count)
            random = dict.fromkeys(drawn[held_out:], "train") | dict.fromkeys(drawn[:held_out], "val")
            request = SelectRequest(
                inputs=(str(out / "train"),),
                n=count - len(selected),
                seed=seed,
                weights=None if before is None or options.covering else str(before),
                answers=() if before is None else (str(answers_of(before)),),
            )
            selection = select_images(request)
            selected |= {row.name: row.split for row in (*selection.chosen, *selection.random)}
            before = out / f"{count}-{seed}-selected"
            pair = (
                accuracy_of(out / f"{count}-{seed}-random", known, random, **settings),
                accuracy_of(before, known, selected, **settings),
            )
            pairs[count].append(pair)
            print(f"| {count} | {seed} | {pair[0]:.4f} | {pair[1]:.4f} |", flush=True)
    for count, reached in pairs.items():
        wins, means = sum(two >= one for one, two in reached), np.mean(reached, axis=0)
        print(
            f"| {count} | mean; selected at least as good in {wins} of {len(reached)} "
            f"| {means[0]:.4f} | {means[1]:.4f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
