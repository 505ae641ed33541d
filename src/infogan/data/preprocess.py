"""Conversion of one image of any size, depth and colour model to uint8 pixels of the requested size and channels.

Every data source uses these functions, so that photographs, scans and arrays are cropped, padded, scaled and made grey
by the same rules.
"""

import contextlib
import functools
import logging
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
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

SIZES = range(8, 257)  # of images that networks are trained on, in pixels
DEFAULT_SIZE = 64  # of images that differ in size, or are not square
MAX_CHANNELS = 16
LARGEST = 1_024  # of images for pretrained encoders
MAX_PIXELS = 64 * 2**20  # of one image before it is resized: 256 MiB as RGBA
MAX_VALUES = 4 * MAX_PIXELS  # of all its channels
REDUCIBLE = 4  # times as many may a JPEG have; a progressive one takes 6 bytes a pixel before it is reduced
MAX_DECODE_BYTES = 24 * MAX_PIXELS  # memory that decoding one image may need, with copies, in the deepest format

# Pillow reports TIFFs of more bands than it reads, which `readers.tiff` reads.
logging.getLogger("PIL.TiffImagePlugin").setLevel(logging.CRITICAL)

_GIVE_RANGE = "give the values of black and white (--range)"

# Formats that Pillow only recognises, or passes to another program (EPS to Ghostscript), are not read.
_UNSUPPORTED_FORMATS = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}


class ImageTooLargeError(ValueError):
    """An image has more pixels than are decoded."""


class Header(NamedTuple):
    """Width and height of an image in pixels, and its number of channels."""

    width: int
    height: int
    channels: int


ValueRange = tuple[float, float]
"""The values of black and of white, in this order; white may be the smaller one."""
Bands = tuple[int, int, int]
"""The channels, counted from 1, that are shown as red, green and blue."""


class Target(NamedTuple):
    """What every image of a set is converted to.

    Attributes:
        size: Height and width in pixels.
        channels: 1 for grey, 3 for RGB, up to ``MAX_CHANNELS`` for other bands.
        shape: A key of ``FITS``.
        value_range: The values of black and white in the source; None = those of the type.
        for_encoder: As for `ImageSpec`.
        bands: As for `ImageSpec`.
    """

    size: int
    channels: int
    shape: str
    value_range: ValueRange | None = None
    for_encoder: bool = False
    bands: Bands | None = None


@dataclass(frozen=True)
class ImageSpec:
    """The requested size, channels and shape of the images of a set, and how their values are read.

    Attributes:
        size: Height and width in pixels, 8 to 256. None keeps the images' size if all are square and of one such size;
            otherwise it is 64, or less if all images are smaller.
        channels: 1 for grey, 3 for RGB, up to 16 for other bands. None keeps the images' channels if all agree, and
            makes grey images among coloured ones coloured.
        shape: How an image becomes square: a key of ``FITS``.
        value_range: The values of black and white. None: 0 and 255 for bytes, 65,535 for 16 bits, 1 for floats.
        follow_links: Whether to follow symbolic links to folders, and those that lead out of the folder of the images.
        for_encoder: Whether the images are for a pretrained encoder. They may then have up to ``LARGEST`` pixels, and
            are enlarged without the halos around edges that such encoders react to.
        bands: What is shown of images that are neither grey nor RGB, and what a pretrained encoder gets of them. None =
            the first three channels.
        max_size: Height and width at most, if no size is requested.

    Raises:
        UserError: A value is not allowed.
    """

    size: int | None = None
    channels: int | None = None
    shape: str = "crop"
    value_range: ValueRange | None = None
    follow_links: bool = False
    for_encoder: bool = False
    bands: Bands | None = None
    max_size: int = SIZES.stop - 1

    def __post_init__(self) -> None:
        for name in ("size", "channels", "value_range", "bands"):
            plain = to_plain(getattr(self, name))
            plain = tuple(plain) if isinstance(plain, list) else plain
            whole = int(plain) if isinstance(plain, float) and plain.is_integer() else plain
            object.__setattr__(self, name, whole)
        sizes = range(SIZES.start, LARGEST + 1) if self.for_encoder else SIZES
        if self.size is not None and self.size not in sizes:
            raise UserError(f"size is {self.size}; choose {sizes.start} to {sizes.stop - 1} pixels")
        if self.channels is not None and self.channels not in range(1, MAX_CHANNELS + 1):
            raise UserError(f"channels is {self.channels}; choose 1 (grey), 3 (RGB), or up to {MAX_CHANNELS} bands")
        if self.shape not in FITS:
            raise unknown_name("shape", self.shape, FITS)
        if self.value_range is not None:
            check_value_range(self.value_range)
        if self.bands is not None:
            check_bands(self.bands)

    def resolve(self, examples: Mapping[Header, str], source: str) -> Target:
        """Return the target for a set of images, taking from the images what is not requested.

        Args:
            examples: For each header in the set, the name of one such image.
            source: The name of the set, for errors.

        Raises:
            UserError: The channels are not requested and the images differ in them, other than in being grey or RGB.
        """
        first = next(iter(examples))
        size = self.size or min(_default_size(examples), self.max_size)
        names = {header.channels: name for header, name in examples.items()}
        if self.channels is None and names.keys() - {1, 3} and len(names) > 1:
            some = " and ".join(f"{count} ({name})" for count, name in list(names.items())[:2])
            raise UserError(f"{source} has images of different numbers of channels, {some}; pass --channels N")
        channels = self.channels or (first.channels if len(names) == 1 else 3)
        if channels > MAX_CHANNELS:
            raise UserError(
                f"{source} has images of {channels} channels ({names[channels]}), and at most {MAX_CHANNELS} are read; "
                "pass --channels 1 if only the first page of each file is wanted"
            )
        return Target(size, channels, self.shape, self.value_range, self.for_encoder, self.bands)


def _default_size(headers: Collection[Header]) -> int:
    """Return the size of images that have none in common: ``DEFAULT_SIZE``, or less if all images are smaller."""
    sizes = {(header.width, header.height) for header in headers}
    (width, height), *others = sizes
    if not others and width == height and width in SIZES:
        return width
    return int(np.clip(max(min(sides) for sides in sizes), SIZES.start, DEFAULT_SIZE))


def check_bands(bands: Bands) -> None:
    """Raise UserError unless bands are three channels, counted from 1."""
    if len(bands) != 3 or not all(isinstance(band, int) and 1 <= band <= MAX_CHANNELS for band in bands):
        raise UserError(f"the bands are {bands}; give three channels, counted from 1, such as 4,3,2")


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

    An image has 1 channel if its colour model, or its whole palette, is grey. The pages of a TIFF are its channels if
    all are grey and of one size.
    """
    if isinstance(image, np.ndarray):
        return Header(image.shape[2], image.shape[1], image.shape[0])
    if (pages := _count_pages(image)) > 1:
        return Header(image.width, image.height, pages)
    if image.mode in ("P", "PA"):
        palette = np.array(image.getpalette("RGB")).reshape(-1, 3)
        is_grey = bool((palette == palette[:, :1]).all())
    else:
        is_grey = Image.getmodebase(image.mode) == "L"
    return Header(image.width, image.height, 1 if is_grey else 3)


def channels_first(images: NDArray[Any], source: str) -> NDArray[Any]:
    """Return images of shape (count, channels, height, width), without copying.

    Args:
        images: (count, height, width), (count, channels, height, width) or (count, height, width, channels), with 1 to
            16 channels. If the channels could come first or last, they are what is 1 or 3, else what is smaller.
        source: The name of the images, for errors.

    Raises:
        UserError: The shape is none of these.
    """
    transposed = images[:, None] if images.ndim == 3 else images
    if images.ndim == 4:
        first, last = images.shape[1], images.shape[3]
        if (first not in (1, 3), first > MAX_CHANNELS, first) > (last not in (1, 3), last > MAX_CHANNELS, last):
            transposed = images.transpose(0, 3, 1, 2)
    if transposed.ndim != 4 or transposed.shape[1] > MAX_CHANNELS or 0 in transposed.shape[1:]:
        raise UserError(
            f"{source} has the image shape {images.shape[1:]}; allowed are (height, width), (channels, height, width) "
            f"and (height, width, channels) with 1 to {MAX_CHANNELS} channels"
        )
    return transposed


def shown(images: NDArray[np.uint8], bands: Bands | None = None) -> NDArray[np.uint8]:
    """Return what is shown of images, (..., channels, height, width): themselves if they are grey or RGB, else bands.

    Args:
        images: The images.
        bands: The channels, counted from 1, that are shown as red, green and blue. None = the first three. A channel
            that images of two channels lack is black.

    Raises:
        ValueError: The images have fewer channels than a band's number.
    """
    channels = images.shape[-3]
    if channels in (1, 3):
        return images
    if bands is not None and max(bands) > channels:
        raise ValueError(f"the bands are {', '.join(map(str, bands))}, but there are only {channels} channels")
    padded = images if channels > 2 else np.concatenate([images, np.zeros_like(images[..., :1, :, :])], axis=-3)
    return padded[..., [band - 1 for band in bands or (1, 2, 3)], :, :]


def render(
    image: Image.Image | NDArray[Any],
    size: int,
    channels: int,
    shape: str,
    value_range: ValueRange | None = None,
    for_encoder: bool = False,
    bands: Bands | None = None,
) -> NDArray[np.uint8]:
    """Convert an image to uint8 pixels of shape (channels, size, size).

    The EXIF orientation is applied. Transparent parts become white, as in most viewers: drawings on a transparent
    background are mostly dark and would vanish on black. 16-bit and float values are scaled; only those outside a given
    range are clipped.

    Args:
        image: Pillow's, or an array of shape (channels, height, width); see `to_uint8` for its type.
        size: Height and width of the result.
        channels: Channels of the result.
        shape: A key of ``FITS``.
        value_range: The values of black and white; None as in `ImageSpec`.
        for_encoder: As for `ImageSpec`.
        bands: As for `ImageSpec`.

    Raises:
        ValueError: The type or the range of an array's values is not allowed, or images of other bands have another
            number of channels.
        Exception: The image is broken; Pillow raises exceptions of many types.
    """
    enlarging = Image.Resampling.BILINEAR if for_encoder else Image.Resampling.LANCZOS
    reads_bands = for_encoder or channels not in (1, 3)
    if reads_bands and not isinstance(image, np.ndarray) and (pages := _count_pages(image)) > 1:
        image = _read_pages(image, pages)
    if isinstance(image, np.ndarray):
        pixels = to_uint8(image, value_range)
        value_range = None
        if for_encoder and channels == 3:
            pixels = shown(pixels, bands)
        if pixels.shape == (channels, size, size):
            return pixels
        if channels not in (1, 3) or len(pixels) not in (1, 3):
            if len(pixels) != channels:
                raise ValueError(f"it has {len(pixels)} channels, and {channels} are expected")
            planes = [FITS[shape](Image.fromarray(plane), size, enlarging) for plane in pixels]
            return np.stack([np.asarray(plane) for plane in planes])
        image = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    # Lets the JPEG decoder skip detail far below a pixel of the result: several times faster on photographs.
    image.draft(None, (2 * size, 2 * size))
    if image.width * image.height > MAX_PIXELS:  # a strip, which cannot be reduced
        raise ImageTooLargeError(f"{image.width}x{image.height} pixels, more than {MAX_PIXELS:,}")
    image = _composite_on_white(_to_eight_bits(ImageOps.exif_transpose(image), value_range))
    if channels not in (1, 3):
        raise ValueError(f"it has {read_header(image).channels} channels, and {channels} are expected")
    pixels = np.asarray(FITS[shape](image.convert("L" if channels == 1 else "RGB"), size, enlarging))
    return pixels.reshape(size, size, channels).transpose(2, 0, 1)


def _count_pages(image: Image.Image) -> int:
    """Return the number of pages of a TIFF whose pages are all grey and of one size, and 1 for other images."""
    pages = getattr(image, "n_frames", 1)
    if image.format != "TIFF" or pages == 1 or Image.getmodebase(image.mode) != "L":
        return 1
    form = image.size, image.mode
    try:
        if pages > MAX_CHANNELS:
            return int(pages)  # which is refused
        for page in range(1, pages):
            image.seek(page)
            if (image.size, image.mode) != form:
                return 1
        return int(pages)
    finally:
        image.seek(0)


def _read_pages(image: Image.Image, count: int) -> NDArray[Any]:
    """Return the pages of a TIFF as an array (channels, height, width); raise ImageTooLargeError if it is too large."""
    pages = []
    check_values(count, image.height, image.width)
    for page in range(count):
        image.seek(page)
        values = np.asarray(image)
        pages.append(values.astype(np.uint16) if image.mode.startswith("I;16") else values)
    image.seek(0)
    return np.stack(pages)


def check_values(channels: int, height: int, width: int) -> None:
    """Raise ImageTooLargeError if an image has too many values to be read."""
    if channels * height * width > MAX_VALUES:
        raise ImageTooLargeError(f"{channels}x{width}x{height} values, more than {MAX_VALUES:,}")


def to_uint8(pixels: NDArray[Any], value_range: ValueRange | None = None) -> NDArray[np.uint8]:
    """Scale numbers to uint8 from 0 (black) to 255 (white), rounded to nearest.

    Args:
        pixels: uint8, which is unchanged; bool; uint16; floats in [0, 1], or so close to it that they round to 0 or
            255. With a range: any numbers.
        value_range: The values of black and white; numbers beyond them are clipped. A range that is beyond bytes
            concerns deeper images alone.

    Raises:
        ValueError: The array has another type, or floats that are NaN or outside [0, 1].
    """
    of_deeper_images = value_range is not None and pixels.dtype == np.uint8 and max(map(abs, value_range)) > 255
    if value_range is not None and pixels.dtype.kind in "biuf" and not of_deeper_images:
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
