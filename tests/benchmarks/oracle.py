"""Cross-validation within Oracle-MNIST's 3,000 test images: ``python tests/benchmarks/oracle.py MIRROR OUT [TIME]``.

MIRROR is a folder with the test images and labels (IDX, gzip or not). In each of five folds every network is trained
for TIME (default 3m, the whole run) with each of the RECIPES, and the one with the best accuracy on the validation
images, a part of the fold's training images, is taken: the fold's test images have no say in it. OUT gets the run
folders and ``oracle.json``, the rows of ``lrnet compare --json``; started again, it goes on where it was stopped.
"""

import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import numpy as np

from lrnet_cli.data.catalog import TEST_IMAGES, TEST_LABELS
from lrnet_cli.data.readers.idx import read_idx
from lrnet_cli.runs.compare import compare_runs
from lrnet_cli.runs.folder import read_result
from lrnet_cli.runs.table import as_markdown
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.settings.units import seconds_of
from lrnet_cli.settings.words import Arch
from lrnet_cli.training.train import train

FOLDS = 5
RECIPES: dict[str, dict[str, Any]] = {"augmented": {}, "plain": {"augment": False}}


def main(mirror: Path, out: Path, time: str) -> None:
    table = out / "oracle-3000.csv"
    if not table.exists():
        out.mkdir(parents=True, exist_ok=True)
        write_table(mirror, table)
    chosen = []
    for fold in range(1, FOLDS + 1):
        for arch in get_args(Arch):
            tried = {name: run(table, out / f"{arch}-{fold}-{name}", arch, fold, time, name) for name in RECIPES}
            best = max(tried, key=lambda name: tried[name]["val_accuracy"])
            chosen.append(Path(tried[best]["run_dir"]))
            print(f"fold {fold}, {arch}: {best}", flush=True)
    rows = compare_runs(chosen, chosen=("augment",))
    document = {"schema": "lrnet.compare/1", "rows": [asdict(row) for row in rows]}
    (out / "oracle.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(as_markdown(rows))


def run(table: Path, folder: Path, arch: str, fold: int, time: str, recipe: str) -> dict[str, Any]:
    result = read_result(folder)
    if result is None or result["status"] != "finished":
        settings = {"dataset": str(table), "folds": FOLDS, "test_fold": fold, "max_time": seconds_of(time), "seed": 0}
        if folder.exists():
            shutil.rmtree(folder)  # begun and not finished
        result = train(TrainConfig.from_preset("default", arch=arch, **settings, **RECIPES[recipe], out=folder))
        for heavy in folder.glob("checkpoint/*"):  # two gigabytes for VGG-16
            heavy.unlink()
        if arch != "lrnet":  # whose robustness robustness.py measures
            (folder / "model.safetensors").unlink()
    return result | {"run_dir": str(folder)}


def write_table(mirror: Path, table: Path) -> None:
    """Write the images in the form of a .csv data set without a test split."""
    read = (next(mirror.glob(f"{name}*")) for name in (TEST_IMAGES, TEST_LABELS))
    images, labels = (read_idx(path, dimensions) for path, dimensions in zip(read, (3, 1), strict=True))
    columns = np.column_stack([labels, images.reshape(len(images), -1)])
    header = ",".join(["label", *(f"pixel{index}" for index in range(columns.shape[1] - 1))])
    np.savetxt(table, columns, fmt="%d", delimiter=",", header=header, comments="")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "3m")
