"""How large the images of a collection are read and whether they are cropped, decided from a sample of them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lrnet_cli.data.ahead import read_ahead
from lrnet_cli.data.crop import SIZES, Box, Contents, content_box, size_for
from lrnet_cli.data.images import ImageOptions, Preprocessing, flat_image
from lrnet_cli.data.readers.raw import RawSplit
from lrnet_cli.errors import ImageError
from lrnet_cli.reporter import Reporter

_SAMPLE = 300  # images, the same ones every time
_LARGE = 1.5  # times the largest size that is chosen: from there on, detail is lost that a message names


def framed(name: str, split: RawSplit, own: Preprocessing, options: ImageOptions, reporter: Reporter) -> Preprocessing:
    """Return ``own`` with the image size and the cropping that suit the training images ``split`` of ``name``.

    With ``crop="auto"`` both are chosen, unless ``options`` give the size; images in memory keep theirs. What was
    chosen, and why, is a message.
    """
    if options.crop != "auto":
        return replace(own, crop="content" if options.crop == "on" else "none")
    contents, size = contents_of(split), own.image_size
    if not contents.boxes:  # no image can be read, which is reported when all of them are
        return own
    choose_size = isinstance(split.images, list) and options.image_size is None
    crop, why = contents.decide(size_for(contents.side(cropped=False)) if choose_size else size)
    if crop:
        reporter.message(f"{name}: images are cropped to their content, because {why} (--crop off keeps them whole).")
    elif contents.told_by is not None and contents.fill < 1:
        reporter.message(f"{name}: images are kept whole: {why}.")
    if choose_size:
        side = contents.side(cropped=crop)
        size = size_for(side)
        if side > _LARGE * SIZES[-1] or size < SIZES[-1]:
            more = f"; --image-size {2 * size} shows more and takes four times as long" if size < side else ""
            reporter.message(f"{name}: images are read at {size} pixels per side, of about {side:.0f}{more}.")
    return replace(own, image_size=size, crop="content" if crop else "none")


def contents_of(split: RawSplit) -> Contents:
    """Return where the content of a sample of the images of ``split`` is; images that cannot be read are left out."""
    chosen = np.unique(np.linspace(0, len(split.labels) - 1, min(_SAMPLE, len(split.labels))).round().astype(int))
    images: Sequence[Path | NDArray[np.uint8]] = [split.images[number] for number in chosen]
    boxes, frames, labels = list[Box](), list[tuple[int, int]](), list[int]()
    outcomes = read_ahead(images, _measured, is_file=lambda image: isinstance(image, Path))
    for number, (_, outcome) in zip(chosen, outcomes, strict=True):
        if not isinstance(outcome, ImageError):
            box, frame = outcome
            boxes.append(box)
            frames.append(frame)
            labels.append(int(split.labels[number]))
    return Contents(boxes, frames, np.array(labels, np.int64))


def _measured(image: Path | NDArray[np.uint8]) -> tuple[Box, tuple[int, int]]:
    pixels = np.asarray(flat_image(image))
    return content_box(pixels.reshape(*pixels.shape[:2], -1)), (pixels.shape[1], pixels.shape[0])
