"""Hartigan's dip: how far a sample is from one with a single mode.

The packages that have it are under licences that this project cannot take over.
"""

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def dip(values: NDArray[np.floating]) -> float:
    """Return the dip of a sample (Hartigan & Hartigan 1985, The Annals of Statistics 13(1)).

    It is the largest difference between the empirical distribution function and the closest one of a distribution with
    a single mode: 1 / (2n) at least, 1 / 4 at most. For n values from a uniform distribution, √n times the dip exceeds
    0.53 in 5 % and 0.60 in 1 % of all samples; every other distribution with one mode has a smaller dip.

    Args:
        values: (values,), in any order; at least one. Several equal ones between others make the dip larger than by
            definition, which allows a jump of the closest distribution function at its mode.

    Example:
        >>> dip(np.array([0.0, 0.0, 0.0, 1.0, 1.0, 1.0]))
        0.25
    """
    points, counts = np.unique(np.asarray(values, np.float64), return_counts=True)
    upper = np.cumsum(counts).astype(np.float64)  # n F(x), from the right
    lower = upper - counts  # and from the left
    first, last, gap = 0, len(points) - 1, 1.0
    while True:
        window = slice(first, last + 1)
        left, right, width, outside = _modal_interval(points[window], lower[window], upper[window])
        if width <= gap:
            break
        gap = max(gap, outside)
        if left == right or (left, right) == (0, last - first):
            break
        first, last = first + left, first + right
    return float(gap / (2 * upper[-1]))


def _modal_interval(points: Values, lower: Values, upper: Values) -> tuple[int, int, float, float]:
    """Return the interval in which the mode must lie, as indices of its ends, and two gaps.

    The gaps are the largest between the greatest convex minorant and the least concave majorant, and the largest
    between the distribution function and the minorant left of the interval, or the majorant right of it.
    """
    minorant, majorant = _lower_hull(points, lower), _lower_hull(points, -upper)
    convex = np.interp(points, points[minorant], lower[minorant])
    concave = np.interp(points, points[majorant], upper[majorant])
    gaps = concave - convex
    if gaps[minorant].max() > gaps[majorant].max():
        left = int(minorant[gaps[minorant].argmax()])
        right = int(majorant[np.searchsorted(majorant, left)])
    else:
        right = int(majorant[len(majorant) - 1 - gaps[majorant][::-1].argmax()])
        left = int(minorant[np.searchsorted(minorant, right, side="right") - 1])
    is_atom = left == right  # at which the closest distribution may jump, too
    outside = np.append((upper - convex)[: left + (not is_atom)], (concave - lower)[right + is_atom :])
    return left, right, float(gaps[[*minorant, *majorant]].max()), float(outside.max(initial=0))


def _lower_hull(x: Values, y: Values) -> NDArray[np.int64]:
    """Return the indices of the corners of the greatest convex function below points that are ordered by x."""
    hull: list[int] = []
    for point in range(len(x)):
        while len(hull) > 1:
            before, corner = hull[-2:]
            rise = (y[corner] - y[before]) * (x[point] - x[corner])
            if rise < (y[point] - y[corner]) * (x[corner] - x[before]):
                break
            hull.pop()
        hull.append(point)
    return np.array(hull)
