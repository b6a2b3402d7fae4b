"""Files of the images of a data set, for the scripts beside this one."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from lrnet_cli.data.readers.raw import RawSplit
from lrnet_cli.evaluation.corruptions import CORRUPTIONS

_SEVERITY = 2  # the third of five
_NOISY = [one for one in CORRUPTIONS if one.name in ("gaussian_noise", "uneven_light")]


def save(split: RawSplit, indices: Iterable[int], folder: Path, *, noisy: bool = False) -> list[Path]:
    """Write these images of ``split`` to ``folder``; return their files.

    If ``noisy``, every third one is: half of these by normal noise, half by uneven light.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, index in enumerate(indices):
        image = _opened(split, index).convert("L")
        if noisy and number % 3 == 0:
            image = _altered(image, index, number // 3)
        files.append(folder / f"{index}.png")
        image.save(files[-1])
    return files


def _opened(split: RawSplit, index: int) -> Image.Image:
    image = split.images[index]
    return Image.open(image) if isinstance(image, Path) else Image.fromarray(image.squeeze())


def _altered(image: Image.Image, seed: int, which: int) -> Image.Image:
    torch.manual_seed(seed)
    corruption = _NOISY[which % len(_NOISY)]
    pixels = torch.from_numpy(np.asarray(image).copy()).float()[None, None] / 255
    square = functional.pad(pixels, (0, image.height, 0, image.width), "replicate")  # as corruptions need it
    altered = corruption.apply(square, corruption.strengths[_SEVERITY])[0, 0, : image.height, : image.width].clamp(0, 1)
    return Image.fromarray((altered * 255).round().to(torch.uint8).numpy())
