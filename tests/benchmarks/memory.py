"""Memory and waiting times of a training on many images: ``python tests/benchmarks/memory.py 1000 100000 1000000``.

Each size trains five steps on synthetic 28×28 images in a process of its own. Prints a JSON line a size: the peak
memory in MB, the seconds before the first step, and those of writing a checkpoint.
"""

import json
import resource
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from lrnet_cli.errors import InterruptedRunError
from lrnet_cli.reporter import Reporter
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.training import keep, loop


def write_images(folder: Path, n: int) -> None:
    random = np.random.default_rng(0)
    for part, count in (("train", n), ("t10k", 500)):
        with (folder / f"{part}-images-idx3-ubyte").open("wb") as file:
            file.write(struct.pack(">HBBIII", 0, 8, 3, count, 28, 28))
            for start in range(0, count, 10_000):
                file.write(random.bytes(784 * min(10_000, count - start)))
        labels = (np.arange(count) % 10).astype(np.uint8)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">HBBI", 0, 8, 1, count) + labels.tobytes())


def measure(n: int) -> None:
    times: dict[str, float] = {}
    start = time.perf_counter()

    class Steps(Reporter):
        taken = 0

        def step(self, epoch: int, done: int, total: int) -> None:
            self.taken += 1
            times.setdefault("seconds_to_first_step", time.perf_counter() - start)

    save_checkpoint = keep.save_checkpoint

    def timed(*arguments: object) -> None:
        begun = time.perf_counter()
        save_checkpoint(*arguments)  # type: ignore[arg-type]
        times["seconds_of_checkpoint"] = time.perf_counter() - begun

    keep.save_checkpoint = timed
    steps = Steps()
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), n)
        start = time.perf_counter()
        config = TrainConfig(
            dataset=folder, arch="lrnet", batch_size=128, seed=0, compile="off", out=Path(folder) / "run"
        )
        try:
            loop.train(config, steps, lambda: steps.taken >= 5)
        except InterruptedRunError:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB
            print(json.dumps({"images": n, "peak_mb": round(peak)} | {k: round(v, 2) for k, v in times.items()}))


if __name__ == "__main__":
    if len(sys.argv) == 2:
        measure(int(sys.argv[1]))
    else:
        for size in sys.argv[1:]:
            subprocess.run([sys.executable, __file__, size], check=True)
