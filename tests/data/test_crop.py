"""Where the content of an image is, under what real scans do to it, and when a collection is cropped."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from lrnet_cli.data.crop import Box, Contents, content_box, cropped_to, size_for
from lrnet_cli.data.images import Preprocessing, prepare

Grey = NDArray[np.float64]
GLYPH = (70, 60, 130, 150)  # left, upper, right, lower
HEIGHT, WIDTH = 200, 180


def scan() -> Grey:
    """Return a dark glyph of three strokes on light paper, (HEIGHT, WIDTH) from 0 to 255."""
    image = Image.new("L", (WIDTH, HEIGHT), 235)
    draw = ImageDraw.Draw(image)
    left, upper, right, lower = GLYPH
    for points in ((left, upper, right, lower), (left, lower, right, upper), (left, upper + 45, right, upper + 45)):
        draw.line(points, 20, width=8)
    return np.asarray(image, np.float64)


def noisy(grey: Grey) -> Grey:
    return grey + np.random.default_rng(0).normal(0, 40, grey.shape)


def salted(grey: Grey) -> Grey:
    drawn = np.random.default_rng(0).random(grey.shape)
    return np.where(drawn < 0.02, 0, np.where(drawn > 0.98, 255, grey))


def stained(grey: Grey) -> Grey:
    down, right = np.mgrid[:HEIGHT, :WIDTH]
    return grey - 70 * np.exp(-(((down - 20) / 40) ** 2) - ((right - 150) / 30) ** 2)


def framed(grey: Grey) -> Grey:
    grey = grey.copy()
    grey[:7], grey[-7:], grey[:, :6], grey[:, -6:] = 25, 25, 25, 25
    return grey


def unevenly_lit(grey: Grey) -> Grey:
    return grey * np.linspace(0.4, 1, WIDTH)


def specked(grey: Grey) -> Grey:
    grey = grey.copy()
    for down, right in ((12, 20), (180, 30), (170, 165), (30, 150)):
        grey[down : down + 3, right : right + 3] = 0
    return grey


def with_a_neighbour(grey: Grey) -> Grey:
    grey = grey.copy()
    grey[20:34, :7] = 20
    return grey


def blurred(grey: Grey) -> Grey:
    return np.asarray(Image.fromarray(grey.astype(np.uint8)).filter(ImageFilter.GaussianBlur(2)), np.float64)


def faint(grey: Grey) -> Grey:
    return 200 + 0.12 * (grey - 235)


def inverted(grey: Grey) -> Grey:
    return 255 - grey


CHANGES = (noisy, salted, stained, framed, unevenly_lit, specked, with_a_neighbour, blurred, faint, inverted)


def pixels_of(grey: Grey) -> NDArray[np.uint8]:
    return grey.clip(0, 255).round().astype(np.uint8)[..., None]


def overlap(one: Box, other: tuple[int, int, int, int]) -> float:
    """Return the area that two boxes share, over that of both."""
    width = min(one.right, other[2]) - max(one.left, other[0])
    height = min(one.lower, other[3]) - max(one.upper, other[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)


@pytest.mark.parametrize("change", CHANGES)
def test_the_content_is_found_under_what_scans_have(change: Callable[[Grey], Grey]) -> None:
    assert overlap(content_box(pixels_of(change(scan()))), GLYPH) > 0.8


def test_large_images_are_measured_at_full_scale() -> None:
    large = np.asarray(Image.fromarray(pixels_of(scan())[..., 0]).resize((5 * WIDTH, 5 * HEIGHT)))
    assert overlap(content_box(large[..., None]), tuple(5 * edge for edge in GLYPH)) > 0.8


@pytest.mark.parametrize("shape", [(1, 1), (2, 50), (64, 64)])
def test_a_blank_image_is_all_content(shape: tuple[int, int]) -> None:
    assert content_box(np.full((*shape, 1), 200, np.uint8)) == Box(0, 0, shape[1], shape[0])


def test_a_dot_of_the_glyph_stays_and_colours_are_no_matter() -> None:
    grey = scan()
    grey[48:56, 95:105] = 20  # as that of an i
    box = content_box(np.repeat(pixels_of(grey), 3, 2))
    assert box.upper == pytest.approx(48, abs=3)


def test_what_is_kept_has_a_margin_inside_the_frame() -> None:
    left, upper, right, lower = cropped_to(pixels_of(scan()))
    assert 0 < left < GLYPH[0] - 2
    assert GLYPH[3] + 2 < lower < HEIGHT
    touching = pixels_of(np.roll(scan(), -GLYPH[0], 1))
    assert cropped_to(touching)[0] == 0
    assert (right - left, lower - upper) < (WIDTH, HEIGHT)


def test_cropped_images_show_the_content_large_and_others_are_as_before() -> None:
    image = Image.fromarray(pixels_of(scan())[..., 0])
    whole, _ = prepare(image, Preprocessing(28, 1, "dark-on-light"))
    cropped, _ = prepare(image, Preprocessing(28, 1, "dark-on-light", crop="content"))
    heights = [int((pixels[0] < 128).any(1).sum()) for pixels in (whole, cropped)]
    assert heights[0] <= 14
    assert heights[1] >= 22
    with pytest.raises(ValueError, match="crop must be one of"):
        Preprocessing(28, 1, "mixed", crop="ink")  # type: ignore[arg-type]


def contents(
    sides: tuple[float, float], places: tuple[float, float] = (0.5, 0.5), frame: int = 200, jitter: float = 0.0
) -> Contents:
    """Return the contents of two classes of 40 images, by the side in pixels and the place of each class."""
    draw, boxes = np.random.default_rng(0), []
    for side, place in zip(sides, places, strict=True):
        for _ in range(40):
            half, middle = side * np.exp(draw.normal(0, 0.05)) / 2, frame * (place + draw.normal(0, jitter))
            boxes.append(Box(middle - half, middle - half, middle + half, middle + half))
    return Contents(boxes, [(frame, frame)] * 80, np.repeat([0, 1], 40))


@pytest.mark.parametrize(
    ("case", "crops", "reason"),
    [
        (contents((90, 95)), True, "fills 4[5-9]%"),
        (contents((180, 180)), False, "fills 90%"),
        (contents((20, 20), frame=28), False, "always at the same place and size"),  # as handwritten digits are given
        (contents((14, 14), frame=28, jitter=0.1), True, "fills 50%"),
        (contents((50, 100)), False, "its size differs between classes"),
        (contents((60, 60), (0.3, 0.7)), False, "its place differs between classes"),
    ],
)
def test_a_collection_is_cropped_where_that_shows_more_and_hides_nothing(
    case: Contents, crops: bool, reason: str
) -> None:
    import re

    decided, why = case.decide(28)
    assert decided == crops
    assert re.search(reason, why)


@pytest.mark.parametrize(("side", "size"), [(8, 16), (16, 16), (17, 16), (19, 20), (24, 24), (29, 28), (300, 32)])
def test_the_image_size_is_what_the_content_has(side: float, size: int) -> None:
    assert size_for(side) == size
