"""Many image files in class folders: ``python tests/benchmarks/folders.py FOLDER --files 200000 --damaged 1000``.

Writes FOLDER once, from digits and garments (download them first). Then measures, each in a process of its own:
opening and decoding alone, twice in one thread (more only take turns in Python) and once in processes; loading a data
set, cold and from prepared images; the time to the first step of a training, cold and from prepared images; the
same after some files were damaged, and once more.
Prints a JSON line for each: images, seconds, images a second, peak memory in MB, images skipped.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from PIL import Image

from lrnet_cli.data.ahead import read_ahead
from lrnet_cli.data.datasets import load_dataset
from lrnet_cli.data.images import as_image
from lrnet_cli.data.readers.by_path import read_raw
from lrnet_cli.errors import InterruptedRunError
from lrnet_cli.reporter import Reporter
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.settings.place import Source
from lrnet_cli.training.train import train


def write_files(folder: Path, count: int) -> None:
    written = 0
    for mirrored in (False, True):
        for name in ("digits", "fashion"):
            dataset = load_dataset(name)
            for split in (dataset.train, dataset.test):
                for image, label in zip(split.images.numpy(), split.labels.tolist(), strict=True):
                    if written == count:
                        return
                    target = folder / f"{name} {dataset.classes[label]}".replace("/", "-") / f"{written:06d}.png"
                    target.parent.mkdir(parents=True, exist_ok=True)
                    as_image(image.transpose(1, 2, 0)[:, :: -1 if mirrored else 1]).save(target)
                    written += 1


def damage(folder: Path, count: int) -> None:
    files = sorted(folder.rglob("*.png"))
    for file in files[:: len(files) // count][:count]:
        file.write_bytes(file.read_bytes()[:90])


def measure(what: str, folder: Path, data_dir: Path) -> None:
    begun = time.perf_counter()
    works = {"decode": decode_alone, "decode-ahead": decode_ahead, "load": load, "step": train_a_little}
    skipped = works[what](folder, data_dir)
    seconds = time.perf_counter() - begun
    count = sum(len(part.labels) for part in read_raw(folder).parts.values())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB
    line = {"images": count, "seconds": round(seconds, 1), "images_per_s": round(count / seconds)}
    print(json.dumps(line | {"peak_mb": round(peak), "skipped": skipped}))


def decode_alone(folder: Path, data_dir: Path) -> int:
    return sum(not decode(file) for file in read_raw(folder).train.images)


def decode_ahead(folder: Path, data_dir: Path) -> int:
    return sum(not whole for _, whole in read_ahead(read_raw(folder).train.images, decode))


def decode(file: Path) -> bool:
    try:
        with Image.open(file) as image:
            image.load()
    except OSError:
        return False
    return True


def load(folder: Path, data_dir: Path) -> int:
    return len(load_dataset(str(folder), source=Source(data_dir=data_dir)).skipped)


def train_a_little(folder: Path, data_dir: Path) -> int:
    """Return the number of images skipped, as soon as the first step of a training is taken."""

    class UntilFirstStep(Reporter):
        def step(self, epoch: int, done: int, total: int) -> None:
            raise InterruptedRunError

    with tempfile.TemporaryDirectory() as out:
        run_dir = Path(out) / "run"
        config = TrainConfig(dataset=str(folder), data_dir=data_dir, seed=0, compile="off", out=run_dir)
        with suppress(InterruptedRunError):
            train(config, UntilFirstStep())
        skipped = run_dir / "skipped.csv"
        return len(skipped.read_text(encoding="utf-8").splitlines()) - 1 if skipped.exists() else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--damaged", type=int, default=1000)
    parser.add_argument("--measure", nargs=2)
    options = parser.parse_args()
    if options.measure is not None:
        measure(options.measure[0], options.folder, Path(options.measure[1]))
        return
    if not options.folder.exists():
        write_files(options.folder, options.files)
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        # Twice alone: the first brings the files into the system's memory, for all that follows.
        for what in ("decode", "decode", "decode-ahead"):
            run(options.folder, what, "")
        for what, data_dir in (("load", first), ("load", first), ("step", second), ("step", second)):
            run(options.folder, what, data_dir)
        damage(options.folder, options.damaged)
        for _ in range(2):
            run(options.folder, "step", second)


def run(folder: Path, what: str, data_dir: str) -> None:
    print(what, end=": ", flush=True)
    subprocess.run([sys.executable, __file__, str(folder), "--measure", what, data_dir], check=True)


if __name__ == "__main__":
    main()
