"""Properties of images measured from their pixels: what declared knobs are to change, without any network."""

import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from infogan.config.schema import Property
from infogan.data.properties import centre_of, ink

Pixels = NDArray[np.uint8]  # (count, channels, height, width)
Measure = Callable[[Float[Tensor, "image channel height width"]], Float[Tensor, " image"]]

FAINT = 0.25  # of the most ink in an image
COLOURFUL = 0.001  # mean distance to grey, of 1, below which an image has no hue


def measure_property(images: Pixels, name: Property) -> NDArray[np.float64]:
    """Measure a property of each image, which grows as the knob of that name should; see `data.properties`.

    What is drawn is what differs from the mean of the border. Its moments give position, size, slant and rotation.

    Args:
        images: (count, channels, height, width), uint8.
        name: The property.

    Returns:
        (count,): slant and rotation in degrees; thickness, size and positions in sides; brightness in [0, 1]; hue in
        turns. NaN where an image has none, as a blank image has no position.

    Example:
        >>> measure_property(images, "brightness").max() <= 1
    """
    return MEASURES[name](torch.from_numpy(images).double() / 255).numpy()


def turns_between(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the shorter way round a circle from one angle to another, in turns, from -0.5 to 0.5."""
    return (second - first + 0.5) % 1 - 0.5


def _drawn(pixels: Tensor) -> Float[Tensor, "image height width"]:
    """Return the ink above a share of the image's most, so that faint noise far away does not count."""
    of_image = ink(pixels)
    return (of_image - FAINT * of_image.amax(dim=(1, 2), keepdim=True)).clamp_min(0)


def _moments(pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the central second moments xx, xy, yy of the ink, in sides."""
    drawn = _drawn(pixels)
    height, width = drawn.shape[1:]
    centre = centre_of(drawn)
    dx = ((torch.arange(width, dtype=drawn.dtype) + 0.5) / width - centre[:, :1])[:, None, :]
    dy = ((torch.arange(height, dtype=drawn.dtype) + 0.5) / height - centre[:, 1:])[:, :, None]
    mass = drawn.sum(dim=(1, 2))
    xx, xy, yy = ((drawn * product).sum(dim=(1, 2)) / mass for product in (dx * dx, dx * dy, dy * dy))
    return xx, xy, yy


def _place(pixels: Tensor, axis: int) -> Tensor:
    drawn = _drawn(pixels)
    return torch.where(drawn.sum(dim=(1, 2)) > 0, centre_of(drawn)[:, axis], torch.nan)


def _slant(pixels: Tensor) -> Tensor:
    _, xy, yy = _moments(pixels)
    return -(xy / yy).atan() * (180 / math.pi)  # y points down


def _rotation(pixels: Tensor) -> Tensor:
    """Return the angle of the longer axis to the vertical, clockwise, from -90 to 90 degrees."""
    xx, xy, yy = _moments(pixels)
    return -0.5 * torch.atan2(2 * xy, yy - xx) * (180 / math.pi)


def _thickness(pixels: Tensor) -> Tensor:
    """Return twice the area over the length of the outline: of a stroke, about its width."""
    drawn = _drawn(pixels)
    outline = drawn.diff(dim=1).abs().sum(dim=(1, 2)) + drawn.diff(dim=2).abs().sum(dim=(1, 2))
    return 2 * drawn.sum(dim=(1, 2)) / outline / drawn.shape[-1]


def _size(pixels: Tensor) -> Tensor:
    xx, _, yy = _moments(pixels)
    return (xx + yy).sqrt()


def _hue(pixels: Tensor) -> Tensor:
    """Return the hue of the mean colour, weighted by how colourful pixels are, in turns."""
    red, green, blue = pixels.unbind(dim=1)
    along, across = red - (green + blue) / 2, (green - blue) * (math.sqrt(3) / 2)
    x, y = along.mean(dim=(1, 2)), across.mean(dim=(1, 2))
    hue = torch.atan2(y, x) / (2 * math.pi)
    return torch.where(torch.hypot(x, y) < COLOURFUL, torch.nan, hue)


MEASURES: dict[Property, Measure] = {
    "slant": _slant,
    "thickness": _thickness,
    "size": _size,
    "shift-x": lambda pixels: _place(pixels, 0),
    "shift-y": lambda pixels: _place(pixels, 1),
    "rotate": _rotation,
    "brightness": lambda pixels: pixels.mean(dim=(1, 2, 3)),
    "hue": _hue,
}
