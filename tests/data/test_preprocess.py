"""Conversion of one image, checked by exact pixels for every colour model and depth."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from infogan.data import preprocess
from infogan.data.preprocess import (
    Header,
    ImageSpec,
    ImageTooLargeError,
    Target,
    channels_first,
    check_value_range,
    image_extensions,
    open_image,
    read_header,
    render,
    shown,
    skip_unusable,
    to_uint8,
)
from infogan.utils.errors import UserError


def reopened(image: Image.Image, format: str, **options: Any) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    buffer.seek(0)
    return Image.open(buffer)


def ramp(height: int = 8, width: int = 8) -> NDArray[np.uint8]:
    return np.arange(height * width, dtype=np.uint8).reshape(height, width)


def test_a_grey_image_of_the_right_size_keeps_every_pixel() -> None:
    image = reopened(Image.fromarray(ramp()), "PNG")
    for shape in ("crop", "pad"):
        np.testing.assert_array_equal(render(image, 8, 1, shape), ramp()[None])


def test_a_colour_image_comes_out_channels_first() -> None:
    colours = np.stack([ramp(), ramp() + 64, ramp() + 128], axis=2)
    rendered = render(reopened(Image.fromarray(colours), "PNG"), 8, 3, "crop")
    np.testing.assert_array_equal(rendered, colours.transpose(2, 0, 1))


def test_crop_takes_the_centre_on_whole_pixels() -> None:
    wide = Image.fromarray(ramp(8, 13))
    np.testing.assert_array_equal(render(wide, 8, 1, "crop")[0], ramp(8, 13)[:, 2:10])
    tall = Image.fromarray(ramp(13, 8))
    np.testing.assert_array_equal(render(tall, 8, 1, "crop")[0], ramp(13, 8)[2:10])


def test_pad_keeps_the_whole_image_between_bars_in_the_border_colour() -> None:
    pixels = np.full((4, 8), 200, np.uint8)
    pixels[1:3, 2:6] = 17
    padded = render(Image.fromarray(pixels), 8, 1, "pad")[0]
    np.testing.assert_array_equal(padded[2:6], pixels)
    assert (padded[:2] == 200).all() and (padded[6:] == 200).all()


def test_padding_a_long_strip_needs_no_huge_square() -> None:
    strip = Image.new("RGB", (200_000, 1), (10, 20, 30))
    np.testing.assert_array_equal(render(strip, 8, 3, "pad")[:, 0, 0], [10, 20, 30])


def test_shrinking_averages_instead_of_dropping_pixels() -> None:
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255  # nearest-neighbour would give all 0 or all 255
    inner = render(Image.fromarray(stripes), 8, 1, "crop")[0, 1:-1, 1:-1]
    assert np.abs(inner.astype(int) - 127.5).max() <= 2


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [(1, ramp()), (2, ramp()[:, ::-1]), (3, ramp()[::-1, ::-1]), (6, np.rot90(ramp(), -1)), (8, np.rot90(ramp(), 1))],
)
def test_exif_orientation_is_applied(orientation: int, expected: NDArray[np.uint8]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = reopened(Image.fromarray(ramp()), "PNG", exif=exif)
    np.testing.assert_array_equal(render(image, 8, 1, "crop")[0], expected)


@pytest.mark.parametrize(("alpha", "expected"), [(255, (200, 100, 0)), (0, (255, 255, 255)), (51, (244, 224, 204))])
def test_alpha_is_composited_on_white(alpha: int, expected: tuple[int, int, int]) -> None:
    image = reopened(Image.new("RGBA", (8, 8), (200, 100, 0, alpha)), "PNG")
    assert tuple(render(image, 8, 3, "crop")[:, 3, 3]) == expected


def test_grey_alpha_stays_grey_and_exact() -> None:
    image = reopened(Image.new("LA", (8, 8), (100, 51)), "PNG")
    assert read_header(image).channels == 1
    assert (render(image, 8, 1, "crop") == 224).all()


def test_palette_transparency_is_white() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 9, 9, 200])
    assert tuple(render(reopened(image, "PNG"), 8, 3, "crop")[:, 0, 0]) == (9, 9, 200)
    assert tuple(render(reopened(image, "PNG", transparency=1), 8, 3, "crop")[:, 0, 0]) == (255, 255, 255)


def test_a_palette_is_grey_only_if_all_its_colours_are() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 9, 9, 9])
    assert read_header(reopened(image, "PNG")).channels == 1
    image.putpalette([0, 0, 0, 9, 9, 10])
    assert read_header(reopened(image, "PNG")).channels == 3


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16", "I", "F"])
def test_grey_modes_have_one_channel(mode: str) -> None:
    assert read_header(Image.new(mode, (8, 8))).channels == 1


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "CMYK", "YCbCr"])
def test_colour_modes_have_three_channels(mode: str) -> None:
    assert read_header(Image.new(mode, (8, 8))).channels == 3


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(format: str) -> None:
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    image = reopened(Image.fromarray(values), format)
    np.testing.assert_array_equal(render(image, 8, 1, "crop")[0], np.rint(values / 65535 * 255))


def test_sixteen_bit_pgm_opens_as_32_bits_and_is_scaled_by_16() -> None:
    values = np.linspace(0, 65535, 64).astype(">u2")
    image = Image.open(io.BytesIO(b"P5 8 8 65535\n" + values.tobytes()))
    assert image.mode == "I"
    np.testing.assert_array_equal(render(image, 8, 1, "crop").ravel(), np.rint(values / 65535 * 255))


@pytest.mark.parametrize("value", [-1, 65536])
def test_integers_beyond_16_bits_are_refused(value: int) -> None:
    with pytest.raises(ValueError, match="allowed are 0 to 65535"):
        render(Image.fromarray(np.full((8, 8), value, np.int32)), 8, 1, "crop")


def test_float_tiff_is_scaled_and_out_of_range_is_refused() -> None:
    assert (render(reopened(Image.new("F", (8, 8), 0.5), "TIFF"), 8, 1, "crop") == 128).all()
    with pytest.raises(ValueError, match=r"float values from 1\.5 to 1\.5; allowed are 0 to 1"):
        render(reopened(Image.new("F", (8, 8), 1.5), "TIFF"), 8, 1, "crop")


def test_cmyk_is_converted() -> None:
    image = reopened(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF")
    assert tuple(render(image, 8, 3, "crop")[:, 0, 0]) == (255, 0, 0)


@pytest.mark.parametrize("format", ["GIF", "WEBP"])
def test_an_animation_gives_its_first_frame(format: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    options = {"lossless": True} if format == "WEBP" else {}
    image = reopened(frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert getattr(image, "n_frames") == 3  # noqa: B009  # only some of Pillow's classes have it
    assert tuple(render(image, 8, 3, "crop")[:, 0, 0]) == (255, 0, 0)


def test_one_bit_images_are_black_and_white() -> None:
    bits = ramp() % 2
    np.testing.assert_array_equal(
        render(reopened(Image.fromarray(bits.astype(bool)), "PNG"), 8, 1, "crop")[0], 255 * bits
    )


def test_fast_jpeg_decoding_changes_a_photograph_only_slightly() -> None:
    cells = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)  # detail as fine as the result shows
    photograph = Image.fromarray(cells.repeat(4, axis=0).repeat(4, axis=1))
    rendered = render(reopened(photograph, "JPEG", quality=95, subsampling=0), 64, 3, "crop")
    reference = render(photograph, 64, 3, "crop")
    assert np.abs(rendered.astype(int) - reference).max() <= 12


def png_with_size(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [8193, 12000, 60000])  # above our limit, Pillow's warning and Pillow's error
def test_a_decompression_bomb_is_refused_without_decoding(side: int) -> None:
    with (
        pytest.raises(Exception, match=r"more than 67,108,864|decompression bomb"),
        open_image(io.BytesIO(png_with_size(side, side))),
    ):
        pass


def test_the_largest_allowed_image_is_opened() -> None:
    with open_image(io.BytesIO(png_with_size(8192, 8192))) as image:
        assert image.size == (8192, 8192)


def test_postscript_is_never_read() -> None:
    assert {".png", ".jpg", ".tif", ".webp", ".gif", ".bmp"} <= image_extensions()
    assert not {".eps", ".pdf", ".h5", ".mpg"} & image_extensions()
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "EPS")
    with pytest.raises(UnidentifiedImageError), open_image(buffer):
        pass


def test_arrays_are_scaled_by_their_type() -> None:
    np.testing.assert_array_equal(to_uint8(np.array([0, 128, 129, 65535], np.uint16)), [0, 0, 1, 255])
    np.testing.assert_array_equal(to_uint8(np.array([0.0, 0.4999, 1.0])), [0, 127, 255])
    np.testing.assert_array_equal(to_uint8(np.array([0.0, 1.0], np.float16)), [0, 255])
    np.testing.assert_array_equal(to_uint8(ramp()), ramp())


def test_floats_that_round_to_bytes_are_accepted() -> None:
    hair = 0.499 / 255  # as resized tensors have
    np.testing.assert_array_equal(to_uint8(np.array([-hair, 0.5, 1 + hair])), [0, 128, 255])
    np.testing.assert_array_equal(to_uint8(np.array([False, True])), [0, 255])


def test_values_are_scaled_from_their_range_to_bytes() -> None:
    deep = np.array([0, 2048, 4095, 5000], np.uint16)
    np.testing.assert_array_equal(to_uint8(deep, (0, 4095)), [0, 128, 255, 255])
    np.testing.assert_array_equal(to_uint8(deep, (4095, 0)), [255, 127, 0, 0])
    np.testing.assert_array_equal(to_uint8(np.array([-1000, 0, 1000]), (-1000, 1000)), [0, 128, 255])
    np.testing.assert_array_equal(to_uint8(np.array([0, 1, 2], np.uint8), (0, 2)), [0, 128, 255])
    np.testing.assert_array_equal(to_uint8(np.array([0, np.inf, -np.inf]), (-1, 1)), [128, 255, 0])
    with pytest.raises(ValueError, match="NaN"):
        to_uint8(np.array([0, np.nan]), (0, 1))


@pytest.mark.parametrize("value_range", [(3, 3), (0, np.inf), (np.nan, 1)])
def test_a_range_without_two_finite_values_is_refused(value_range: tuple[float, float]) -> None:
    with pytest.raises(UserError, match="values of black and white"):
        ImageSpec(value_range=value_range)
    check_value_range((255, 0))


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "I;16", "I", "F"])
def test_a_range_applies_to_files_of_every_kind(mode: str) -> None:
    values = np.array([[0, 20], [10, 30]])
    image = Image.fromarray(values.astype(np.uint16)) if mode == "I;16" else Image.fromarray(values.astype(np.uint8))
    image = image if mode == "I;16" else image.convert(mode)
    pixels = render(image.resize((8, 8), Image.Resampling.NEAREST), 8, 1, "crop", (0, 20))
    np.testing.assert_array_equal(pixels[0, ::4, ::4], [[0, 255], [128, 255]])


def test_a_jpeg_may_have_more_pixels_because_it_is_reduced_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preprocess, "MAX_PIXELS", 10_000)

    def encoded(width: int, height: int, form: str) -> io.BytesIO:
        buffer = io.BytesIO()
        Image.linear_gradient("L").resize((width, height)).save(buffer, form)
        return buffer

    with open_image(encoded(200, 200, "JPEG"), max_pixels=10_000) as image:
        assert render(image, 8, 1, "crop").shape == (1, 8, 8)
    for width, height, form in ((201, 200, "JPEG"), (101, 100, "PNG")):  # one row too many
        with pytest.raises(ImageTooLargeError), open_image(encoded(width, height, form), max_pixels=10_000):
            pass
    with (
        open_image(encoded(2000, 15, "JPEG"), max_pixels=10_000) as strip,  # as low as what is wanted
        pytest.raises(ImageTooLargeError),
    ):
        render(strip, 8, 1, "crop")


@pytest.mark.parametrize("bad", [[0.0, 1.002], [-0.002, 1.0], [0.0, np.nan], [np.inf, 0.0]])
def test_floats_beyond_0_to_1_are_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="allowed are 0 to 1"):
        to_uint8(np.array(bad))


@pytest.mark.parametrize("type", [np.int64, np.complex128, "U3"])
def test_other_types_are_refused(type: Any) -> None:
    with pytest.raises(ValueError, match="uint8, uint16 and float"):
        to_uint8(np.zeros(3, type))


def test_arrays_become_grey_or_colour_like_images() -> None:
    red = np.zeros((3, 8, 8), np.uint8)
    red[0] = 255
    assert (render(red, 8, 1, "crop") == 76).all()  # ITU-R 601: 0.299 * 255
    np.testing.assert_array_equal(render(ramp()[None], 8, 3, "crop"), np.stack([ramp()] * 3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 7}, "size is 7.*8 to 256"),
        ({"size": 257}, "size is 257.*8 to 256"),
        ({"channels": 0}, "channels is 0.*1 .*3"),
        ({"channels": 17}, "channels is 17.*16"),
        ({"bands": (1, 2)}, "three channels"),
        ({"bands": (0, 1, 2)}, "counted from 1"),
        ({"shape": "corp"}, "'corp'.*'crop'"),
    ],
)
def test_wrong_sizes_channels_and_shapes_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ImageSpec(**arguments)


def test_the_smallest_and_largest_size_are_allowed() -> None:
    for size in (8, 256):
        assert ImageSpec(size, 1).resolve({Header(3, 4, 3): "a"}, "x") == Target(size, 1, "crop")


def test_a_common_square_size_and_common_channels_are_kept() -> None:
    assert ImageSpec(shape="pad").resolve({Header(28, 28, 3): "a.png"}, "x") == Target(28, 3, "pad")


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(400, 533), (64, 64)], 64),
        ([(400, 533)], 64),
        ([(257, 257)], 64),
        ([(28, 28), (32, 20)], 28),  # the larger of the shorter sides
        ([(300, 5)], 8),
        ([(7, 7)], 8),
    ],
)
def test_images_without_a_common_size_get_the_usual_one(sizes: list[tuple[int, int]], expected: int) -> None:
    headers = {Header(*size, 1): f"{number}.png" for number, size in enumerate(sizes)}
    assert ImageSpec().resolve(headers, "x").size == expected


def test_grey_images_among_coloured_ones_become_coloured() -> None:
    headers = {Header(28, 28, 1): "a.png", Header(28, 28, 3): "b.png"}
    assert ImageSpec().resolve(headers, "x").channels == 3
    assert ImageSpec(channels=1).resolve(headers, "x").channels == 1


def test_other_numbers_of_channels_must_agree() -> None:
    headers = {Header(28, 28, 3): "a.png", Header(28, 28, 5): "b.tif"}
    with pytest.raises(UserError, match=r"3 \(a\.png\) and 5 \(b\.tif\).*--channels"):
        ImageSpec().resolve(headers, "x")
    with pytest.raises(UserError, match=r"17 channels \(b\.tif\).*--channels 1"):
        ImageSpec().resolve({Header(28, 28, 17): "b.tif"}, "x")


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((2, 30, 40), (2, 1, 30, 40)),
        ((2, 3, 30, 40), (2, 3, 30, 40)),
        ((2, 30, 40, 3), (2, 3, 30, 40)),
        ((2, 5, 30, 40), (2, 5, 30, 40)),
        ((2, 30, 40, 16), (2, 16, 30, 40)),
        ((2, 8, 8, 3), (2, 3, 8, 8)),
        ((2, 12, 12, 5), (2, 5, 12, 12)),
        ((2, 5, 12, 12), (2, 5, 12, 12)),
        ((2, 12, 12, 12), (2, 12, 12, 12)),
    ],
)
def test_channels_are_found_first_or_last(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert channels_first(np.zeros(shape, np.uint8), "x").shape == expected


def test_each_band_is_resized_like_a_grey_image() -> None:
    bands = np.random.default_rng(0).integers(0, 65536, (5, 20, 30)).astype(np.uint16)
    for shape in ("crop", "pad"):
        rendered = render(bands, 8, 5, shape)
        expected = [render(band[None], 8, 1, shape)[0] for band in bands]
        np.testing.assert_array_equal(rendered, expected)
    with pytest.raises(ValueError, match="5 channels, and 3"):
        render(bands, 8, 3, "crop")
    with pytest.raises(ValueError, match="3 channels, and 5"):
        render(Image.new("RGB", (9, 9)), 8, 5, "crop")


def test_three_bands_are_shown_and_go_to_a_pretrained_encoder() -> None:
    images = np.arange(5, dtype=np.uint8)[:, None, None].repeat(9, 1).repeat(9, 2)
    assert shown(images)[:, 0, 0].tolist() == [0, 1, 2]
    assert shown(images, (5, 1, 4))[:, 0, 0].tolist() == [4, 0, 3]
    assert shown(images[:2] + 7)[:, 0, 0].tolist() == [7, 8, 0]
    np.testing.assert_array_equal(shown(images[:3], (3, 2, 1)), images[:3])  # RGB stays as it is
    assert render(images, 9, 3, "crop", for_encoder=True, bands=(5, 1, 4))[:, 0, 0].tolist() == [4, 0, 3]
    with pytest.raises(ValueError, match=r"6, 1, 2.*5 channels"):
        shown(images, (6, 1, 2))


def tiff(path: Path, pages: list[Image.Image]) -> Path:
    pages[0].save(path, save_all=True, append_images=pages[1:])
    return path


@pytest.mark.parametrize("type", [np.uint8, np.uint16])
def test_the_pages_of_a_tiff_are_its_channels(type: Any, tmp_path: Path) -> None:
    bands = np.random.default_rng(0).integers(0, np.iinfo(type).max, (5, 12, 12)).astype(type)
    path = tiff(tmp_path / "a.tif", [Image.fromarray(band) for band in bands])
    with open(path, "rb") as file, open_image(file) as image:
        assert read_header(image) == Header(12, 12, 5)
        np.testing.assert_array_equal(render(image, 12, 5, "crop"), to_uint8(bands))
        np.testing.assert_array_equal(render(image, 12, 1, "crop"), to_uint8(bands[:1]))  # the first page
        seen = render(image, 12, 3, "crop", for_encoder=True, bands=(5, 1, 4))
        np.testing.assert_array_equal(seen, to_uint8(bands[[4, 0, 3]]))


def test_pages_of_several_sizes_or_in_colour_are_no_channels(tmp_path: Path) -> None:
    page, thumbnail = Image.new("L", (12, 12)), Image.new("L", (6, 6))
    for number, pages in enumerate(([page, thumbnail], [page.convert("RGB")] * 2)):
        with open(tiff(tmp_path / f"{number}.tif", pages), "rb") as file, open_image(file) as image:
            assert read_header(image).channels == (1, 3)[number]


def test_a_real_shortage_of_memory_is_not_blamed_on_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise MemoryError

    skipped: list[str] = []
    with skip_unusable("broken.png", skipped):
        fail()
    assert skipped == ["broken.png: MemoryError"]
    monkeypatch.setattr(preprocess, "MAX_DECODE_BYTES", 2**62)  # more than any machine has
    with pytest.raises(MemoryError), skip_unusable("a.png", skipped):
        fail()


def test_images_for_pretrained_encoders_are_enlarged_without_halos() -> None:
    edge = np.zeros((8, 8), np.uint8)
    edge[:, 4:] = 200
    enlarged = render(Image.fromarray(edge), 32, 1, "crop", for_encoder=True)[0]
    assert enlarged.max() == 200
    assert (np.diff(enlarged[16].astype(int)) >= 0).all()
    assert render(Image.fromarray(edge), 32, 1, "crop").max() > 200  # Lanczos overshoots
    small = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8))
    np.testing.assert_array_equal(render(small, 8, 1, "crop", for_encoder=True), render(small, 8, 1, "crop"))


def test_pretrained_encoders_may_see_larger_images() -> None:
    assert ImageSpec(size=518, for_encoder=True).size == 518
    with pytest.raises(UserError, match="8 to 256"):
        ImageSpec(size=518)
    with pytest.raises(UserError, match="8 to 1024"):
        ImageSpec(size=1025, for_encoder=True)
