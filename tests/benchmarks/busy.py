"""Measure what other programs cost: training, prediction and evaluation beside busy loops, by number of threads.

    python tests/benchmarks/busy.py [--loads quiet loop halves] [--threads auto 1 2] [--rounds 3] [--json OUT]

Every figure is that of a real command, in images per second, the median over the rounds; all numbers of threads take
turns. ``loop`` is one program that takes a core, ``halves`` two that take half a core each.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_digits

_LOOP = "while True: pass"
_HALF = """
import time
while True:
    end = time.perf_counter() + 0.02
    while time.perf_counter() < end: pass
    time.sleep(0.02)
"""
LOADS = {"quiet": [], "loop": [_LOOP], "halves": [_HALF, _HALF]}
_SINGLE = """
import sys, time
from lrnet_cli import Classifier
threads = None if sys.argv[2] == "auto" else sys.argv[2]
classifier, count = Classifier.load("digits", threads=threads), 0
classifier.predict(sys.argv[1])
begun = time.perf_counter()
while time.perf_counter() < begun + 8:
    classifier.predict(sys.argv[1])
    count += 1
print(count / (time.perf_counter() - begun))
"""


@contextmanager
def beside(programs: list[str]) -> Iterator[None]:
    """Run ``programs`` beside the body."""
    started = [subprocess.Popen([sys.executable, "-c", program]) for program in programs]
    time.sleep(1)
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def lrnet(*words: str) -> str:
    command = [sys.executable, "-P", "-m", "lrnet_cli", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def training(batch_size: int, limit: int, threads: list[str]) -> float:
    settings = f"--arch lrnet --image-size 28 --batch-size {batch_size} --limit {limit} --epochs 1"
    settings += " --compile off --no-test --seed 0"
    with tempfile.TemporaryDirectory() as folder:
        found = json.loads(lrnet("train", *settings.split(), "--out", f"{folder}/run", *threads, "--json"))
    return float(found["train_images_per_second"])


def single(image: Path, threads: list[str]) -> float:
    command = [sys.executable, "-P", "-c", _SINGLE, str(image), (threads or ["auto"])[-1]]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def files(folder: Path, threads: list[str]) -> float:
    count = sum(1 for _ in folder.iterdir())
    begun = time.perf_counter()
    lrnet("predict", str(folder), "--weights", "digits", "--format", "csv", *threads)
    return count / (time.perf_counter() - begun)


def evaluation(threads: list[str]) -> float:
    words = ["eval", "--weights", "digits", "--dataset", "optdigits", "--split", "train", "--json"]
    return float(json.loads(lrnet(*words, *threads))["images_per_second"])


def works(scratch: Path, count: int) -> dict[str, Callable[[list[str]], float]]:
    folder = scratch / "files"
    folder.mkdir(parents=True)
    scans = load_digits().images
    for number in range(count):
        scan = (scans[number % len(scans)] * 15).astype("uint8")
        Image.fromarray(scan).resize((28, 28)).save(folder / f"{number:06}.png")
    return {
        "training, batches of 16": partial(training, 16, 700),
        "training, batches of 128": partial(training, 128, 1400),
        "prediction of single images": partial(single, folder / "000000.png"),
        f"prediction of {count} files": partial(files, folder),
        "evaluation": evaluation,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loads", nargs="+", default=list(LOADS), choices=list(LOADS))
    parser.add_argument("--threads", nargs="+", default=["auto", "1", "2"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    os.environ.pop("OMP_NUM_THREADS", None)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for load in asked.loads:
            for name, work in works(Path(scratch) / load, asked.files).items():
                measured: dict[str, list[float]] = {threads: [] for threads in asked.threads}
                with beside(LOADS[load]):
                    for _ in range(asked.rounds):
                        for threads, speeds in measured.items():
                            speeds.append(work([] if threads == "auto" else ["--threads", threads]))
                medians = {threads: statistics.median(speeds) for threads, speeds in measured.items()}
                best = max(medians.values())
                rows.append({"load": load, "work": name, "images_per_second": medians})
                figures = ", ".join(f"{threads} {speed:.0f}" for threads, speed in medians.items())
                chosen = medians.get("auto", best)
                print(f"{load}: {name}: {figures} images/s; auto is {chosen / best:.2f} of the best", flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
