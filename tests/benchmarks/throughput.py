"""How fast `lrnet predict` is beside reading alone and the network alone: ``python tests/benchmarks/throughput.py``.

Writes PNG files of the embedded scans, enlarged to 28 pixels, and takes the three in turn, several times.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import torch
from PIL import Image

from lrnet_cli import Classifier
from lrnet_cli.data.ahead import read_ahead
from lrnet_cli.data.datasets import load_dataset
from lrnet_cli.data.images import ImageOptions, read_image
from lrnet_cli.models.logits import BATCH_SIZE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    classifier = Classifier.load(options.weights)
    images = load_dataset("optdigits", ImageOptions(classifier.card.preprocessing.image_size)).train.images
    rates: dict[str, list[float]] = {"reading alone": [], "network alone": [], "lrnet predict": []}
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number // 1000:03}" / f"{number:06}.png" for number in range(options.images)]
        for number, path in enumerate(paths):
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(images[number % len(images), 0].numpy()).save(path)
        batch = images[:BATCH_SIZE]
        classifier.logits(batch)
        for _ in range(options.rounds):
            start = time.perf_counter()
            reader = partial(read_image, preprocessing=classifier.card.preprocessing, invert="auto")
            count = sum(1 for _ in read_ahead(paths, reader))
            rates["reading alone"].append(count / (time.perf_counter() - start))
            start = time.perf_counter()
            for _ in range(options.images // BATCH_SIZE):
                classifier.logits(batch)
            rates["network alone"].append(options.images // BATCH_SIZE * BATCH_SIZE / (time.perf_counter() - start))
            rows = Path(folder) / "rows.csv"
            rows.unlink(missing_ok=True)
            command = [sys.executable, "-m", "lrnet_cli", "predict", folder, "--output", str(rows)]
            start = time.perf_counter()
            subprocess.run([*command, "--weights", str(options.weights)], check=True)
            rates["lrnet predict"].append(options.images / (time.perf_counter() - start))
            assert len(rows.read_text().splitlines()) == options.images + 1
    print(f"{classifier.runs_on}, PyTorch {torch.__version__}, {options.images} PNG files, {options.rounds} rounds")
    for name, values in rates.items():
        print(f"{name:14}  {statistics.median(values):8.0f} images a second")
    slower = [min(pair) for pair in zip(rates["reading alone"], rates["network alone"], strict=True)]
    shares = [whole / part for whole, part in zip(rates["lrnet predict"], slower, strict=True)]
    print(f"lrnet predict, its start included, of the slower of the two: {statistics.median(shares):.2f}")
    print(f"largest memory of lrnet predict: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
