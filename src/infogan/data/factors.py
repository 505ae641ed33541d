"""Ground-truth factors of images, for measuring what a model has found.

Like labels, factors are for evaluation alone: training must not use them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infogan.utils.errors import UserError

TEST_SHARE = 10  # one image in this many is for testing


@dataclass(frozen=True, eq=False)
class Factors:
    """The ground-truth factors of a set of images.

    Attributes:
        names: One name per factor.
        sizes: The number of values of each factor in the whole set that the images are from; a subset may lack some.
        values: int64 of shape (count, factors), each from 0 to its size - 1.
        value_names: One name per value, factor by factor; empty numbers them from 0.

    Raises:
        UserError: Shapes, types or values do not fit together.

    Example:
        >>> factors = infogan.data.load("shapes").factors
        >>> factors.names
        ('floor_hue', 'wall_hue', 'object_hue', 'shape', 'size', 'x')
        >>> factors.values.shape
        (36864, 6)
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    values: NDArray[np.int64]
    value_names: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        if not self.names or len(self.sizes) != len(self.names) or self.values.shape[1:] != (len(self.names),):
            counts = f"{len(self.names)} names and {len(self.sizes)} sizes"
            raise UserError(f"factors of shape {self.values.shape} have {counts}; expected one per column")
        if self.values.dtype != np.int64 or ((self.values < 0) | (self.values >= np.array(self.sizes))).any():
            raise UserError(f"factors of type {self.values.dtype} must be int64 from 0 to below {self.sizes}")
        name_counts = tuple(map(len, self.value_names))
        if name_counts not in ((), self.sizes):
            raise UserError(f"factors of {self.sizes} values have {name_counts} names; expected one name per value")

    def __len__(self) -> int:
        return len(self.values)

    def subset(self, indices: Sequence[int] | NDArray[Any]) -> "Factors":
        """Return the factors of the images at ``indices``, in that order."""
        return Factors(self.names, self.sizes, self.values[np.asarray(indices)], self.value_names)


@dataclass(frozen=True)
class FactorGrid:
    """All combinations of the values of some factors, numbered so that the last factor varies fastest.

    Attributes:
        names: One name per factor.
        value_names: One name per value, factor by factor.
    """

    names: tuple[str, ...]
    value_names: tuple[tuple[str, ...], ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of values of each factor."""
        return tuple(map(len, self.value_names))

    def __len__(self) -> int:
        return math.prod(self.sizes)

    def values(self, numbers: NDArray[Any]) -> NDArray[np.int64]:
        """Return the factor values, int64 (count, factors), of the combinations with these numbers, (count,)."""
        return np.stack(np.unravel_index(numbers, self.sizes), axis=1).astype(np.int64)

    def numbers(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """Return the numbers, int64 (count,), of the combinations of these factor values, (count, factors)."""
        return np.asarray(np.ravel_multi_index(tuple(np.asarray(values).T), self.sizes), np.int64)

    def factors(self, numbers: NDArray[Any]) -> Factors:
        """Return the factors of the combinations with these numbers, (count,)."""
        return Factors(self.names, self.sizes, self.values(numbers), self.value_names)


def held_out_mask(groups: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """Select a tenth for testing by a rule of its own, so that no library's random generator can change it.

    Args:
        groups: (count,), the same number for images that must be in the same split, e.g. because they are equal.
        seed: Determines which tenth.

    Returns:
        bool (count,), True for testing: a tenth of the distinct groups, rounded down.
    """
    distinct, index = np.unique(groups, return_inverse=True)
    order = np.argsort(_mix(distinct.astype(np.uint64) + np.uint64(seed << 32)), kind="stable")
    mask = np.zeros(len(distinct), np.bool_)
    mask[order[: len(distinct) // TEST_SHARE]] = True
    return np.asarray(mask[index])


def pseudorandom_permutation(count: int, seed: int) -> NDArray[np.int64]:
    """Return the numbers 0 to count - 1, int64 (count,), shuffled by the same rule as `held_out_mask`."""
    return np.argsort(_mix(np.arange(count, dtype=np.uint64) + np.uint64(seed << 32)), kind="stable").astype(np.int64)


def _mix(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Apply the output function of SplitMix64 (Steele, Lea and Flood 2014), a bijection that looks random."""
    mixed = numbers * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
