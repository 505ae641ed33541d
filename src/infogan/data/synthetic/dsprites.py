"""dSprites (Matthey, Higgins, Hassabis and Lerchner 2017), drawn from its description or read from the published file.

White shapes on black, 64x64 pixels: every combination of 3 shapes, 6 scales, 40 orientations, 32 horizontal and 32
vertical positions once, 737,280 images.

Published, and therefore certain: the order of the factors (posY varies fastest; colour has one value and is left out),
their values (scales from 0.5 to 1; orientations from 0 to 2 pi inclusive, so the last equals the first; positions from
0 to 1) and the size of the images. The authors add that LÖVE 2D drew the shapes as vectors, its own square and ellipse
and a heart from vertices, without antialiasing, and that each step of a factor changes some pixel
(google-deepmind/dsprites-dataset, issues 2 and 3).

The dimensions of the shapes are not published. They are estimated here: steps of one pixel, because 32 positions that
each change a pixel and keep every shape inside leave little else; areas that make 4.3 % of all pixels white, the mean
reported for the published images; the ellipse's proportions from published figures; the usual heart curve
(x = 16 sin³t, y = 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t) with its centre of mass at its position. Orientation 0 is
upright, orientations turn clockwise and posY points down, as is usual in LÖVE. Results on these images are therefore
close to results on the published ones, but not equal. If the published file is present, it is used, and `note` reports
how well the drawn images agree with it.
"""

import json
import math
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infogan.data.factors import FactorGrid
from infogan.data.preprocess import wrap_read_errors
from infogan.data.synthetic.cache import Rendering, resize_images
from infogan.utils.errors import UserError
from infogan.utils.files import write_json

VERSION = "rendered1"  # changes whenever a pixel changes
PUBLISHED_FILE = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
FACTOR_NAMES = ("shape", "scale", "orientation", "posX", "posY")
FACTOR_SIZES = (3, 6, 40, 32, 32)
FACTOR_LIMITS = ((0.5, 1), (0, 2 * math.pi), (0, 1), (0, 1))  # of all but the shape
SHAPES = ("square", "ellipse", "heart")
IMAGE_SIZE = 64  # height and width in pixels; all lengths that follow are in pixels, of shapes at scale 1
# Centre of a shape at position 0, from the left and from the top. At position 1 it is about as far from the other edge;
# if it were exactly as far, a square turned by a quarter would look the same. As it is, no two images are equal except
# those of orientations 0 and 2 pi.
FIRST_CENTRE = (16.16, 16.32)
SQUARE_HALF_SIDE = 9.1
ELLIPSE_HALF_AXES = (12.1, 7.4)  # the longer one is horizontal at orientation 0
HEART_UNIT = 0.7  # length of one unit of the heart's curve
HEART_CENTRE = 5 / 6  # centre of mass, above the origin of the curve, in its units
COMPARED_IMAGES = 4  # images compared with the published ones, per shape, scale and orientation


def grid() -> FactorGrid:
    """Return the factors; the names of values are the published values."""
    values = (np.linspace(*limits, size) for limits, size in zip(FACTOR_LIMITS, FACTOR_SIZES[1:], strict=True))
    value_names = (tuple(f"{value:.4g}" for value in factor) for factor in values)
    return FactorGrid(FACTOR_NAMES, (SHAPES[: FACTOR_SIZES[0]], *value_names))


def rendering(folder: Path) -> Rendering:
    """Return how the set is drawn: from the published file if ``folder`` has it, otherwise from its description."""
    if (folder / PUBLISHED_FILE).is_file():
        draw = partial(_draw_published, folder)
        return Rendering("dsprites", _published_version(folder), grid(), 1, "shape", draw, _groups)
    return Rendering("dsprites", VERSION, grid(), 1, "shape", _draw, _groups)


def note(folder: Path) -> str:
    """Return a remark on the published file and its agreement with the drawn images; empty if there is no such file."""
    if not (folder / PUBLISHED_FILE).is_file():
        return ""
    try:
        agreement = json.loads(_agreement_path(folder).read_text(encoding="utf-8"))
        pixels = f"{agreement['pixels']:.2%}"
        overlap = ", ".join(f"{shape} {value:.3f}" for shape, value in agreement["overlap"].items())
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # not compared yet, or not our file
        return "the published file is used; the drawn images are compared with it when it is unpacked"
    return f"the published file is used; drawn images agree in {pixels} of pixels, intersection over union: {overlap}"


def _groups(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Put orientations 0 and 2 pi, whose images are equal, into one group so that they are in the same split."""
    values = grid().values(numbers)
    values[:, 2] %= FACTOR_SIZES[2] - 1
    return grid().numbers(values)


def _draw(size: int) -> Iterator[NDArray[np.uint8]]:
    for sprite in range(math.prod(FACTOR_SIZES[:3])):
        yield resize_images(_draw_sprite(sprite), size)


def _draw_sprite(sprite: int) -> NDArray[np.uint8]:
    """Return the images of a sprite at all positions, uint8 (posX x posY, 1, 64, 64) of 0 and 255.

    A sprite is a combination of shape, scale and orientation. Positions are whole pixels apart, so the images are
    windows of one larger image.
    """
    shape, scale, orientation = (int(value) for value in np.unravel_index(sprite, FACTOR_SIZES[:3]))
    x = np.arange(1 - FACTOR_SIZES[3], IMAGE_SIZE, dtype=np.float64) + (0.5 - FIRST_CENTRE[0])
    y = np.arange(1 - FACTOR_SIZES[4], IMAGE_SIZE, dtype=np.float64) + (0.5 - FIRST_CENTRE[1])
    # Modulo, so that the last orientation equals the first bit for bit.
    angle = 2 * math.pi * (orientation % (FACTOR_SIZES[2] - 1)) / (FACTOR_SIZES[2] - 1)
    mask = _shape_mask(SHAPES[shape], 0.5 + 0.5 * scale / (FACTOR_SIZES[1] - 1), angle, x, y[:, None])
    windows = np.lib.stride_tricks.sliding_window_view(mask * np.uint8(255), (IMAGE_SIZE, IMAGE_SIZE))
    # The window at the origin of the larger image shows the shape at its last position.
    return windows[::-1, ::-1].transpose(1, 0, 2, 3).reshape(-1, 1, IMAGE_SIZE, IMAGE_SIZE)


def _shape_mask(
    shape: str, scale: float, angle: float, x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return which points, in pixels right of and below a shape's centre, are inside; the shape turns clockwise."""
    cosine, sine = math.cos(angle), math.sin(angle)
    u, v = (cosine * x + sine * y) / scale, (cosine * y - sine * x) / scale
    if shape == "square":
        return np.asarray(np.maximum(np.abs(u), np.abs(v)) <= SQUARE_HALF_SIDE)
    if shape == "ellipse":
        return np.asarray((u / ELLIPSE_HALF_AXES[0]) ** 2 + (v / ELLIPSE_HALF_AXES[1]) ** 2 <= 1)
    # The curve passes each |x| <= 16 twice, at t and at pi - t.
    across, up = np.abs(u) / HEART_UNIT, HEART_CENTRE - v / HEART_UNIT
    t = np.arcsin(np.minimum(across / 16, 1) ** (1 / 3))
    return np.asarray((across <= 16) & (up <= _heart_height(t)) & (up >= _heart_height(math.pi - t)))


def _heart_height(t: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))


# The published file. Its member "metadata" is a pickle, which is never read.


def _draw_published(folder: Path, size: int) -> Iterator[NDArray[np.uint8]]:
    """Yield the published images, and save how well the drawn images agree with them."""
    equal: list[float] = []
    overlap: dict[str, list[float]] = {shape: [] for shape in SHAPES[: FACTOR_SIZES[0]]}
    for sprite, published in enumerate(_read_published(folder)):
        # 389 has no factor in common with the number of positions, so the compared positions are spread over all.
        positions = (np.arange(COMPARED_IMAGES) + sprite * COMPARED_IMAGES) * 389 % len(published)
        drawn_mask, published_mask = _draw_sprite(sprite)[positions] > 0, published[positions] > 0
        equal += (drawn_mask == published_mask).mean(axis=(1, 2, 3)).tolist()
        intersection = (drawn_mask & published_mask).sum(axis=(1, 2, 3))
        union = (drawn_mask | published_mask).sum(axis=(1, 2, 3))
        overlap[SHAPES[sprite // (FACTOR_SIZES[1] * FACTOR_SIZES[2])]] += (intersection / union).tolist()
        yield resize_images(published, size)
    mean_overlap = {shape: float(np.mean(values)) for shape, values in overlap.items()}
    agreement = {"images": len(equal), "pixels": float(np.mean(equal)), "overlap": mean_overlap}
    write_json(_agreement_path(folder), agreement)


def _read_published(folder: Path) -> Iterator[NDArray[np.uint8]]:
    """Yield the published images of each sprite, uint8 (posX x posY, 1, 64, 64) of 0 and 255."""
    path, positions, columns = folder / PUBLISHED_FILE, FACTOR_SIZES[3] * FACTOR_SIZES[4], 1 + len(FACTOR_SIZES)
    count = math.prod(FACTOR_SIZES)
    with (
        wrap_read_errors(path),
        zipfile.ZipFile(path) as archive,
        archive.open("latents_classes.npy") as classes,
        archive.open("imgs.npy") as images,
    ):
        _check_header(path, classes, "latents_classes", (count, columns), np.dtype(np.int64))
        _check_header(path, images, "imgs", (count, IMAGE_SIZE, IMAGE_SIZE), np.dtype(np.uint8))
        for sprite in range(count // positions):
            values = np.frombuffer(classes.read(positions * columns * 8), np.int64).reshape(positions, columns)
            if not (values[:, 1:] == grid().values(sprite * positions + np.arange(positions))).all():
                raise UserError(f"{path} is not the published dSprites: its latents_classes are in another order")
            block = np.frombuffer(images.read(positions * IMAGE_SIZE * IMAGE_SIZE), np.uint8)
            yield (block.reshape(positions, 1, IMAGE_SIZE, IMAGE_SIZE) > 0) * np.uint8(255)


def _check_header(path: Path, member: Any, name: str, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> None:
    """Read the header of an archive's member, and refuse any other shape or type than the published one."""
    np.lib.format.read_magic(member)
    header = np.lib.format.read_array_header_1_0(member)
    if header != (shape, False, dtype):
        raise UserError(f"{path} is not the published dSprites: {name} must be {dtype} of shape {shape}")


def _published_version(folder: Path) -> str:
    """Return a version with the archive's checksum of the images, so that another file is unpacked again."""
    path = folder / PUBLISHED_FILE
    with wrap_read_errors(path), zipfile.ZipFile(path) as archive:
        return f"published-{archive.getinfo('imgs.npy').CRC:08x}"


def _agreement_path(folder: Path) -> Path:
    return folder / f"{_published_version(folder)}-with-{VERSION}.json"
