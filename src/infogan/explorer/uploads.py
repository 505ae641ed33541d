"""A picture from a browser, decoded within bounds, in the shape that a model reads."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infogan.data.pixels import TooLarge, opened, reason, render
from infogan.model import InfoGAN

MOST_BYTES = 32 * 2**20
MOST_PIXELS = 32 * 2**20  # 128 MiB as RGBA; a JPEG is decoded at a fraction of that
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")  # what browsers and cameras make, and no more decoders


class Unreadable(Exception):
    """A picture that can not be decoded; ``status`` is HTTP's."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


def decoded(content: bytes, model: InfoGAN, fit: str = "crop") -> NDArray[np.uint8]:
    """A picture's file as uint8 (1, channels, height, width).

    Raises:
        Unreadable: it is no picture, a broken one, or a larger one than is decoded.
    """
    try:
        with opened(io.BytesIO(content), most_pixels=MOST_PIXELS, formats=FORMATS) as picture:
            return render(picture, model.config.size, model.config.channels, fit)[None]
    except (TooLarge, Image.DecompressionBombError) as error:
        raise Unreadable(f"the picture is too large: {str(error).splitlines()[0]}", 413) from None
    except Exception as error:  # Pillow's decoders raise nearly anything on a broken file
        raise Unreadable(f"the picture can not be read: {reason(error).splitlines()[0]}", 400) from None
