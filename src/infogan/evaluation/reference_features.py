"""Simple features of images that no network has learned.

Categories that can be predicted from one of them as well as from everything else follow it alone: brightness, colours
or backgrounds, and not what the images show.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray

Images = UInt8[np.ndarray, "image channel height width"]
References = NDArray[np.float32]  # (images, values)
GREY_BINS, COLOUR_BINS = 8, 4  # of a histogram: of grey values, and of each channel
BORDER = 8  # pieces along each side of an image's border


def brightness(images: Images) -> References:
    """Return the share of each image's pixels in each of ``GREY_BINS`` bins of brightness, (images, bins)."""
    return _histogram(images.mean(axis=1, keepdims=True), GREY_BINS)


def colour(images: Images) -> References:
    """Return the share of each image's pixels in each bin of colour, (images, ``COLOUR_BINS`` ** channels).

    Of images with more than three channels, each channel has bins of its own, as brightness has.
    """
    if images.shape[1] > 3:
        return np.concatenate([_histogram(images[:, [band]], GREY_BINS) for band in range(images.shape[1])], axis=1)
    return _histogram(images, COLOUR_BINS)


def background(images: Images) -> References:
    """Return the mean colour of each of the pieces that an image's border consists of, (images, values), in [0, 1].

    Each side consists of ``BORDER`` pieces, which are as deep as they are wide.
    """
    edges = np.linspace(0, images.shape[2], min(BORDER, images.shape[2]) + 1).astype(int)
    sums = np.add.reduceat(np.add.reduceat(images.astype(np.float32) / 255, edges[:-1], axis=2), edges[:-1], axis=3)
    means = sums / (np.diff(edges)[:, np.newaxis] * np.diff(edges))
    is_border = np.ones(means.shape[2:], bool)
    is_border[1:-1, 1:-1] = False
    pieces: References = means[:, :, is_border].reshape(len(images), -1).astype(np.float32)
    return pieces


def references(images: Images) -> dict[str, References]:
    """Return the features of each kind, by the word for what categories that are predictable from them follow.

    The border of a grey image, such as a drawn digit, belongs to what it shows.
    """
    kinds: list[Callable[[Images], References]] = [brightness]
    if images.shape[1] > 1:
        kinds += [colour, background]
    return {kind.__name__: kind(images) for kind in kinds}


def _histogram(images: NDArray[np.uint8] | NDArray[np.float64], bins: int) -> References:
    """Return the share of each image's pixels in each cell of a grid with as many bins for each channel."""
    count, channels = images.shape[:2]
    parts = (images.reshape(count, channels, -1) * (bins / 256)).astype(np.int64)
    size = bins**channels
    cells = (parts * bins ** np.arange(channels)[:, np.newaxis]).sum(axis=1) + size * np.arange(count)[:, np.newaxis]
    counts = np.bincount(cells.ravel(), minlength=count * size).reshape(count, size)
    shares: References = (counts / parts.shape[2]).astype(np.float32)
    return shares
