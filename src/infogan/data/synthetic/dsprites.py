"""dSprites (Matthey, Higgins, Hassabis and Lerchner 2017), drawn from its description, or the published file.

White shapes on black, 64x64, every combination of 3 shapes, 6 scales, 40 orientations, 32 horizontal and 32 vertical
positions once: 737,280 images. In flows an index or a file; out flow pixels of 0 and 255.

What is published, and so certain, is the order of the factors (colour, of one value, is left out; posY varies fastest),
their values (scales from 0.5 to 1, orientations from 0 to 2 pi with both ends, so that the last is the first again,
positions from 0 to 1) and the size of the images. The authors tell besides that the shapes were drawn as vectors by
LÖVE 2D, its own square and ellipse and a heart of their own vertices, on pixels without antialiasing, and that they
chose steps that change some pixel (google-deepmind/dsprites-dataset, issues 2 and 3).

How large the shapes are is not published. It is our estimate: steps of one pixel, as 32 positions that each change a
pixel and leave every shape whole ask for one about that; an area that makes 4.3 % of all pixels white, as others report
the mean of the published pixels; an ellipse of the proportions that it seems to have in pictures; the heart that is
usually drawn (x = 16 sin³t, y = 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t) with its centre of mass at its position. That
orientation 0 is upright, that orientations turn clockwise and that posY points down, as LÖVE has it, is likely. Figures
on these images are therefore near to figures on the published ones, not equal. `agreement` tells how near the images
are, where the published file is at hand.
"""

import json
import math
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infogan.data.factors import FactorGrid
from infogan.data.preprocess import Progress
from infogan.data.readers.arrays import wrap_read_errors
from infogan.data.synthetic.cache import Rendering, resized
from infogan.utils.errors import UserError
from infogan.utils.files import write_json

OFFICIAL = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
NAMES = ("shape", "scale", "orientation", "posX", "posY")
SHAPES = ("square", "ellipse", "heart")
SIZES = (3, 6, 40, 32, 32)
SIDE = 64  # of an image, in pixels, as all that follows
# From the image's left and upper edge to the centre of a shape at position 0. At position 1 it is about as far from the
# other edge; exactly so, a square would look the same after turns of about a quarter. Here no two images are equal but
# those of orientations 0 and 2 pi.
FIRST = (16.16, 16.32)
SQUARE = 9.1  # half the side of the square at scale 1
ELLIPSE = (12.1, 7.4)  # half the axes of the ellipse at scale 1, the longer one horizontal at orientation 0
HEART = 0.7  # pixels at scale 1 in a unit of the heart's curve
HEART_CENTRE = 5 / 6  # of mass, above the curve's origin, in its units
EDITION = "rendered1"  # another one whenever a pixel changes
SAMPLED = 4  # images that are compared, of those of one shape, scale and orientation


@dataclass(frozen=True)
class Agreement:
    """How near our images are to the published ones of the same factors.

    Attributes:
        images: How many were compared.
        pixels: The share of their pixels that are equal, 0 to 1.
        overlap: For each shape the mean, over its images, of white pixels common to both by those white in either
            (intersection over union), 0 to 1.
    """

    images: int
    pixels: float
    overlap: dict[str, float]


def grid() -> FactorGrid:
    """The factors; names of values are their published values."""
    _, scales, turns, *places = SIZES
    numbers = (np.linspace(0.5, 1, scales), np.linspace(0, 2 * math.pi, turns), *(np.linspace(0, 1, n) for n in places))
    return FactorGrid(NAMES, (SHAPES[: SIZES[0]], *(tuple(f"{value:.4g}" for value in values) for values in numbers)))


def render(numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Draws the images with these numbers in the published order, (count,); uint8 (count, 1, 64, 64) of 0 and 255."""
    numbers = np.asarray(numbers)
    pose = SIZES[3] * SIZES[4]
    images = np.empty((len(numbers), 1, SIDE, SIDE), np.uint8)
    for sprite in np.unique(numbers // pose):
        chosen = numbers // pose == sprite
        x, y = np.divmod(numbers[chosen] % pose, SIZES[4])
        images[chosen, 0] = _windows(int(sprite))[x, y]
    return images


def rendering(folder: Path) -> Rendering:
    """The published images if their file is in ``folder``, else ours."""
    if (folder / OFFICIAL).is_file():
        return Rendering("dsprites", _official_edition(folder), grid(), 1, "shape", _Official(folder), _kin)
    return Rendering("dsprites", EDITION, grid(), 1, "shape", _drawn, _kin)


def agreement(folder: Path, progress: Progress | None = None) -> Agreement:
    """Compares our images with those of the published file in ``folder``; what was found is kept there.

    Compared are `SAMPLED` images of each shape, scale and orientation, at positions spread over all.

    Raises:
        UserError: there is no such file, or it is not the published one.
    """
    if not (folder / OFFICIAL).is_file():
        raise UserError(
            f"{folder} has no {OFFICIAL} to compare with: it is published at google-deepmind/dsprites-dataset"
        )
    if (known := _known_agreement(folder)) is not None:
        return known
    tally = _Tally()
    for number, images in enumerate(_official(folder)):
        tally.add(number, images)
        if progress is not None:
            progress(f"comparing {OFFICIAL}", number + 1, math.prod(SIZES[:3]))
    write_json(_agreement_file(folder), asdict(tally.result()))
    return tally.result()


def note(folder: Path) -> str:
    """What `infogan data list` says of the published file; empty without it."""
    if not (folder / OFFICIAL).is_file():
        return ""
    with_file = "the published file is used"
    if (known := _known_agreement(folder)) is None:
        return f"{with_file}; how near our images are is told once it is unpacked"
    overlap = ", ".join(f"{name} {share:.3f}" for name, share in known.overlap.items())
    return f"{with_file}; our images have {known.pixels:.2%} of its pixels, intersection over union: {overlap}"


def _kin(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Orientations 0 and 2 pi show the same image: one must not be for training and the other for testing."""
    values = grid().values(numbers)
    values[:, 2] %= SIZES[2] - 1
    return grid().numbers(values)


def _drawn(size: int) -> Iterator[NDArray[np.uint8]]:
    for sprite in range(math.prod(SIZES[:3])):
        yield resized(_positions(sprite), size)


def _positions(sprite: int) -> NDArray[np.uint8]:
    """The images of one shape, scale and orientation: uint8 (posX x posY, 1, 64, 64)."""
    return _windows(sprite).reshape(-1, 1, SIDE, SIDE)


def _windows(sprite: int) -> NDArray[np.uint8]:
    """The images of one shape, scale and orientation, uint8 (posX, posY, 64, 64), without a copy.

    Positions are whole pixels apart, so that these are windows on one larger image.
    """
    shape, scale, turn = (int(value) for value in np.unravel_index(sprite, SIZES[:3]))
    right, down = SIZES[3] - 1, SIZES[4] - 1
    x = np.arange(-right, SIDE, dtype=np.float64) + (0.5 - FIRST[0])
    y = np.arange(-down, SIDE, dtype=np.float64) + (0.5 - FIRST[1])
    # The last orientation is the first, to the last bit.
    angle = 2 * math.pi * (turn % (SIZES[2] - 1)) / (SIZES[2] - 1)
    inside = _inside(shape, 0.5 + 0.5 * scale / (SIZES[1] - 1), angle, x, y[:, None])
    windows = np.lib.stride_tricks.sliding_window_view(inside * np.uint8(255), (SIDE, SIDE))
    # The window that begins at the larger image's first pixel shows the shape furthest from its own.
    return windows[::-1, ::-1].transpose(1, 0, 2, 3)


def _inside(
    shape: int, scale: float, angle: float, x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether points, in pixels right of and below a shape's centre, are inside it; the shape is turned clockwise."""
    cosine, sine = math.cos(angle), math.sin(angle)
    u, v = (cosine * x + sine * y) / scale, (cosine * y - sine * x) / scale
    if SHAPES[shape] == "square":
        return np.asarray(np.maximum(np.abs(u), np.abs(v)) <= SQUARE)
    if SHAPES[shape] == "ellipse":
        return np.asarray((u / ELLIPSE[0]) ** 2 + (v / ELLIPSE[1]) ** 2 <= 1)
    # Above each |x| <= 16 the curve passes twice, at t and pi - t.
    across, up = np.abs(u) / HEART, HEART_CENTRE - v / HEART
    t = np.arcsin(np.minimum(across / 16, 1) ** (1 / 3))
    return np.asarray((across <= 16) & (up <= _heart(t)) & (up >= _heart(math.pi - t)))


def _heart(t: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))


# The published file. Its member "metadata" is a pickle, and is never read.


class _Official:
    """Draws from the published file, and compares on the way."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, size: int) -> Iterator[NDArray[np.uint8]]:
        tally = _Tally()
        for number, images in enumerate(_official(self._folder)):
            tally.add(number, images)
            yield resized(images, size)
        write_json(_agreement_file(self._folder), asdict(tally.result()))


class _Tally:
    """Compares the published images with ours."""

    def __init__(self) -> None:
        self._count, self._equal = 0, 0.0
        self._overlaps: dict[str, list[float]] = {name: [] for name in SHAPES[: SIZES[0]]}

    def add(self, sprite: int, published: NDArray[np.uint8]) -> None:
        """Takes the images of one shape, scale and orientation."""
        # A step without a common divisor with the number of positions visits them all before any again.
        chosen = (np.arange(SAMPLED) + sprite * SAMPLED) * 389 % len(published)
        ours, theirs = _positions(sprite)[chosen] > 0, published[chosen] > 0
        self._count += SAMPLED
        self._equal += float((ours == theirs).mean(axis=(1, 2, 3)).sum())
        common, either = (found.sum(axis=(1, 2, 3)) for found in (ours & theirs, ours | theirs))
        self._overlaps[SHAPES[sprite // (SIZES[1] * SIZES[2])]] += (common / either).tolist()

    def result(self) -> Agreement:
        """What was found of all that was added."""
        overlap = {name: float(np.mean(shares)) for name, shares in self._overlaps.items()}
        return Agreement(self._count, self._equal / self._count, overlap)


def _official(folder: Path) -> Iterator[NDArray[np.uint8]]:
    """The published images of each shape, scale and orientation, uint8 (posX x posY, 1, 64, 64) of 0 and 255."""
    path, pose = folder / OFFICIAL, SIZES[3] * SIZES[4]
    with (
        wrap_read_errors(path),
        zipfile.ZipFile(path) as archive,
        archive.open("latents_classes.npy") as classes,
        archive.open("imgs.npy") as images,
    ):
        count = math.prod(SIZES)
        _expect(path, classes, "latents_classes", (count, 1 + len(SIZES)), np.dtype(np.int64))
        _expect(path, images, "imgs", (count, SIDE, SIDE), np.dtype(np.uint8))
        for sprite in range(math.prod(SIZES[:3])):
            found = np.frombuffer(classes.read(pose * (1 + len(SIZES)) * 8), np.int64).reshape(pose, -1)
            if not (found[:, 1:] == grid().values(sprite * pose + np.arange(pose))).all():
                raise UserError(f"{path} is not dSprites as it was published: its latents_classes are in another order")
            block = np.frombuffer(images.read(pose * SIDE * SIDE), np.uint8).reshape(pose, 1, SIDE, SIDE)
            yield (block > 0) * np.uint8(255)


def _expect(path: Path, member: object, name: str, shape: tuple[int, ...], kind: np.dtype[np.generic]) -> None:
    """Reads a member's header, which may promise anything, and refuses all but what was published."""
    np.lib.format.read_magic(member)  # type: ignore[arg-type]  # any file that reads will do
    found = np.lib.format.read_array_header_1_0(member)  # type: ignore[arg-type]
    if found != (shape, False, kind):
        raise UserError(
            f"{path} is not dSprites as it was published: its {name} are {found[2]} of shape {found[0]}; expected is "
            f"{kind} of shape {shape}"
        )


def _official_edition(folder: Path) -> str:
    """Told by the checksum that the archive has of its images, so that another file is unpacked anew."""
    path = folder / OFFICIAL
    with wrap_read_errors(path), zipfile.ZipFile(path) as archive:
        return f"published-{archive.getinfo('imgs.npy').CRC:08x}"


def _agreement_file(folder: Path) -> Path:
    return folder / f"{_official_edition(folder)}-with-{EDITION}.json"


def _known_agreement(folder: Path) -> Agreement | None:
    try:
        found = json.loads(_agreement_file(folder).read_text(encoding="utf-8"))
        return Agreement(int(found["images"]), float(found["pixels"]), dict(found["overlap"]))
    except (OSError, ValueError, KeyError, TypeError):  # not compared yet, or not by us
        return None
