"""Selected images against random ones: ``python tests/benchmarks/selection.py DATA OUT``.

DATA is a folder of IDX files, or one with the class folders train/ and test/. For each seed and each of ``--labels``,
that many of ``--pool`` training images get their label: those that ``lrnet select`` chooses, or as many at random. Each
training takes ``--time``, and knows nothing of the other images. Prints a Markdown row for each pair, with the test
accuracies, and how often the selected images were at least as good.
"""

import argparse
from pathlib import Path

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


def write_list(out: Path, known: dict[str, tuple[str, str]], train: list[str], val: list[str]) -> Path:
    rows = [(path, known[path][0], split) for split, paths in (("train", train), ("val", val)) for path in paths]
    rows += [(path, label, split) for path, (label, split) in known.items() if split == "test"]
    write_table(out, ("file_name", "label", "split"), rows)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--labels", type=int, nargs="+", default=[100, 200, 500])
    parser.add_argument("--pool", type=int, default=6000)
    parser.add_argument("--tested", type=int, default=2000)
    parser.add_argument("--time", type=seconds_of, default=60.0)
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    known = write_images(read_raw(options.data), options.out, options.pool, options.tested)
    pool = [path for path, (_, split) in known.items() if split == "train"]
    print("| labels | seed | random | selected |\n|---|---|---|---|", flush=True)
    for count in options.labels:
        wins, sums = 0, np.zeros(2)
        for seed in range(options.seeds):
            drawn = np.random.default_rng([seed, count]).permutation(pool)[:count].tolist()
            request = SelectRequest(inputs=(str(options.out / "train"),), n=count, seed=seed)
            selection = select_images(request)
            held_out = round(_RANDOM_SHARE * count)
            arms = {
                "random": (drawn[held_out:], drawn[:held_out]),
                "selected": ([row.name for row in selection.chosen], [row.name for row in selection.random]),
            }
            reached = []
            for name, (taught, validated) in arms.items():
                folder = options.out / f"{count}-{seed}-{name}"
                table = write_list(Path(f"{folder}.csv"), known, taught, validated)
                config = TrainConfig(
                    dataset=str(table),
                    arch="resnet-small",
                    max_time=options.time,
                    seed=seed,
                    out=folder,
                )
                reached.append(train(config)["test_accuracy"])
            wins, sums = wins + (reached[1] >= reached[0]), sums + reached
            print(f"| {count} | {seed} | {reached[0]:.4f} | {reached[1]:.4f} |", flush=True)
        means = " | ".join(f"{mean:.4f}" for mean in sums / options.seeds)
        print(f"| {count} | mean; selected at least as good in {wins} of {options.seeds} | {means} |", flush=True)


if __name__ == "__main__":
    main()
