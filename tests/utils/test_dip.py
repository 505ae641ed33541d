"""Hartigan's dip, against its definition."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import linprog

from infogan.utils.dip import dip


def dip_by_definition(values: NDArray[np.float64]) -> float:
    """Return the smallest distance to a distribution with one mode: a linear programme for each place of the mode.

    The unknowns are the distribution function G left of each point, G at each point, and the distance.
    """
    points, counts = np.unique(values, return_counts=True)
    upper, count = np.cumsum(counts) / counts.sum(), len(points)
    lower = upper - counts / counts.sum()
    left, right, distance = np.arange(count), count + np.arange(count), 2 * count
    unit = np.eye(2 * count + 1)
    band = [sign * unit[i] - unit[distance] for i in (*left, *right) for sign in (1, -1)]
    limits = [sign * value for value in (*lower, *upper) for sign in (1, -1)]
    slopes = [(unit[left[i + 1]] - unit[right[i]]) / (points[i + 1] - points[i]) for i in range(count - 1)]
    distances = []
    for mode in range(count):
        convex = [slopes[i] - slopes[i + 1] for i in range(count - 2) if i + 1 < mode]
        concave = [slopes[i + 1] - slopes[i] for i in range(count - 2) if i >= mode]
        rows = [*band, *(-slope for slope in slopes), *convex, *concave, unit[left[mode]] - unit[right[mode]]]
        continuous = [unit[left[i]] - unit[right[i]] for i in range(count) if i != mode]
        solution = linprog(
            unit[distance],
            A_ub=np.array(rows),
            b_ub=np.array([*limits, *[0.0] * (len(rows) - len(limits))]),
            A_eq=np.array(continuous) if continuous else None,
            b_eq=np.zeros(len(continuous)) if continuous else None,
            bounds=[(None, None)] * (2 * count) + [(0, None)],
        )
        distances.append(float(solution.fun))
    return max(min(distances), 1 / (2 * len(values)))


@pytest.mark.parametrize("seed", range(12))
def test_dip_is_the_distance_to_the_closest_distribution_with_one_mode(seed: int) -> None:
    random = np.random.default_rng(seed)
    count = int(random.integers(2, 20))
    values = random.normal(size=count) + random.choice([0, 4], count)
    assert dip(values) == pytest.approx(dip_by_definition(values), abs=1e-9)


def test_dip_of_two_heaps_is_a_quarter() -> None:
    assert dip(np.repeat([0.0, 1.0], 50)) == pytest.approx(0.25)


def test_dip_of_one_heap_is_the_smallest_possible() -> None:
    assert dip(np.zeros(50)) == 0.01


def test_a_uniform_sample_exceeds_the_stated_quantiles_as_often_as_stated() -> None:
    random = np.random.default_rng(0)
    scaled = np.array([np.sqrt(300) * dip(random.random(300)) for _ in range(400)])
    assert 0.02 < (scaled > 0.53).mean() < 0.09
    assert (scaled > 0.6).mean() < 0.03


def test_scale_and_order_do_not_matter() -> None:
    values = np.random.default_rng(1).normal(size=100)
    assert dip(values) == pytest.approx(dip(-3 * values[::-1] + 2))
