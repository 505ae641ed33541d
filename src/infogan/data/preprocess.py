"""One picture in, one uint8 array of the wanted size and channels out.

In flow Pillow images and arrays of any size, depth and colour model, some of them from strangers; out flow arrays of
shape (channels, size, size). Every data source goes through here, so that a photograph, a scan and an array are
cropped, padded, scaled and made grey by the same rules.
"""

import functools
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from infogan.utils.errors import UserError, unknown_name

Progress = Callable[[str, int, int], None]
"""Told what is under way, how much of it is done, and how much there is: bytes when fetching, images when reading."""

SIZES = range(8, 129)
MAX_PIXELS = 64 * 2**20  # of one picture before it is resized: 256 MiB as RGBA

# Formats that Pillow only recognises, or hands to another program (EPS to Ghostscript), are not images here.
_NOT_DECODED = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}


class ImageTooLargeError(ValueError):
    """A picture has more pixels than are decoded."""


@dataclass(frozen=True)
class ImageSpec:
    """What every image of a set is brought to.

    Attributes:
        size: Height and width in pixels, 8 to 128. None: as they are, if all are square and of one such size.
        channels: 1 for grey, 3 for RGB. None: as they are, if all agree.
        shape: How a picture becomes square: a key of ``FITS``.

    Raises:
        UserError: a value that is not allowed.
    """

    size: int | None = None
    channels: int | None = None
    shape: str = "crop"

    def __post_init__(self) -> None:
        if self.size is not None and self.size not in SIZES:
            raise UserError(f"size {self.size}: allowed are {SIZES.start} to {SIZES.stop - 1} pixels")
        if self.channels not in (None, 1, 3):
            raise UserError(f"channels {self.channels}: allowed are 1 (grey) and 3 (RGB)")
        if self.shape not in FITS:
            raise unknown_name("fit", self.shape, FITS)

    def settled_size(self, found: Mapping[tuple[int, int], str], where: str) -> int:
        """The size to bring images to.

        Args:
            found: One example's name for each (width, height) in the set.
            where: The set, for the error.

        Raises:
            UserError: no size is asked for and the images do not settle it.
        """
        if self.size is not None:
            return self.size
        ((width, height), *others) = found
        if not others and width == height and width in SIZES:
            return width
        examples = " and ".join(f"{w}x{h} ({name})" for (w, h), name in list(found.items())[:2])
        raise UserError(
            f"{where} has no one size that can be kept: found {examples}; square images of one size from "
            f"{SIZES.start} to {SIZES.stop - 1} pixels are kept, all others need --size N"
        )

    def settled_channels(self, found: Mapping[int, str], where: str) -> int:
        """The channels to bring images to; ``found`` has one example's name for each channel count in the set.

        Raises:
            UserError: no channels are asked for and the set is mixed.
        """
        if self.channels is not None:
            return self.channels
        if len(found) > 1:
            raise UserError(
                f"{where} mixes grey images ({found[1]}) and colour images ({found[3]}): pass --channels 1 or "
                "--channels 3"
            )
        (channels,) = found
        return channels


@functools.cache
def image_extensions() -> frozenset[str]:
    """The lower-case file extensions of the formats that can be decoded."""
    return frozenset(ext for ext, format in Image.registered_extensions().items() if format in _decoded_formats())


@contextmanager
def open_image(
    file: BinaryIO, *, max_pixels: int = MAX_PIXELS, formats: tuple[str, ...] | None = None
) -> Iterator[Image.Image]:
    """Yields the picture in ``file`` with its header read and its pixels not yet.

    Args:
        file: The picture.
        max_pixels: It may have.
        formats: Pillow's names of those that it may be in. None: all that can be decoded.

    Raises:
        Exception: whatever Pillow raises on a broken file, which is nearly anything.
        TooLarge: more than ``max_pixels`` pixels.
    """
    with warnings.catch_warnings():
        # Pillow warns of odd metadata, and of sizes that are refused here anyway; neither is the user's business.
        warnings.simplefilter("ignore")
        with Image.open(file, formats=formats or _decoded_formats()) as picture:
            if picture.width * picture.height > max_pixels:
                raise ImageTooLargeError(f"{picture.width}x{picture.height} pixels, more than {max_pixels:,}")
            yield picture


def count_channels(picture: Image.Image) -> int:
    """1 if the picture's colour model, or its whole palette, is grey; 3 otherwise."""
    if picture.mode in ("P", "PA"):
        palette = np.array(picture.getpalette("RGB")).reshape(-1, 3)
        return 1 if bool((palette == palette[:, :1]).all()) else 3
    return 1 if picture.mode in ("1", "L", "LA", "I", "F") or picture.mode.startswith("I;16") else 3


def render(picture: Image.Image, size: int, channels: int, shape: str) -> NDArray[np.uint8]:
    """Brings a picture to its final form: uint8 of shape (channels, size, size).

    EXIF orientation is respected. Transparent parts show white, as in most viewers: what is drawn on nothing is mostly
    dark, and would vanish on black. 16-bit and float depths are scaled, never clipped.

    Raises:
        Exception: whatever Pillow raises on a broken file, which is nearly anything.
    """
    # Lets the JPEG decoder skip detail far below a pixel of the result: several times faster on photographs.
    picture.draft(None, (2 * size, 2 * size))
    picture = _flat(_eight_bits(ImageOps.exif_transpose(picture)))
    pixels = np.asarray(FITS[shape](picture.convert("L" if channels == 1 else "RGB"), size))
    return pixels.reshape(size, size, channels).transpose(2, 0, 1)


def render_array(pixels: NDArray[Any], size: int, channels: int, shape: str) -> NDArray[np.uint8]:
    """Like ``render``, for one image of shape (1 or 3, height, width) in a depth that ``to_bytes`` accepts."""
    pixels = to_uint8(pixels)
    if pixels.shape == (channels, size, size):
        return pixels
    rows = pixels.transpose(1, 2, 0)
    return render(Image.fromarray(rows[:, :, 0] if rows.shape[2] == 1 else rows), size, channels, shape)


def to_uint8(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Scales uint16 and float in [0, 1] to uint8 0 to 255, rounding to nearest; uint8 stays as it is.

    Raises:
        ValueError: another type, or floats outside [0, 1] or not a number.
    """
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.uint16:
        return np.rint(pixels / 257).astype(np.uint8)
    if not np.issubdtype(pixels.dtype, np.floating):
        raise ValueError(f"values of type {pixels.dtype}; allowed are uint8, uint16 and float in [0, 1]")
    low, high = pixels.min(), pixels.max()
    if not (low >= 0 and high <= 1):  # false for NaN too
        raise ValueError(f"float values from {low:g} to {high:g}; allowed are 0 to 1")
    return np.asarray(np.rint(pixels * 255), np.uint8)


def error_reason(error: Exception) -> str:
    """What to tell the user of an error that a library raised."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image that can be read"  # Pillow's own words name a memory address
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())[:300] or type(error).__name__


def _eight_bits(picture: Image.Image) -> Image.Image:
    if picture.mode == "F":
        return Image.fromarray(to_uint8(np.asarray(picture)))
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        # Mode I is 32 bits wide, but what files put there (16-bit PNG and PGM) has 16.
        values = np.asarray(picture)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(f"integer values from {values.min()} to {values.max()}; allowed are 0 to 65535")
        return Image.fromarray(to_uint8(values.astype(np.uint16)))
    return picture


def _flat(picture: Image.Image) -> Image.Image:
    if not picture.has_transparency_data:
        return picture
    picture = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)


def _crop(picture: Image.Image, size: int) -> Image.Image:
    """The largest centred square, on whole pixels, so that an image of the right height is not blurred."""
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.LANCZOS)


def _pad(picture: Image.Image, size: int) -> Image.Image:
    """The whole picture between bars of its border's median colour: black around MNIST, paper around a scan."""
    # Resized before it is padded: a strip of a million pixels by one must not become a square of that side.
    longest = max(picture.size)
    width, height = (max(1, round(side * size / longest)) for side in picture.size)
    picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    pixels = np.atleast_3d(np.asarray(picture))
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    colour = tuple(int(value) for value in np.median(border, axis=0))
    square = Image.new(picture.mode, (size, size), colour if len(colour) > 1 else colour[0])
    square.paste(picture, ((size - width) // 2, (size - height) // 2))
    return square


FITS: dict[str, Callable[[Image.Image, int], Image.Image]] = {"crop": _crop, "pad": _pad}


@functools.cache
def _decoded_formats() -> tuple[str, ...]:
    Image.init()
    # Pillow tries one after another: what most pictures are goes first.
    return tuple(sorted(set(Image.OPEN) - _NOT_DECODED, key=lambda name: (name not in ("JPEG", "PNG"), name)))
