"""How often automatic polarity is right: ``python tests/benchmarks/polarity.py digits fashion --mirror FOLDER``.

Each test image is taken as it is and inverted; right is what brings it back to light on dark. It goes through
``prepare`` both at its own size and enlarged tenfold, as a scan would come.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from lrnet_cli.data.datasets import load_dataset
from lrnet_cli.data.images import Preprocessing, prepare
from lrnet_cli.evaluation.intervals import wilson_interval
from lrnet_cli.settings.place import Source


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("datasets", nargs="+")
    parser.add_argument("--mirror")
    parser.add_argument("--data-dir", type=Path)
    options = parser.parse_args()
    for name in options.datasets:
        dataset = load_dataset(name, source=Source(mirror=options.mirror, data_dir=options.data_dir))
        trained = Preprocessing(dataset.preprocessing.image_size, 1, "light-on-dark", polarity_rule="plane")
        for scale in (1, 10):
            for is_inverted in (False, True):
                right = 0
                for image in dataset.test.images[:, 0].numpy():
                    pixels = np.kron(255 - image if is_inverted else image, np.ones((scale, scale), np.uint8))
                    right += prepare(Image.fromarray(pixels), trained)[1] == is_inverted
                n = len(dataset.test)
                low, high = wilson_interval(right, n)
                how = "inverted" if is_inverted else "as it is"
                print(f"{name} ×{scale:<2} {how}: {right} of {n} right ({right / n:.4f}, {low:.4f} to {high:.4f})")


if __name__ == "__main__":
    main()
