"""What preparing an image costs beside decoding it: ``python tests/benchmarks/reading.py FOLDER``.

The images in FOLDER as they are, and sixteen of them enlarged to squares, as PNG and JPEG files, go through the
threads that load a data set: decoded alone, then brought to 28×28 grey pixels after reading them in full, as earlier
versions did, and reduced. Prints images a second, the median of three rounds, and the ratios to decoding alone.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from PIL import Image

from lrnet_cli.data.ahead import read_ahead
from lrnet_cli.data.images import Preprocessing, prepare
from lrnet_cli.data.walk import images_below

FULL = Preprocessing(28, 1, "mixed")
REDUCED = Preprocessing(28, 1, "mixed", reading="reduced")


def decode(file: Path) -> None:
    with Image.open(file) as image:
        image.load()


WAYS: tuple[Callable[[Path], object], ...] = (
    decode,
    lambda file: prepare(file, FULL, "no"),
    lambda file: prepare(file, REDUCED, "no"),
)


def measure(name: str, files: Sequence[Path]) -> None:
    speeds: tuple[list[float], ...] = ([], [], [])
    for _ in range(3):
        for way, found in zip(WAYS, speeds, strict=True):
            begun = time.perf_counter()
            count = sum(1 for _ in read_ahead(files, way))
            found.append(count / (time.perf_counter() - begun))
    alone, full, reduced = map(median, speeds)
    print(f"{name:>12}: decoded {alone:.0f}/s, full {full / alone:.2f}, reduced {reduced / alone:.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    own = list(images_below(parser.parse_args().folder))
    measure("as they are", own)
    with tempfile.TemporaryDirectory() as folder:
        for side in (300, 1000, 2500):
            for suffix in ("png", "jpg"):
                files = [Path(folder) / f"{side}-{number}.{suffix}" for number in range(16)]
                for file, source in zip(files, own, strict=False):
                    Image.open(source).convert("L" if side < 1000 else "RGB").resize((side, side)).save(file)
                measure(f"{side} {suffix}", files * max(1, 2500 // side))


if __name__ == "__main__":
    main()
