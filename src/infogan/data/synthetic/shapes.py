"""Coloured shapes in a flat room: a small colour data set with known factors.

Every combination of 8 hues each of floor, wall and object, 4 shapes, 5 sizes and 4 positions occurs once: 40,960
images, drawn with antialiasing. The idea, an object on a floor before a wall, is that of 3D Shapes (Burgess and Kim
2018), but there is no depth, light or shadow, so results do not compare with those published for 3D Shapes.
"""

import colorsys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infogan.data.factors import FactorGrid
from infogan.data.synthetic.cache import Rendering

VERSION = "shapes1"  # changes whenever a pixel changes
SHAPES = ("disc", "square", "triangle", "cross")
N_HUES = 8
# All lengths are relative to the side of the image.
RADII = (0.1, 0.13, 0.16, 0.19, 0.22)  # half the object's width
CENTRES = (0.24, 0.41, 0.59, 0.76)  # of the object, from the left
HORIZON = 0.62  # boundary of wall and floor, from the top
BASELINE = 0.82  # bottom of the object, from the top
ARM = 0.4  # half the width of the cross's arms, relative to the radius
# Saturation and brightness. They differ so that an object with the hue of the wall remains visible.
TONES = {"floor": (0.8, 0.45), "wall": (0.3, 1.0), "object": (1.0, 0.8)}
SUPERSAMPLING = 4  # points per pixel along each axis

_HUE_NAMES = tuple(f"{round(360 * i / N_HUES)}°" for i in range(N_HUES))
GRID = FactorGrid(
    ("floor_hue", "wall_hue", "object_hue", "shape", "size", "x"),
    (_HUE_NAMES, _HUE_NAMES, _HUE_NAMES, SHAPES, tuple(f"{2 * r:g}" for r in RADII), tuple(f"{x:g}" for x in CENTRES)),
)


def rendering(folder: Path) -> Rendering:
    """Return how the set is drawn; it does not depend on the machine."""
    return Rendering("shapes", VERSION, GRID, 3, "shape", draw)


def draw(size: int) -> Iterator[NDArray[np.uint8]]:
    """Yield all images in the order of the grid, in blocks of uint8 (images, 3, size, size)."""
    points = (np.arange(size * SUPERSAMPLING) + 0.5) / (size * SUPERSAMPLING)
    floor = _coverage(np.broadcast_to(points[:, None] > HORIZON, (len(points), len(points))))
    objects = np.stack(
        [_coverage(object_mask(shape, radius, x, points)) for shape in SHAPES for radius in RADII for x in CENTRES]
    )[:, None]
    floor_colours, wall_colours, object_colours = (_colours(part) for part in TONES)
    for floor_colour in floor_colours:
        for wall_colour in wall_colours:
            room = wall_colour + floor * (floor_colour - wall_colour)
            for colour in object_colours:
                yield np.rint(room + objects * (colour - room)).astype(np.uint8)


def object_mask(shape: str, radius: float, centre: float, points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which points of a square lattice are inside an object, bool (points, points).

    Args:
        shape: One of ``SHAPES``.
        radius: Half the object's width.
        centre: The object's centre, from the left.
        points: Coordinates of the lattice from 0 to 1, across and down.
    """
    u, v = np.meshgrid((points - centre) / radius, (points - (BASELINE - radius)) / radius)
    box = np.maximum(np.abs(u), np.abs(v)) <= 1
    if shape == "disc":
        return np.asarray(np.hypot(u, v) <= 1)
    if shape == "square":
        return np.asarray(box)
    if shape == "triangle":
        return np.asarray(box & (2 * np.abs(u) <= v + 1))
    return np.asarray(box & (np.minimum(np.abs(u), np.abs(v)) <= ARM))


def _coverage(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the covered share of each pixel, 0 to 1."""
    size = len(mask) // SUPERSAMPLING
    return np.asarray(mask.reshape(size, SUPERSAMPLING, size, SUPERSAMPLING).mean(axis=(1, 3)))


def _colours(part: str) -> NDArray[np.float64]:
    """Return the colours of a part of the image, (hues, 3, 1, 1), 0 to 255."""
    colours = [colorsys.hsv_to_rgb(i / N_HUES, *TONES[part]) for i in range(N_HUES)]
    return 255 * np.array(colours)[:, :, None, None]
