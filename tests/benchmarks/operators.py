"""Where the time goes on this machine: ``python tests/benchmarks/operators.py [--image-size 28] [--batch-size 128]``.

Prints which operators take the time of a training step and of a prediction of the fused LR-Net, and how long ``lrnet
predict`` takes for one image from start to end, the median of three.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or the profiler reports to its developers, once torch is loaded

import torch
from PIL import Image
from torch.profiler import profile

from lrnet_cli.bench.works import Variant, Work, works_of
from lrnet_cli.models.engine import Engine, to_device
from lrnet_cli.models.lrnet import LRNet
from lrnet_cli.settings.place import Place

_OPERATORS = 5  # shown of a profile; the others are added up


def profile_of(work: Work) -> dict[str, float]:
    """Return the share of the time of ``work`` that each of its slowest operators takes, and all others together."""
    work()
    with profile() as record:
        work()
    spent = {event.key: event.self_device_time_total for event in record.key_averages()}
    if not any(spent.values()):  # on a CPU
        spent = {event.key: event.self_cpu_time_total for event in record.key_averages()}
    total = sum(spent.values())
    slowest = sorted(spent, key=lambda name: -spent[name])[:_OPERATORS]
    shares = {name.removeprefix("aten::"): spent[name] / total for name in slowest}
    return shares | {"all others": 1 - sum(shares.values())}


def start_up_seconds() -> float:
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.png"
        Image.new("L", (28, 28)).save(image)
        command = [sys.executable, "-P", "-m", "lrnet_cli", "predict", str(image), "--weights", "digits"]
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image-size", type=int, default=28)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    engine = Engine.at(Place(device=options.device))
    shape = (options.batch_size, 1, options.image_size, options.image_size)
    images = torch.randint(256, shape, dtype=torch.uint8, device=engine.device)
    network = LRNet(1, options.image_size)
    to_device(network, engine.device)
    works = works_of(network, images, (engine.precision,))
    print(f"{engine}, PyTorch {torch.__version__}, batches of {options.batch_size}")
    for work, title in (("train", "a training step"), ("predict", "a prediction")):
        shares = profile_of(works[Variant("fused", "eager", engine.precision, work)])
        print(f"Where the time of {title} goes: {', '.join(f'{name} {share:.0%}' for name, share in shares.items())}")
    print(f"A prediction of one image, from start to end: {start_up_seconds():.1f} s")


if __name__ == "__main__":
    main()
