"""Whether an image is light on dark or dark on light."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

_Number = TypeVar("_Number", np.uint8, np.float32)
Polarity = Literal["light-on-dark", "dark-on-light", "mixed"]
PolarityRule = Literal["border", "ground", "plane"]
"""How polarity is judged: by the outermost ring of pixels, by the outermost ring inside stripes along the border, or by
what stands out most from a plane through the border inside such stripes."""

_AGREEING_SHARE = 0.9  # of the training images, for their polarity to count as the data set's
_JUDGED_SIDE = 56  # pixels; larger images are judged by every second, third, … pixel
_LONGEST_JUDGED = 10_000  # pixels, of which more would take seconds
_DEEPEST_STRIPE = 1 / 6  # of the side
# A stripe hardly varies, and most of its inner edge is a step; as shares of the image's range and of the edge.
_STRIPE_VARIES, _STEP, _STEPPING = 0.1, 0.3, 0.6
# And inside it most of the ring is ground.
_GROUND_VARIES, _EVEN = 0.15, 0.6
_STRONGEST = 0.02  # share of the pixels that may stand out further than what is judged: single ones are noise
_PARTS = 4  # of each side, whose medians show the ground
_ROUNDS, _SMALL_DEVIATION = 4, 5.0  # of weighting; a deviation, of 255, that counts as none
_STIFFNESS = np.diag([0.0, 0.01, 0.01])  # against slopes


def polarity_of(pixels: NDArray[np.uint8], rule: PolarityRule) -> Polarity:
    """Return the polarity of one image, uint8 (height, width, channels).

    The median of a ring of pixels is the ground; it is dark if it lies below the middle of the image's range. By the
    rule ``plane`` it is dark if the lightest pixels are further from it than the darkest. An image of one grey value
    is ``mixed``.
    """
    step = max(1, min(pixels.shape[:2]) // _JUDGED_SIDE) if rule != "border" else 1
    down, right = (max(step, side // _LONGEST_JUDGED) for side in pixels.shape[:2])
    grey = pixels[::down, ::right].mean(axis=2, dtype=np.float32)
    if rule != "border":
        grey = grey[stripes_of(grey)]
    lowest, highest = float(grey.min()), float(grey.max())
    if lowest == highest:
        return "mixed"
    if rule == "plane":
        apart = np.sort(grey - plane_of(grey), axis=None)
        strongest = max(1, round(_STRONGEST * apart.size))
        return "light-on-dark" if apart[-strongest] > -apart[strongest - 1] else "dark-on-light"
    return "light-on-dark" if np.median(ring_of(grey)) < (lowest + highest) / 2 else "dark-on-light"


def common_polarity(images: Iterable[NDArray[np.uint8]], rule: PolarityRule) -> Polarity:
    """Return the polarity of nine tenths of ``images``, each uint8 (height, width, channels), or ``mixed``."""
    polarities = [polarity_of(pixels, rule) for pixels in images]
    for polarity in ("light-on-dark", "dark-on-light"):
        if polarities and polarities.count(polarity) >= _AGREEING_SHARE * len(polarities):
            return polarity
    return "mixed"


def ring_of(pixels: NDArray[_Number]) -> NDArray[_Number]:
    """Return the outermost ring of (height, width, …) as (pixels, …)."""
    return np.concatenate([pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]])


def stripes_of(grey: NDArray[np.float32]) -> tuple[slice, slice]:
    """Return the rows and columns of ``grey`` (height, width) without even stripes along its sides.

    Such a stripe is a frame, a ruled line or a scanner's edge.
    """
    spread = float(grey.max() - grey.min())
    inside, depths = grey, [0, 0, 0, 0]  # at the top, right, bottom and left
    for side in range(4):
        steps = np.diff(inside[: int(len(inside) * _DEEPEST_STRIPE) + 1], axis=0)
        if np.abs(steps).max(initial=0.0) > _STEP * spread:  # not in most images
            stepping = np.maximum((steps > _STEP * spread).mean(1), (steps < -_STEP * spread).mean(1))
            for depth in np.flatnonzero(stepping > _STEPPING)[::-1] + 1:
                if inside[:depth].std() < _STRIPE_VARIES * spread:
                    inside, depths[side] = inside[depth:], int(depth)
                    break
        inside = np.rot90(inside)
    whole = slice(0, grey.shape[0]), slice(0, grey.shape[1])
    if not any(depths):
        return whole
    ring = ring_of(inside)
    # A large thing that nearly touches the border leaves such a step too, but no even ground inside it.
    if np.mean(np.abs(ring - np.median(ring)) < _GROUND_VARIES * spread) < _EVEN:
        return whole
    top, right, bottom, left = depths
    return slice(top, grey.shape[0] - bottom), slice(left, grey.shape[1] - right)


def plane_of(grey: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the plane (height, width) through the medians of parts of the border, those of things there passed by.

    As ``normalize`` of the network fits the ground: least absolute deviations, by least squares with weights that
    follow the deviations.
    """
    parts, terms, down, right = _parts_of(*grey.shape)
    medians = np.array([_median(grey[part]) for part in parts], np.float64)
    if (medians == medians[0]).all():
        return np.full(grey.shape, medians[0])
    weights = np.ones(len(medians))
    for _ in range(_ROUNDS):
        weighted = terms * (weights / weights.sum())[:, None]
        level, slope_down, slope_right = plane = np.linalg.solve(weighted.T @ terms + _STIFFNESS, weighted.T @ medians)
        weights = 1 / (np.abs(medians - terms @ plane) + _SMALL_DEVIATION)
    surface: NDArray[np.float64] = level + slope_down * down[:, None] + slope_right * right
    return surface.clip(0, 255)


@lru_cache(maxsize=16)  # images of one collection often have the same size
def _parts_of(
    height: int, width: int
) -> tuple[list[tuple[slice, slice]], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the parts of a border, the terms (parts, 3) of a plane at each, and the places of all rows and columns."""
    depth = max(1, min(height, width) // 14)
    down, right = ((np.arange(side) + 0.5) / side - 0.5 for side in (height, width))
    parts, terms = [], []
    for is_column, across, along in ((False, down, right), (True, right, down)):
        for rows in (slice(0, depth), slice(-depth, None)):
            for indices in np.array_split(np.arange(len(along)), min(_PARTS, len(along))):
                columns = slice(int(indices[0]), int(indices[-1]) + 1)
                centre = across[rows].mean(), along[columns].mean()
                parts.append((columns, rows) if is_column else (rows, columns))
                terms.append((1.0, *(centre[::-1] if is_column else centre)))
    return parts, np.array(terms), down, right


def _median(values: NDArray[np.float32]) -> float:
    """Return the median of a few values, several times as fast as NumPy's."""
    ranked = np.sort(values, axis=None)
    return float(ranked[(len(ranked) - 1) // 2] + ranked[len(ranked) // 2]) / 2
