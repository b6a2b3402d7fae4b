"""Where the content of an image is, and whether a collection's images are better cropped to it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lrnet_cli.data.polarity import plane_of, stripes_of

_SAMPLED_SIDE = 128  # pixels; larger images are measured by means of blocks
_STRONGEST = 0.005  # share of the pixels that may stand out further than what counts as full contrast
_STANDS_OUT = 0.35  # of the way from the typical deviation to that of full contrast
_LEAST_CONTRAST = 8.0  # of 255: below, an image is blank
_SPECK, _FRAGMENT = 0.03, 0.15  # of all content: a part by itself, and one that the border cuts, are not the content
_NEAR = 0.05  # of the content's longer side: a small part that is no further away belongs to it
_MARGIN = 0.08  # of the content's longer side, on each side

_FILLED = 0.8  # of the frame's longer side: where the median is larger, little is gained
_VARIES = 0.12, 0.06  # deviation of the logarithm of the content's size, and of where it is in the frame
DEPENDS = 0.5  # of a variance: what the class explains to a larger part may be what tells it
_SLIGHT = 1e-4  # a variance beside which others count

SIZES = (16, 20, 24, 28, 32)  # pixels, of which the smallest that shows what the images show is chosen
_NEARLY = 0.9  # of the pixels of an image is enough


class Box(NamedTuple):
    """A part of an image in pixels, fractions included: from ``left`` and ``upper`` to before ``right``, ``lower``."""

    left: float
    upper: float
    right: float
    lower: float

    @property
    def side(self) -> float:
        """The longer side in pixels."""
        return max(self.right - self.left, self.lower - self.upper)


def content_box(pixels: NDArray[np.uint8]) -> Box:
    """Return where the content of an image is, uint8 (height, width, channels); the whole frame if it is blank.

    Content is what stands out from the ground, a plane through the border inside even stripes, after single pixels are
    averaged away. Specks apart from the rest, and fragments that the border cuts, do not count.
    """
    from scipy import ndimage  # takes a tenth of a second

    height, width = pixels.shape[:2]
    whole = Box(0.0, 0.0, float(width), float(height))
    grey = _blocks(pixels.mean(2, dtype=np.float32), max(1, max(height, width) // _SAMPLED_SIDE))
    down, right = height / grey.shape[0], width / grey.shape[1]
    free = stripes_of(grey)
    inside = grey[free]
    if min(inside.shape) < 3:
        return whole
    apart = ndimage.uniform_filter(np.abs(inside - plane_of(inside)), 3, mode="nearest")
    typical, strongest = np.median(apart), np.quantile(apart, 1 - _STRONGEST)
    if strongest - typical < _LEAST_CONTRAST:
        return whole
    parts, count = ndimage.label(apart > typical + _STANDS_OUT * (strongest - typical), np.ones((3, 3)))
    boxes = ndimage.find_objects(parts)
    masses = ndimage.sum_labels(apart - typical, parts, np.arange(1, count + 1))
    rows, columns = _content(boxes, masses, inside.shape)
    top, left = free[0].start, free[1].start
    return Box(
        left=(left + columns.start) * right,
        upper=(top + rows.start) * down,
        right=(left + columns.stop) * right,
        lower=(top + rows.stop) * down,
    )


def _content(
    boxes: Sequence[tuple[slice, slice]], masses: NDArray[np.float64], shape: tuple[int, ...]
) -> tuple[slice, slice]:
    """Return the rows and columns of the parts that are content."""
    order = np.argsort(-masses)
    rows, columns = boxes[order[0]]
    total = masses.sum()
    for number in order[1:]:
        mass, (its_rows, its_columns) = masses[number] / total, boxes[number]
        near = _NEAR * max(rows.stop - rows.start, columns.stop - columns.start)
        apart = max(_gap(rows, its_rows), _gap(columns, its_columns))
        is_cut = (
            min(its_rows.start, its_columns.start) == 0 or its_rows.stop == shape[0] or its_columns.stop == shape[1]
        )
        if apart > near and mass < (_FRAGMENT if is_cut else _SPECK):
            continue
        rows, columns = _joined(rows, its_rows), _joined(columns, its_columns)
    return rows, columns


def _gap(one: slice, other: slice) -> int:
    return max(int(other.start) - int(one.stop), int(one.start) - int(other.stop), 0)


def _joined(one: slice, other: slice) -> slice:
    return slice(min(one.start, other.start), max(one.stop, other.stop))


def _blocks(grey: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Return the means of blocks of ``side`` × ``side`` pixels; what is left over at the end goes to the last ones."""
    if side == 1:
        return grey
    for axis in (0, 1):
        starts = np.arange(max(1, grey.shape[axis] // side)) * side
        counts = np.diff([*starts, grey.shape[axis]]).astype(np.float32)
        grey = (np.add.reduceat(grey, starts, axis) / np.expand_dims(counts, 1 - axis)).astype(np.float32)
    return grey


def cropped_to(pixels: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Return left, upper, right and lower of the part of an image to keep: its content, and a margin inside the frame.

    ``pixels`` are uint8 (height, width, channels).
    """
    box, (height, width) = content_box(pixels), pixels.shape[:2]
    margin = _MARGIN * box.side
    return (
        max(0, math.floor(box.left - margin)),
        max(0, math.floor(box.upper - margin)),
        min(width, math.ceil(box.right + margin)),
        min(height, math.ceil(box.lower + margin)),
    )


@dataclass(frozen=True)
class Contents:
    """Where the content of a sample of images is: ``boxes``, ``frames`` (width, height) in pixels, and class indices.

    ``labels`` are int64 (images,).
    """

    boxes: Sequence[Box]
    frames: Sequence[tuple[int, int]]
    labels: NDArray[np.int64]

    @property
    def fill(self) -> float:
        """The median share of the frame's longer side that the content's longer side takes."""
        return float(np.median([box.side / max(frame) for box, frame in zip(self.boxes, self.frames, strict=True)]))

    def side(self, *, cropped: bool) -> float:
        """The median of the longer side in pixels of what is read, whole or ``cropped``."""
        whole = [max(frame) for frame in self.frames]
        return float(np.median([(1 + 2 * _MARGIN) * box.side for box in self.boxes] if cropped else whole))

    @property
    def told_by(self) -> str | None:
        """What cropping would hide although it differs much between classes: ``size`` or ``place``, if either does."""
        sizes, places = self._sizes_and_places()
        for name, values, least in (("size", sizes[:, None], _VARIES[0]), ("place", places, _VARIES[1])):
            if values.std(0).max() > least and explained(values, self.labels) > DEPENDS:
                return name
        return None

    def decide(self, image_size: int) -> tuple[bool, str]:
        """Return whether images are better cropped before they become ``image_size`` pixels per side, and why.

        They are if detail would be lost otherwise, or if the content is now here, now there, now large, now small.
        """
        sizes, places = self._sizes_and_places()
        filled = f"the content fills {100 * self.fill:.0f}% of the frame's longer side"
        if self.fill > _FILLED:
            return False, filled
        shrinks = self.side(cropped=False) > image_size
        varies = sizes.std() > _VARIES[0] or places.std(0).max() > _VARIES[1]
        if not (shrinks or varies):
            return False, f"{filled}, always at the same place and size"
        if self.told_by is not None:
            return False, f"{filled}, but its {self.told_by} differs between classes, which cropping would hide"
        return True, filled

    def _sizes_and_places(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the logarithms (images,) of the content's share of the frame, and its middles (images, 2) in it."""
        boxes, frames = np.array(self.boxes), np.array(self.frames, np.float64)
        middles = (boxes[:, :2] + boxes[:, 2:]) / 2 / frames
        sides = (boxes[:, 2:] - boxes[:, :2]).max(1)
        return np.log(np.maximum(sides, 1) / frames.max(1)), middles


def size_for(side: float) -> int:
    """Return the image size in pixels for content of ``side`` pixels: as many as it has, from 16 to 32."""
    return next((size for size in SIZES if size >= _NEARLY * side), SIZES[-1])


def explained(values: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return the share of the variance of ``values`` (images, numbers) that ``labels`` explain, less that of chance."""
    classes, members = np.unique(labels, return_inverse=True)
    counts = np.bincount(members)
    means = np.stack([np.bincount(members, column) / counts for column in values.T], 1)
    within = ((values - means[members]) ** 2).sum(0)
    total = ((values - values.mean(0)) ** 2).sum(0)
    freedom = len(values) - len(classes)
    if freedom < 1:
        return 0.0
    shares = 1 - (within / freedom + _SLIGHT) / (total / (len(values) - 1) + _SLIGHT)
    return float(shares.max())
