"""Conversion of one image of any size, depth and colour model to uint8 pixels of the requested size and channels.

Every data source uses these functions, so that photographs, scans and arrays are cropped, padded, scaled and made grey
by the same rules.
"""

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import ValidationError

from infogan.config.load import to_plain
from infogan.utils.errors import UserError, unknown_name

Progress = Callable[[str, int, int], None]
"""Called with a description of the work, the amount done and the total: bytes of a download, or images read."""

SIZES = range(8, 129)  # of images that networks are trained on, in pixels
LARGEST = 1_024  # of images for pretrained encoders
MAX_PIXELS = 64 * 2**20  # of one image before it is resized: 256 MiB as RGBA
REDUCIBLE = 4  # times as many may a JPEG have; a progressive one takes 6 bytes a pixel before it is reduced
MAX_DECODE_BYTES = 24 * MAX_PIXELS  # memory that decoding one image may need, with copies, in the deepest format

_GIVE_RANGE = "give the values of black and white (--range)"

# Formats that Pillow only recognises, or passes to another program (EPS to Ghostscript), are not read.
_UNSUPPORTED_FORMATS = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}


class ImageTooLargeError(ValueError):
    """An image has more pixels than are decoded."""


class Header(NamedTuple):
    """Width and height of an image in pixels, and its channels: 1 or 3."""

    width: int
    height: int
    channels: int


ValueRange = tuple[float, float]
"""The values of black and of white, in this order; white may be the smaller one."""


class Target(NamedTuple):
    """What every image of a set is converted to.

    Attributes:
        size: Height and width in pixels.
        channels: 1 or 3.
        shape: A key of ``FITS``.
        value_range: The values of black and white in the source; None = those of the type.
        for_encoder: As for `ImageSpec`.
    """

    size: int
    channels: int
    shape: str
    value_range: ValueRange | None = None
    for_encoder: bool = False


@dataclass(frozen=True)
class ImageSpec:
    """The requested size, channels and shape of the images of a set, and how their values are read.

    Attributes:
        size: Height and width in pixels, 8 to 128. None keeps the images' size if all are square and of one size.
        channels: 1 for grey, 3 for RGB. None keeps the images' channels if all agree.
        shape: How an image becomes square: a key of ``FITS``.
        value_range: The values of black and white. None: 0 and 255 for bytes, 65,535 for 16 bits, 1 for floats.
        follow_links: Whether to follow symbolic links to folders, and those that lead out of the folder of the images.
        for_encoder: Whether the images are for a pretrained encoder. They may then have up to ``LARGEST`` pixels, and
            are enlarged without the halos around edges that such encoders react to.

    Raises:
        UserError: A value is not allowed.
    """

    size: int | None = None
    channels: int | None = None
    shape: str = "crop"
    value_range: ValueRange | None = None
    follow_links: bool = False
    for_encoder: bool = False

    def __post_init__(self) -> None:
        for name in ("size", "channels", "value_range"):
            plain = to_plain(getattr(self, name))
            plain = tuple(plain) if isinstance(plain, list) else plain
            whole = int(plain) if isinstance(plain, float) and plain.is_integer() else plain
            object.__setattr__(self, name, whole)
        sizes = range(SIZES.start, LARGEST + 1) if self.for_encoder else SIZES
        if self.size is not None and self.size not in sizes:
            raise UserError(f"size is {self.size}; choose {sizes.start} to {sizes.stop - 1} pixels")
        if self.channels not in (None, 1, 3):
            raise UserError(f"channels is {self.channels}; choose 1 (grey) or 3 (RGB)")
        if self.shape not in FITS:
            raise unknown_name("shape", self.shape, FITS)
        if self.value_range is not None:
            check_value_range(self.value_range)

    def resolve(self, examples: Mapping[Header, str], source: str) -> Target:
        """Return the target for a set of images, taking from the images what is not requested.

        Args:
            examples: For each header in the set, the name of one such image.
            source: The name of the set, for errors.

        Raises:
            UserError: The size or the channels are not requested and the images differ in them.
        """
        first = next(iter(examples))
        sizes = {(header.width, header.height): name for header, name in examples.items()}
        if self.size is None and (len(sizes) > 1 or first.width != first.height or first.width not in SIZES):
            some = " and ".join(f"{width}x{height} ({name})" for (width, height), name in list(sizes.items())[:2])
            allowed = f"one square size from {SIZES.start} to {SIZES.stop - 1}"
            raise UserError(f"{source} has images of {some} pixels, not of {allowed}; pass --size N")
        names = {header.channels: name for header, name in examples.items()}
        if self.channels is None and len(names) > 1:
            raise UserError(f"{source} mixes grey ({names[1]}) and colour images ({names[3]}); pass --channels 1 or 3")
        size, channels = self.size or first.width, self.channels or first.channels
        return Target(size, channels, self.shape, self.value_range, self.for_encoder)


def check_value_range(value_range: ValueRange) -> None:
    """Raise UserError unless a range has two different, finite values."""
    if len(value_range) != 2 or not np.isfinite(value_range).all() or value_range[0] == value_range[1]:
        raise UserError(f"the range of values is {value_range}; give the values of black and white, such as 0,4095")


@functools.cache
def image_extensions() -> frozenset[str]:
    """Return the file extensions, in lower case with the dot, of the formats that can be decoded."""
    formats = _decodable_formats()
    return frozenset(ending for ending, format in Image.registered_extensions().items() if format in formats)


@contextmanager
def open_image(
    file: BinaryIO, *, max_pixels: int = MAX_PIXELS, formats: tuple[str, ...] | None = None
) -> Iterator[Image.Image]:
    """Open an image: its header is read, its pixels are decoded on use.

    Args:
        file: The content of an image file.
        max_pixels: The largest number of pixels that is accepted.
        formats: Pillow's names of the accepted formats. None accepts all that can be decoded.

    Raises:
        ImageTooLargeError: The image has more than ``max_pixels`` pixels.
        Exception: The file is broken; Pillow raises exceptions of many types.
    """
    with warnings.catch_warnings():
        # Pillow warns of odd metadata, and of sizes that are refused below. Neither concerns the user.
        warnings.simplefilter("ignore")
        with Image.open(file, formats=formats or _decodable_formats()) as image:
            # A JPEG is decoded at a fraction of its size.
            limit = max_pixels * (REDUCIBLE if image.format == "JPEG" else 1)
            if image.width * image.height > limit:
                raise ImageTooLargeError(f"{image.width}x{image.height} pixels, more than {limit:,}")
            yield image


@contextmanager
def skip_unusable(name: str, skipped: list[str]) -> Iterator[None]:
    """Append a line ``"name: reason"`` to ``skipped`` instead of raising if an image cannot be used.

    Raises:
        UserError: The source as a whole cannot be read.
        MemoryError: The machine has too little memory to decode an image.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # decoders raise exceptions of many types on a broken file
        if isinstance(error, MemoryError):
            # Decoders raise it for impossible sizes in a broken file, too. Then this allocation succeeds.
            np.empty(MAX_DECODE_BYTES, np.uint8)
        skipped.append(f"{name}: {error_reason(error)}")


@contextmanager
def wrap_read_errors(path: object, form: str = "") -> Iterator[None]:
    """Turn any exception that a broken file causes in a library into a UserError.

    Args:
        path: The file, for the message.
        form: What the file was read as, e.g. ``" as a zip file"``.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy warns of headers that Python 2 wrote, and reads them correctly
            yield
    except UserError:
        raise
    except Exception as error:  # numpy, zipfile, gzip and pyarrow raise exceptions of many types on a broken file
        raise UserError(f"cannot read {path}{form}: {error_reason(error)}") from error


def error_reason(error: Exception) -> str:
    """Return one line for the user about an exception from a library."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image that can be read"  # Pillow's own message contains a memory address
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return " ".join(str(error).split())[:300] or type(error).__name__


def read_header(image: Image.Image | NDArray[Any]) -> Header:
    """Return the header of an image or of an array (channels, height, width).

    An image has 1 channel if its colour model, or its whole palette, is grey.
    """
    if isinstance(image, np.ndarray):
        return Header(image.shape[2], image.shape[1], image.shape[0])
    if image.mode in ("P", "PA"):
        palette = np.array(image.getpalette("RGB")).reshape(-1, 3)
        is_grey = bool((palette == palette[:, :1]).all())
    else:
        is_grey = Image.getmodebase(image.mode) == "L"
    return Header(image.width, image.height, 1 if is_grey else 3)


def channels_first(images: NDArray[Any], source: str) -> NDArray[Any]:
    """Return images of shape (count, channels, height, width), without copying.

    Args:
        images: (count, height, width), (count, channels, height, width) or (count, height, width, channels), with 1 or
            3 channels.
        source: The name of the images, for errors.

    Raises:
        UserError: The shape is none of these.
    """
    transposed = images
    if images.ndim == 3:
        transposed = images[:, None]
    elif images.ndim == 4 and images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        transposed = images.transpose(0, 3, 1, 2)
    if transposed.ndim != 4 or transposed.shape[1] not in (1, 3) or 0 in transposed.shape[1:]:
        raise UserError(
            f"{source} has the image shape {images.shape[1:]}; allowed are (height, width), (channels, height, width) "
            "and (height, width, channels) with 1 or 3 channels"
        )
    return transposed


def render(
    image: Image.Image | NDArray[Any],
    size: int,
    channels: int,
    shape: str,
    value_range: ValueRange | None = None,
    for_encoder: bool = False,
) -> NDArray[np.uint8]:
    """Convert an image to uint8 pixels of shape (channels, size, size).

    The EXIF orientation is applied. Transparent parts become white, as in most viewers: drawings on a transparent
    background are mostly dark and would vanish on black. 16-bit and float values are scaled; only those outside a given
    range are clipped.

    Args:
        image: Pillow's, or an array of shape (1 or 3, height, width); see `to_uint8` for its type.
        size: Height and width of the result.
        channels: Channels of the result.
        shape: A key of ``FITS``.
        value_range: The values of black and white; None as in `ImageSpec`.
        for_encoder: As for `ImageSpec`.

    Raises:
        ValueError: The type or the range of an array's values is not allowed.
        Exception: The image is broken; Pillow raises exceptions of many types.
    """
    if isinstance(image, np.ndarray):
        pixels = to_uint8(image, value_range)
        value_range = None
        if pixels.shape == (channels, size, size):
            return pixels
        image = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    # Lets the JPEG decoder skip detail far below a pixel of the result: several times faster on photographs.
    image.draft(None, (2 * size, 2 * size))
    if image.width * image.height > MAX_PIXELS:  # a strip, which cannot be reduced
        raise ImageTooLargeError(f"{image.width}x{image.height} pixels, more than {MAX_PIXELS:,}")
    image = _composite_on_white(_to_eight_bits(ImageOps.exif_transpose(image), value_range))
    enlarging = Image.Resampling.BILINEAR if for_encoder else Image.Resampling.LANCZOS
    pixels = np.asarray(FITS[shape](image.convert("L" if channels == 1 else "RGB"), size, enlarging))
    return pixels.reshape(size, size, channels).transpose(2, 0, 1)


def to_uint8(pixels: NDArray[Any], value_range: ValueRange | None = None) -> NDArray[np.uint8]:
    """Scale numbers to uint8 from 0 (black) to 255 (white), rounded to nearest.

    Args:
        pixels: uint8, which is unchanged; bool; uint16; floats in [0, 1], or so close to it that they round to 0 or
            255. With a range: any numbers.
        value_range: The values of black and white; numbers beyond them are clipped.

    Raises:
        ValueError: The array has another type, or floats that are NaN or outside [0, 1].
    """
    if value_range is not None and pixels.dtype.kind in "biuf":
        low, high = value_range
        with np.errstate(all="ignore"):  # of numbers that are not finite, which are looked for below
            scaled = (pixels.astype(np.float64) - low) * (255 / (high - low))
        if np.isnan(scaled).any():
            raise ValueError("a value is NaN")
        return np.asarray(np.rint(np.clip(scaled, 0, 255)), np.uint8)
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.uint16:
        return np.rint(pixels / 257).astype(np.uint8)
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * np.uint8(255)
    if not np.issubdtype(pixels.dtype, np.floating):
        raise ValueError(f"values of type {pixels.dtype}; allowed are uint8, uint16 and float in [0, 1]; {_GIVE_RANGE}")
    low, high = float(pixels.min()) * 255, float(pixels.max()) * 255
    if not (low >= -0.5 and high <= 255.5):  # false for NaN too
        raise ValueError(f"float values from {low / 255:g} to {high / 255:g}; allowed are 0 to 1; {_GIVE_RANGE}")
    return np.asarray(np.rint(np.clip(pixels * 255, 0, 255)), np.uint8)


def _to_eight_bits(image: Image.Image, value_range: ValueRange | None) -> Image.Image:
    if image.mode in ("F", "I") or image.mode.startswith("I;16"):
        # Mode I is 32 bits wide, but the files that open in it (16-bit PNG and PGM) have 16.
        values = np.asarray(image)
        if value_range is None and image.mode != "F":
            if values.min() < 0 or values.max() > 65535:
                raise ValueError(f"integer values from {values.min()} to {values.max()}; allowed are 0 to 65535")
            values = values.astype(np.uint16)
        return Image.fromarray(to_uint8(values, value_range))
    if value_range is None:
        return image
    image = _composite_on_white(image)
    image = image.convert("L" if read_header(image).channels == 1 else "RGB")
    return Image.fromarray(to_uint8(np.asarray(image), value_range))


def _composite_on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


def _crop(image: Image.Image, size: int, enlarging: Image.Resampling) -> Image.Image:
    """Resize the largest centred square, cut at whole pixels so that an image of the right height is not blurred."""
    side = min(image.size)
    x, y = (image.width - side) // 2, (image.height - side) // 2
    return _resize(image.crop((x, y, x + side, y + side)), size, size, enlarging)


def _pad(image: Image.Image, size: int, enlarging: Image.Resampling) -> Image.Image:
    """Resize the whole image and pad it with the median colour of its border: black for MNIST, paper for a scan."""
    # Resized before it is padded: a strip of a million pixels by one must not become a square of that side.
    longest = max(image.size)
    width, height = (max(1, round(side * size / longest)) for side in image.size)
    image = _resize(image, width, height, enlarging)
    pixels = np.atleast_3d(np.asarray(image))
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    colour = tuple(int(value) for value in np.median(border, axis=0))
    square = Image.new(image.mode, (size, size), colour if len(colour) > 1 else colour[0])
    square.paste(image, ((size - width) // 2, (size - height) // 2))
    return square


def _resize(image: Image.Image, width: int, height: int, enlarging: Image.Resampling) -> Image.Image:
    is_enlarged = width > image.width or height > image.height
    return image.resize((width, height), enlarging if is_enlarged else Image.Resampling.LANCZOS)


FITS: dict[str, Callable[[Image.Image, int, Image.Resampling], Image.Image]] = {"crop": _crop, "pad": _pad}


@functools.cache
def _decodable_formats() -> tuple[str, ...]:
    Image.init()
    with contextlib.suppress(ImportError):  # the extra `heif`
        import pillow_heif

        pillow_heif.register_heif_opener()
    # Pillow tries one after another, so the most frequent formats come first.
    return tuple(sorted(set(Image.OPEN) - _UNSUPPORTED_FORMATS, key=lambda name: (name not in ("JPEG", "PNG"), name)))
