"""Whether generated images lie among real ones, and whether they reach all of these: told apart, by nearest neighbours.

In flow two clouds of features; out come shares of images. A distance of clouds (`metrics.fidelity`) is one number for
both faults: images that are no good, and kinds of images that are missing. Here a cloud is taken for the balls around
its points that reach their k-th neighbour. Distances are those of the features: what these do not see, no share sees.

All numbers depend on how many images there are, and are to be compared for equally many only. Memory is bounded: rows
of the distances are computed some at a time.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from infogan.evaluation.metrics.fidelity import Features, check_features

BLOCK = 2**22  # distances held at a time: 32 MiB


class PrecisionRecall(NamedTuple):
    """Shares of images, each in [0, 1], 1 is best.

    Attributes:
        precision: Of generated images that lie in the ball of a real one.
        recall: Of real images that lie in the ball of a generated one.
    """

    precision: float
    recall: float


class DensityCoverage(NamedTuple):
    """How densely, and how completely, generated images lie among real ones.

    Attributes:
        density: Real images' balls that a generated one lies in, over k; at least 0, about 1 for equal clouds, and
            above 1 where generated images crowd where reals are dense.
        coverage: Share of real images in whose ball a generated one lies; in [0, 1], 1 is best.
    """

    density: float
    coverage: float


def precision_recall(reals: Features, fakes: Features, *, neighbours: int = 3) -> PrecisionRecall:
    """Precision and recall of Kynkäänniemi et al. 2019, equation 2: each point has a ball to its k-th neighbour.

    Traps: one real image far from the others has a ball that holds much, and raises precision; fakes that are scattered
    widely raise recall the same way (`density_coverage` has neither fault). Truncated or repeated samples raise the one
    and lower the other. The paper takes k = 3 and 50,000 images; with fewer, balls are wider.

    Args:
        reals: (images, features).
        fakes: (other images, features).
        neighbours: k, without the point itself.

    Raises:
        ValueError: as `fidelity.frechet_distance`, or not more images than neighbours in either cloud.
    """
    check_features(reals, fakes)
    reals, fakes = _centred(reals, fakes)
    among_reals, among_fakes = _radii(reals, neighbours), _radii(fakes, neighbours)
    good, reached = 0, np.zeros(len(reals), dtype=bool)
    for rows, squares in _squares(fakes, reals):
        good += int((squares <= among_reals).any(axis=1).sum())
        reached |= (squares <= among_fakes[rows, np.newaxis]).any(axis=0)
    return PrecisionRecall(good / len(fakes), float(reached.mean()))


def density_coverage(reals: Features, fakes: Features, *, neighbours: int = 5) -> DensityCoverage:
    """Density and coverage of Naeem et al. 2020, equations 5 and 6: only real images have balls.

    Density counts how many balls hold a fake instead of whether any does, so that one real outlier counts for little;
    coverage asks of each real whether any fake is near it, so that scattered fakes gain nothing. For equal clouds the
    coverage expected is 1 - (N - 1) ... (N - k) / ((2N - 1) ... (2N - k)), about 1 - 2^-k = 0.97 for k = 5, not 1.

    Args:
        reals: (images, features).
        fakes: (other images, features); coverage grows with their number, take as many as there are reals.
        neighbours: k, without the point itself.

    Raises:
        ValueError: as `precision_recall`, for the reals.
    """
    check_features(reals, fakes)
    reals, fakes = _centred(reals, fakes)
    radii = _radii(reals, neighbours)
    within, covered = 0, np.zeros(len(reals), dtype=bool)
    for _, squares in _squares(fakes, reals):
        inside = squares <= radii
        within += int(np.count_nonzero(inside))
        covered |= inside.any(axis=0)
    return DensityCoverage(within / (neighbours * len(fakes)), float(covered.mean()))


def _centred(reals: Features, fakes: Features) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    # Distances come from squared lengths; far from the origin, those would have no digits left for them.
    centre = reals.mean(axis=0, dtype=np.float64)
    return reals - centre, fakes - centre


def _squares(points: NDArray[np.float64], others: NDArray[np.float64]) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Squared distances of some points at a time to all others."""
    lengths = np.square(others).sum(axis=1)
    step = max(1, BLOCK // len(others))
    for start in range(0, len(points), step):
        some = points[start : start + step]
        squares = some @ (-2 * others.T)
        squares += lengths
        squares += np.square(some).sum(axis=1, keepdims=True)
        yield slice(start, start + len(some)), squares


def _radii(points: NDArray[np.float64], neighbours: int) -> NDArray[np.float64]:
    """The squared distance of each point to its k-th neighbour, and a rounding error more."""
    if not 1 <= neighbours < len(points):
        raise ValueError(f"{neighbours} neighbours among {len(points)} images: allowed are 1 to {len(points) - 1}")
    found = np.empty(len(points))
    for rows, squares in _squares(points, points):
        # The point itself is nearest, at a distance that may round to anything about 0.
        squares[np.arange(len(squares)), np.arange(rows.start, rows.stop)] = -1
        found[rows] = np.partition(squares, neighbours, axis=1)[:, neighbours]
    # Points that coincide are within each other's balls, though their distance may round above 0.
    found += 1e-12 * np.square(points).sum(axis=1).max()
    return found
