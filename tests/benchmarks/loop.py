"""Labels against what they finish: ``python tests/benchmarks/loop.py DATA OUT``.

DATA is a folder of IDX files, or one with the class folders train/ and test/. Of ``--pool`` training images without
labels, ``lrnet select`` chooses so many that they are as many as each of ``--labels``, from the second round on by the
doubt of the last run; true labels are a person's answers. Each run has the others as ``--unlabelled`` and ``--time``.
Prints a Markdown row for each round: the labels, a person's minutes for them at ``--seconds`` each, the test accuracy,
the share of the pool's other labels that are right, and the share of the pool that is finished when the most certain
of them are accepted with at most 1% of errors, by the true labels.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from selection import write_images  # beside this file

from lrnet_cli import Classifier, paths
from lrnet_cli.data.readers.by_path import read_raw
from lrnet_cli.selection.job import select_images
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.settings.requests import SelectRequest
from lrnet_cli.settings.units import seconds_of
from lrnet_cli.training.train import train

_ERROR = 0.01


def finished(right: np.ndarray, scores: np.ndarray) -> int:
    """Return how many of the most certain labels can be accepted with at most 1% of errors."""
    ranked = right[np.argsort(-scores, kind="stable")]
    allowed = np.flatnonzero(np.cumsum(~ranked) <= _ERROR * np.arange(1, len(ranked) + 1))
    return int(allowed[-1]) + 1 if len(allowed) else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--labels", type=int, nargs="+", default=[100, 200, 400, 800], help="after each round")
    parser.add_argument("--pool", type=int, default=6000)
    parser.add_argument("--tested", type=int, default=2000)
    parser.add_argument("--time", type=seconds_of, default=180.0, help="of each training, such as 3m")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a person for each label")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    out = options.out.resolve()
    known = write_images(read_raw(options.data), out, options.pool, options.tested)
    pool = [path for path, (_, split) in known.items() if split == "train"]
    tested = [(path, label, split, "yes") for path, (label, split) in known.items() if split == "test"]
    print("| labels | minutes | test accuracy | others right | finished at 1% |\n|---|---|---|---|---|", flush=True)
    weights, answers, count = None, (), 0
    for number, labels in enumerate(options.labels):
        request = SelectRequest(
            inputs=(str(out / "train"),), n=labels - count, weights=weights, answers=answers, seed=options.seed
        )
        selection = select_images(request)
        chosen = {paths.absolute(row.file): row.split for row in selection.rows}
        rows = [(file, known[file][0], split, "yes") for file, split in chosen.items()]
        listed, run = out / f"round-{number}.csv", out / f"run-{number}"
        columns = ("file_name", "label", "split", "reviewed")
        paths.write_table(listed, columns, rows)
        paths.write_table(out / "with-test.csv", columns, [*rows, *tested])
        config = TrainConfig(
            dataset=str(out / "with-test.csv"), unlabelled=out / "train", max_time=options.time, arch="resnet-small"
        )
        result = train(replace(config, seed=options.seed, out=run))
        weights, answers, count = str(run), (str(listed),), len(rows)
        others = sorted(set(pool) - {name for name, *_ in rows})
        predictions = Classifier.load(weights).predict(others)
        right = np.array(
            [one.top[0][0] == known[path][0] for one, path in zip(predictions, others, strict=True)], dtype=bool
        )
        accepted = finished(right, np.array([one.score for one in predictions]))
        cells = (
            *(count, f"{count * options.seconds / 60:.0f}", f"{result['test_accuracy']:.4f}", f"{right.mean():.4f}"),
            f"{(count + accepted) / len(pool):.3f}",
        )
        print("|", " | ".join(map(str, cells)), "|", flush=True)


if __name__ == "__main__":
    main()
