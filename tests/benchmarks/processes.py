"""Speed of several processes beside one: ``python tests/benchmarks/processes.py [PROCESSES [ROUNDS]]``.

One process with as many threads as there are processes, and processes of one thread each, take turns at the same short
training on 28×28 images. Prints a JSON document with the training images a second of each and the ratio of medians.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np


def train(folder: Path, threads: int, *options: str) -> float:
    command = [
        sys.executable,
        "-m",
        "lrnet_cli",
        "train",
        "--arch",
        "lrnet",
        "--dataset",
        str(folder / "set.npz"),
        "--json",
        "--no-test",
    ]
    command += ["--epochs", "2", "--batch-size", "128", "--compile", "off", "--seed", "0"]
    with tempfile.TemporaryDirectory(dir=folder) as out:
        done = subprocess.run(
            [*command, "--out", out, *options],
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
            check=True,
            capture_output=True,
            text=True,
        )
    return float(json.loads(done.stdout)["train_images_per_second"])


def main(processes: int = 2, rounds: int = 3) -> None:
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = random.integers(0, 256, (3000, 28, 28), dtype=np.uint8)
        parts = {"train": slice(0, 2900), "test": slice(2900, 3000)}
        arrays = {f"{name}_images": images[part] for name, part in parts.items()}
        arrays |= {f"{name}_labels": (np.arange(3000) % 10)[part] for name, part in parts.items()}
        np.savez(folder / "set.npz", **arrays)
        speeds: dict[str, list[float]] = {"one process": [], f"{processes} processes": []}
        for _ in range(rounds):
            speeds["one process"].append(train(folder, processes))
            speeds[f"{processes} processes"].append(train(folder, 1, "--procs", str(processes)))
    one, many = (statistics.median(values) for values in speeds.values())
    print(json.dumps({"images_per_second": speeds, "processes_to_one": round(many / one, 3)}, indent=2))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
