"""Coloured shapes in a flat room, drawn here: a small set whose factors are known, with colour.

Every combination of 8 hues each of floor, wall and object, 4 shapes, 5 sizes and 4 places once: 40,960 images. The
object stands on the floor before the wall, as in 3D Shapes (Burgess and Kim 2018), from which the idea is, but nothing
has depth, light or shadow: it is a set of ours, and figures on it say nothing of figures published for 3D Shapes.

In flows a size in pixels; out flow the images, drawn at that size with antialiasing.
"""

import colorsys
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infogan.data.factors import FactorGrid
from infogan.data.synthetic.cache import Rendering

SIDE = 32  # pixels of an image unless asked for another
SHAPES = ("disc", "square", "triangle", "cross")
HUES = 8
RADII = (0.1, 0.13, 0.16, 0.19, 0.22)  # half the object's width; lengths are shares of the side of the image
PLACES = (0.24, 0.41, 0.59, 0.76)  # of the object's middle, from the left
HORIZON = 0.62  # where the wall ends and the floor begins, from above
GROUND = 0.82  # where the object stands
ARM = 0.4  # half the width of the cross's arms, in radii
# Floor, wall and object differ in saturation and brightness, so that an object of the wall's hue is still seen.
TONES = {"floor": (0.8, 0.45), "wall": (0.3, 1.0), "object": (1.0, 0.8)}
FINE = 4  # points a pixel is the mean of, along each axis
EDITION = "shapes1"  # another one whenever a pixel changes

_HUE_NAMES = tuple(f"{round(360 * i / HUES)}°" for i in range(HUES))
GRID = FactorGrid(
    ("floor_hue", "wall_hue", "object_hue", "shape", "size", "x"),
    (_HUE_NAMES, _HUE_NAMES, _HUE_NAMES, SHAPES, tuple(f"{2 * r:g}" for r in RADII), tuple(f"{x:g}" for x in PLACES)),
)


def rendering(folder: Path) -> Rendering:
    """The set; it is the same everywhere."""
    return Rendering("shapes", EDITION, GRID, 3, "shape", draw)


def draw(size: int) -> Iterator[NDArray[np.uint8]]:
    """All images in the order of the grid, uint8 (some, 3, size, size)."""
    points = (np.arange(size * FINE) + 0.5) / (size * FINE)
    floor = _pixels(np.broadcast_to(points[:, None] > HORIZON, (size * FINE, size * FINE)))
    covers = np.stack(
        [_pixels(inside(shape, radius, x, points)) for shape in SHAPES for radius in RADII for x in PLACES]
    )[:, None]
    floors, walls, objects = (_colours(part) for part in TONES)
    for floor_colour in floors:
        for wall_colour in walls:
            room = wall_colour + floor * (floor_colour - wall_colour)
            for colour in objects:
                yield np.rint(room + covers * (colour - room)).astype(np.uint8)


def inside(shape: str, radius: float, middle: float, points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether the points of a square lattice are inside an object: bool (points, points).

    Args:
        shape: One of ``SHAPES``.
        radius: Half its width.
        middle: Where it stands, from the left.
        points: From 0 to 1, across and down.
    """
    u, v = np.meshgrid((points - middle) / radius, (points - (GROUND - radius)) / radius)
    box = np.maximum(np.abs(u), np.abs(v)) <= 1
    if shape == "disc":
        return np.asarray(np.hypot(u, v) <= 1)
    if shape == "square":
        return np.asarray(box)
    if shape == "triangle":
        return np.asarray(box & (2 * np.abs(u) <= v + 1))
    return np.asarray(box & (np.minimum(np.abs(u), np.abs(v)) <= ARM))


def _pixels(fine: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The share of each pixel that is covered, 0 to 1."""
    side = math.isqrt(fine.size) // FINE
    return np.asarray(fine.reshape(side, FINE, side, FINE).mean(axis=(1, 3)))


def _colours(part: str) -> NDArray[np.float64]:
    """The colours that a part may have, (hues, 3, 1, 1), 0 to 255."""
    colours = [colorsys.hsv_to_rgb(i / HUES, *TONES[part]) for i in range(HUES)]
    return 255 * np.array(colours)[:, :, None, None]
