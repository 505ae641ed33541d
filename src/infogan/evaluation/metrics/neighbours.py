"""Precision, recall, density and coverage: whether generated images lie among real ones, and cover all of them.

A distance between two sets of features (`metrics.fidelity`) is one number for two faults: bad images and missing kinds
of images. These metrics separate the two. A set is approximated by balls around its points that reach to their k-th
nearest neighbour, in the distances of the given features.

All values depend on the numbers of images; compare only values for equally many images. Distances are computed in
blocks, so that memory is bounded.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from infogan.evaluation.metrics.fidelity import Features, check_features

BLOCK = 2**22  # distances in memory at a time: 32 MiB


class PrecisionRecall(NamedTuple):
    """Shares of images in [0, 1]; 1 is best.

    Attributes:
        precision: Share of generated images that lie in the ball of a real one.
        recall: Share of real images that lie in the ball of a generated one.
    """

    precision: float
    recall: float


class DensityCoverage(NamedTuple):
    """How densely and how completely generated images cover real ones.

    Attributes:
        density: Mean number of real images' balls that contain a generated one, over k; at least 0, about 1 for equal
            distributions, and above 1 if generated images concentrate where real ones are dense.
        coverage: Share of real images whose ball contains a generated one, in [0, 1]; 1 is best.
    """

    density: float
    coverage: float


def precision_recall(reals: Features, fakes: Features, *, neighbours: int = 3) -> PrecisionRecall:
    """Return precision and recall of Kynkäänniemi et al. 2019, equation 2; each point has a ball to its k-th neighbour.

    Traps: the ball of a real outlier is large and raises precision; widely scattered fakes raise recall in the same way
    (`density_coverage` has neither fault). Truncated or repeated samples raise precision and lower recall. The paper
    uses k = 3 and 50,000 images; with fewer images, the balls are larger.

    Args:
        reals: (images, features).
        fakes: (other images, features).
        neighbours: k, not counting the point itself.

    Raises:
        ValueError: as `fidelity.frechet_distance`, or not more images than neighbours in one of the sets.

    Example:
        >>> precision, recall = precision_recall(real_features, generated_features)
    """
    check_features(reals, fakes)
    reals, fakes = _centre(reals, fakes)
    real_radii, fake_radii = _squared_radii(reals, neighbours), _squared_radii(fakes, neighbours)
    precise, recalled = 0, np.zeros(len(reals), dtype=bool)
    for rows, squares in _squared_distances(fakes, reals):
        precise += int((squares <= real_radii).any(axis=1).sum())
        recalled |= (squares <= fake_radii[rows, np.newaxis]).any(axis=0)
    return PrecisionRecall(precise / len(fakes), float(recalled.mean()))


def density_coverage(reals: Features, fakes: Features, *, neighbours: int = 5) -> DensityCoverage:
    """Return density and coverage of Naeem et al. 2020, equations 5 and 6; only real images have balls.

    Density counts the balls that contain a fake instead of testing whether any does, so that a real outlier counts for
    little. Coverage tests whether any fake is near each real image, so that scattered fakes gain nothing. The expected
    coverage of equal distributions is 1 - (N - 1) ... (N - k) / ((2N - 1) ... (2N - k)), about 1 - 2^-k, that is 0.97
    for k = 5 and not 1.

    Args:
        reals: (images, features).
        fakes: (other images, features); coverage grows with their number, so use as many as there are reals.
        neighbours: k, not counting the point itself.

    Raises:
        ValueError: as `precision_recall`, for the reals.

    Example:
        >>> density, coverage = density_coverage(real_features, generated_features)
    """
    check_features(reals, fakes)
    reals, fakes = _centre(reals, fakes)
    radii = _squared_radii(reals, neighbours)
    contained, covered = 0, np.zeros(len(reals), dtype=bool)
    for _, squares in _squared_distances(fakes, reals):
        inside = squares <= radii
        contained += int(np.count_nonzero(inside))
        covered |= inside.any(axis=0)
    return DensityCoverage(contained / (neighbours * len(fakes)), float(covered.mean()))


def nearest_distances(points: Features, references: Features, *, itself: bool = False) -> NDArray[np.float64]:
    """Return the distance of each point to the nearest reference.

    Args:
        points: (points, features).
        references: (references, features).
        itself: Whether the references are the points; each is then compared with the others.
    """
    points, references = _centre(points, references)
    nearest = np.empty(len(points))
    for rows, squares in _squared_distances(points, references):
        if itself:
            squares[np.arange(len(squares)), np.arange(rows.start, rows.stop)] = np.inf
        nearest[rows] = squares.min(axis=1)
    return np.sqrt(np.maximum(nearest, 0))


def _centre(reals: Features, fakes: Features) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    # Distances are computed from squared lengths, which leave no digits for them far from the origin.
    centre = reals.mean(axis=0, dtype=np.float64)
    return reals - centre, fakes - centre


def _squared_distances(
    points: NDArray[np.float64], references: NDArray[np.float64]
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Yield the squared distances of blocks of points to all references, with the rows of the block."""
    squared_lengths = np.square(references).sum(axis=1)
    step = max(1, BLOCK // len(references))
    for start in range(0, len(points), step):
        block = points[start : start + step]
        squares = block @ (-2 * references.T)
        squares += squared_lengths
        squares += np.square(block).sum(axis=1, keepdims=True)
        yield slice(start, start + len(block)), squares


def _squared_radii(points: NDArray[np.float64], neighbours: int) -> NDArray[np.float64]:
    """Return the squared distance of each point to its k-th neighbour, plus a rounding error."""
    if not 1 <= neighbours < len(points):
        raise ValueError(f"neighbours is {neighbours}; with {len(points)} images use 1 to {len(points) - 1}")
    radii = np.empty(len(points))
    for rows, squares in _squared_distances(points, points):
        # The point itself is its nearest neighbour, at a distance that may round to either side of 0.
        squares[np.arange(len(squares)), np.arange(rows.start, rows.stop)] = -1
        radii[rows] = np.partition(squares, neighbours, axis=1)[:, neighbours]
    # Points that coincide are in each other's balls, although their distance may round to a positive number.
    radii += 1e-12 * np.square(points).sum(axis=1).max()
    return radii
