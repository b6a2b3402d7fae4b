"""What each choice of a recipe gives: ``python tests/benchmarks/choices.py DATA OUT``.

DATA is a folder of IDX files, or one with the class folders train/ and test/. ``--labelled`` images of each class are
trained on, for ``--time``, and ``--tested`` images tested: as a run chooses for itself, then with one choice taken back
at a time, then with all of them. With ``--noisy``, every third image is noisy, half of these by normal noise and half
by uneven light, and ``--robust auto`` is another row. Prints a Markdown row for each, with its choices.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from sets import save  # beside this file

from lrnet_cli.data.readers.by_path import read_raw
from lrnet_cli.paths import write_table
from lrnet_cli.runs.folder import read_config
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.settings.units import seconds_of
from lrnet_cli.training.train import train

_MOVES = {"deform": 0.0, "shift": 0.05, "scale": 0.08, "shear": 0.12}
_USUAL = {"weight_decay": 0.05, "label_smoothing": 0.05}


def write_set(data: Path, out: Path, labelled: int, tested: int, noisy: bool) -> Path:
    """Write the images and the list of them; return the list."""
    raw = read_raw(data)
    assert raw.test is not None
    draws, rows = np.random.default_rng(0), []
    order = draws.permutation(len(raw.train.labels))
    few = np.concatenate([order[raw.train.labels[order] == label][:labelled] for label in range(len(raw.classes))])
    parts = (("train", raw.train, few), ("test", raw.test, draws.permutation(len(raw.test.labels))[:tested]))
    for name, split, chosen in parts:
        files = save(split, chosen.tolist(), out / name, noisy=noisy)
        rows += [(file, raw.classes[split.labels[int(file.stem)]], name) for file in files]
    write_table(out / "labelled.csv", ("file_name", "label", "split"), rows)
    return out / "labelled.csv"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--labelled", type=int, default=20, help="images of each class")
    parser.add_argument("--tested", type=int, default=2000)
    parser.add_argument("--noisy", action="store_true")
    parser.add_argument("--time", type=seconds_of, default=60.0, help="of each training, such as 1m")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    out = options.out.resolve()
    table = write_set(options.data, out, options.labelled, options.tested, options.noisy)
    whole = {"crop": "off", "image_size": 28}
    rows: dict[str, dict[str, Any]] = {
        "as chosen": {},
        "without cropping, 28 pixels": whole,
        "without bending": _MOVES,
        "without more regularisation": _USUAL,
        "`lrnet-short`": {"arch": "lrnet-short"},
        "`--normalize none`": {"normalize": "none"},
        "none of these": whole | _MOVES | _USUAL | {"arch": "lrnet-short", "normalize": "none"},
    }
    if options.noisy:
        rows["`--robust auto`"] = {"robust": "auto"}
    print(
        "| choices | accuracy | network | crop | size | deform | normalize |\n|---|---|---|---|---|---|---|", flush=True
    )
    for number, (name, changes) in enumerate(rows.items()):
        settings = {"arch": "resnet-small", "max_time": options.time, "seed": options.seed} | changes
        result = train(TrainConfig(dataset=str(table), out=out / f"run-{number}", **settings))
        chosen = read_config(out / f"run-{number}")[0]
        cells = (chosen.arch, chosen.crop, chosen.image_size, chosen.deform, chosen.normalize)
        print(f"| {name} | {result['test_accuracy']:.4f} |", " | ".join(map(str, cells)), "|", flush=True)


if __name__ == "__main__":
    main()
