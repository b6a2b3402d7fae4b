import os
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from lrnet_cli.data.images import Preprocessing, flat_image, prepare
from lrnet_cli.data.polarity import polarity_of
from lrnet_cli.errors import ImageError

GREY = Preprocessing(28, 1, "light-on-dark")
COLOUR = Preprocessing(28, 3, "mixed")


def corner_mark() -> np.ndarray:
    """A light square in the upper left of a dark image: its place tells how an image was turned."""
    pixels = np.zeros((28, 28), np.uint8)
    pixels[4:10, 4:10] = 200
    return pixels


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_grey_image_of_the_right_size_comes_back_as_it_is(tmp_path: Path) -> None:
    pixels, inverted = prepare(saved(tmp_path / "a.png", Image.fromarray(corner_mark())), GREY)
    assert pixels.shape == (1, 28, 28)
    assert pixels.dtype == np.uint8
    assert (pixels[0] == corner_mark()).all()
    assert not inverted


def sixteen_bit(tmp_path: Path) -> Path:
    return saved(tmp_path / "a.png", Image.fromarray(corner_mark().astype(np.uint16) * 257))


def integer_tiff(tmp_path: Path) -> Path:
    return saved(tmp_path / "a.tiff", Image.fromarray(corner_mark().astype(np.int32) * 257))


def float_tiff(tmp_path: Path) -> Path:
    return saved(tmp_path / "a.tiff", Image.fromarray(corner_mark().astype(np.float32) / 255))


def palette(tmp_path: Path) -> Path:
    return saved(tmp_path / "a.gif", Image.fromarray(corner_mark()).convert("P"))


def palette_with_transparency(tmp_path: Path) -> Path:
    image = Image.fromarray((corner_mark() > 0).astype(np.uint8)).convert("P")
    image.putpalette([0, 0, 0, 200, 200, 200])
    return saved(tmp_path / "a.png", image, transparency=0)


def light_ink_on_transparency(tmp_path: Path) -> Path:
    image = Image.new("RGBA", (28, 28), (0, 0, 0, 0))
    image.paste((200, 200, 200, 255), (4, 4, 10, 10))
    return saved(tmp_path / "a.png", image)


def grey_with_alpha(tmp_path: Path) -> Path:
    return saved(tmp_path / "a.png", Image.fromarray(corner_mark()).convert("LA"))


def tiff_tags(side: int, strip: int) -> list[tuple[int, int, int, int]]:
    """The tags of a grey TIFF, without compression, whose pixels are at ``strip``."""
    return [
        (256, 3, 1, side),
        (257, 3, 1, side),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, strip),
        (278, 3, 1, side),
        (279, 4, 1, side * side),
    ]


def directory(tags: list[tuple[int, int, int, int]], following: int) -> bytes:
    """A page of a TIFF file, and where the one that follows it is."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return struct.pack("<H", len(tags)) + entries + struct.pack("<I", following)


def grey_with_associated_alpha(tmp_path: Path) -> Path:
    """A TIFF of two samples, of which the second is alpha that the first was multiplied by; Pillow writes none."""
    pixels = np.stack([corner_mark(), np.full((28, 28), 255, np.uint8)], axis=-1).tobytes()
    tags = tiff_tags(28, strip=8 + 2 + 12 * 10 + 4)
    tags[2:3] = [(258, 3, 2, 8 | 8 << 16)]
    tags[6:] = [(277, 3, 1, 2), (278, 3, 1, 28), (279, 4, 1, len(pixels)), (338, 3, 1, 1)]
    content = b"II*\0" + struct.pack("<I", 8) + directory(tags, 0) + pixels
    (tmp_path / "a.tiff").write_bytes(content)
    return tmp_path / "a.tiff"


def colour(tmp_path: Path) -> Path:
    return saved(tmp_path / "a.bmp", Image.fromarray(corner_mark()).convert("RGB"))


def cmyk_jpeg(tmp_path: Path) -> Path:
    image = Image.fromarray(corner_mark()).convert("RGB").convert("CMYK")
    return saved(tmp_path / "a.jpg", image, quality=100, subsampling=0)


def turned_by_exif(tmp_path: Path) -> Path:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    image = Image.fromarray(np.rot90(corner_mark()).copy())
    return saved(tmp_path / "a.jpg", image, exif=exif, quality=100)


@pytest.mark.parametrize(
    "make",
    [
        sixteen_bit,
        integer_tiff,
        float_tiff,
        palette,
        palette_with_transparency,
        light_ink_on_transparency,
        grey_with_alpha,
        grey_with_associated_alpha,
        colour,
        cmyk_jpeg,
        turned_by_exif,
    ],
)
def test_every_mode_gives_the_same_look(tmp_path: Path, make: object) -> None:
    pixels, inverted = prepare(make(tmp_path), GREY)
    assert not inverted
    assert np.abs(pixels[0].astype(int) - corner_mark()).max() <= 12  # JPEG loses a little


def test_one_bit_image_is_black_and_white(tmp_path: Path) -> None:
    pixels, _ = prepare(saved(tmp_path / "a.png", Image.fromarray(corner_mark() > 0)), GREY)
    assert sorted(np.unique(pixels)) == [0, 255]


def test_dark_ink_on_transparency_is_seen_and_inverted(tmp_path: Path) -> None:
    image = Image.new("RGBA", (28, 28), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (4, 4, 10, 10))
    pixels, inverted = prepare(saved(tmp_path / "a.png", image), GREY)
    assert inverted
    assert (pixels[0] == np.where(corner_mark() > 0, 255, 0)).all()


def test_a_wide_image_is_padded_with_its_background_and_keeps_its_aspect() -> None:
    wide = np.full((10, 40), 30, np.uint8)
    wide[2:8, 16:24] = 220
    pixels, _ = prepare(Image.fromarray(wide), Preprocessing(40, 1, "light-on-dark"))
    assert (pixels[0, :15] == 30).all()
    assert (pixels[0, 25:] == 30).all()
    assert (pixels[0, 15:25] == wide).all()


def test_a_jpeg_of_thousands_of_scans_is_refused(tmp_path: Path) -> None:
    content = saved(tmp_path / "a.jpg", Image.fromarray(corner_mark()), progressive=True).read_bytes()
    assert prepare(tmp_path / "a.jpg", GREY)[0].shape == (1, 28, 28)
    last = content.rindex(b"\xff\xda")
    (tmp_path / "a.jpg").write_bytes(content[:-2] + content[last:-2] * 300 + content[-2:])
    with pytest.raises(ImageError, match="more than 200 scans"):
        prepare(tmp_path / "a.jpg", GREY)


def test_pages_are_not_counted(tmp_path: Path) -> None:
    size, tags = len(directory(tiff_tags(1, 8), 0)), tiff_tags(1, 8)
    pages = [directory(tags, 10 + size * number) for number in range(1, 10_000)]
    (tmp_path / "a.tiff").write_bytes(b"II*\0" + struct.pack("<I", 10) + b"\1\0" + b"".join(pages) + directory(tags, 0))
    remarks: list[str] = []
    begun = time.process_time()
    prepare(tmp_path / "a.tiff", GREY, "no", remarks)
    assert remarks == ["has several frames or pages, of which only the first is read"]
    assert time.process_time() - begun < 0.1


def test_a_tiff_file_of_very_many_strips_is_refused(tmp_path: Path) -> None:
    strips = 150_000
    tags = [(256, 3, 1, 1), (257, 4, 1, strips), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    start = 8 + 2 + 12 * 8 + 4
    tags += [(273, 4, strips, start), (278, 3, 1, 1), (279, 4, strips, start + 4 * strips)]
    body = struct.pack("<I", 8) * strips + struct.pack("<I", 1) * strips
    (tmp_path / "a.tiff").write_bytes(b"II*\0" + struct.pack("<I", 8) + directory(tags, 0) + body)
    with pytest.raises(ImageError, match="a TIFF file of more than 100000 parts"):
        prepare(tmp_path / "a.tiff", GREY)


def test_a_very_long_image_is_judged_in_little_time() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (33, 1_000_000, 1), np.uint8)
    begun = time.process_time()
    polarity_of(pixels, "plane")
    assert time.process_time() - begun < 1


def test_an_extremely_thin_image_is_one_line() -> None:
    thin = np.zeros((1, 5000), np.uint8)
    thin[0, 2000:3000] = 255
    pixels, _ = prepare(Image.fromarray(thin), GREY, "no")
    assert (pixels[0].max(1) > 0).sum() == 1


def test_shrinking_is_antialiased() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (280, 140))
    pixels, _ = prepare(Image.fromarray(stripes), GREY, "no")
    assert abs(int(pixels.mean()) - 127) <= 1
    assert pixels[0, 4:-4, 4:-4].std() < 3


def test_grey_image_fills_three_channels_and_colour_keeps_them() -> None:
    pixels, _ = prepare(Image.fromarray(corner_mark()), COLOUR)
    assert pixels.shape == (3, 28, 28)
    red, _ = prepare(Image.new("RGB", (28, 28), (255, 0, 0)), COLOUR)
    assert red.max(axis=(1, 2)).tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("trained", "invert", "expected"),
    [
        ("light-on-dark", "auto", True),
        ("dark-on-light", "auto", False),
        ("mixed", "auto", False),
        ("dark-on-light", "yes", True),
        ("light-on-dark", "no", False),
    ],
)
def test_inversion_follows_the_trained_polarity(trained: str, invert: str, expected: bool) -> None:
    dark_on_light = 255 - corner_mark()
    pixels, inverted = prepare(Image.fromarray(dark_on_light), Preprocessing(28, 1, trained), invert)
    assert inverted == expected
    assert (pixels[0] == (corner_mark() if expected else dark_on_light)).all()


def test_an_image_of_one_grey_value_is_never_inverted_by_itself() -> None:
    _, inverted = prepare(Image.new("L", (28, 28), 255), GREY)
    assert not inverted


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_claiming(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("read", [lambda path: prepare(path, GREY), flat_image])
def test_a_file_that_fails_only_when_it_is_converted_is_an_image_error(
    tmp_path: Path, read: Callable[[Path], object]
) -> None:
    header = struct.pack(">IIBBBBB", 8, 8, 8, 3, 0, 0, 0)
    parts = [(b"IHDR", header), (b"PLTE", bytes(6)), (b"tRNS", bytes(257)), (b"IDAT", zlib.compress(bytes(72)))]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in [*parts, (b"IEND", b"")]))
    with pytest.raises(ImageError, match="palette index out of range"):
        read(tmp_path / "a.png")


def png_bytes(tmp_path: Path) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    return saved(tmp_path / "whole.png", Image.fromarray(noise)).read_bytes()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda _: b"", "is empty"),
        (lambda _: b"hello, I am text", "is not an image"),
        (lambda tmp_path: png_bytes(tmp_path)[:200], "truncated|damaged|broken"),
        (lambda _: png_claiming(9000, 9000), "too large"),
        (lambda _: png_claiming(12_000, 12_000), "too large"),
        (lambda _: png_claiming(60_000, 60_000), "too large"),
    ],
)
def test_file_that_is_no_good_image_gives_one_reason(tmp_path: Path, content: object, reason: str) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(content(tmp_path))
    with pytest.raises(ImageError, match=reason):
        prepare(path, GREY)


def test_every_truncation_of_every_format_is_an_image_error(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    for suffix in ("png", "jpg", "gif", "bmp", "tiff", "webp", "ppm"):
        content = saved(tmp_path / f"whole.{suffix}", Image.fromarray(noise)).read_bytes()
        for length in np.linspace(1, len(content) - 60, 25, dtype=int):
            path = tmp_path / f"cut.{suffix}"
            path.write_bytes(content[:length])
            with pytest.raises(ImageError):
                prepare(path, GREY)


def test_missing_file_and_folder_are_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="No such file"):
        prepare(tmp_path / "nowhere.png", GREY)
    with pytest.raises(ImageError, match="is a folder, pipe or device"):
        prepare(tmp_path, GREY)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are a Unix thing")
def test_named_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="pipe"):
        prepare(tmp_path / "pipe.png", GREY)


def test_float_values_that_are_no_grey_levels_are_refused() -> None:
    with pytest.raises(ImageError, match="float values"):
        prepare(Image.fromarray(np.full((28, 28), np.nan, np.float32)), GREY)


@pytest.mark.parametrize("changes", [{"image_size": 0}, {"channels": 2}, {"polarity": "grey"}, {"image_size": 2.5}])
def test_preprocessing_that_makes_no_sense_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        Preprocessing(**({"image_size": 28, "channels": 1, "polarity": "mixed"} | changes))


@pytest.mark.parametrize("suffix", [".png", ".webp", ".jpg"])
def test_a_cut_exif_block_is_that_images_error_or_is_passed_by(tmp_path: Path, suffix: str) -> None:
    for length in range(4, 40, 3):
        block = (b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x12\0\x03\0\0\0\x01\0\x06" + b"\xff" * 30)[: 6 + length]
        path = tmp_path / f"{length}{suffix}"
        Image.fromarray(corner_mark()).convert("RGB").save(path, exif=block)
        try:
            assert prepare(path, GREY)[0].shape == (1, 28, 28)
        except ImageError as error:
            assert str(error).startswith("is damaged: ")


def test_a_decoder_may_fail_in_any_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(corner_mark()))
    for failure in (
        struct.error("unpack requires 8 bytes"),
        RuntimeError("bad"),
        NotImplementedError(),
        ZeroDivisionError(),
    ):

        def fail(_image: Image.Image, failure: Exception = failure) -> None:
            raise failure

        monkeypatch.setattr(PngImageFile, "load", fail)
        with pytest.raises(ImageError, match="is damaged: "):
            prepare(path, GREY)


@pytest.mark.parametrize(
    "content", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", b"DDS |" + b"\0" * 200]
)
def test_only_the_formats_of_the_suffixes_are_tried(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ImageError, match="is not an image in a format that Pillow reads"):
        prepare(tmp_path / "a.png", GREY)


def test_integers_of_32_bits_are_grey_levels_of_8_or_16(tmp_path: Path) -> None:
    levels = corner_mark().astype(np.int32)
    expected, _ = prepare(Image.fromarray(corner_mark()), GREY)
    for factor in (1, 257):
        pixels, _ = prepare(saved(tmp_path / "a.tif", Image.fromarray(levels * factor)), GREY)
        assert np.array_equal(pixels, expected)
    with pytest.raises(ImageError, match="32-bit values outside"):
        prepare(saved(tmp_path / "a.tif", Image.fromarray(levels * 1000)), GREY)
