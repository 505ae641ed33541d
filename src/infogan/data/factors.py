"""What is known of how images were made: the factors of each, for measuring what a model has found.

Factors are, like labels, for evaluation alone: nothing that trains may look at them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infogan.utils.errors import UserError

HELD_OUT = 10  # one image in so many is for testing


@dataclass(frozen=True, eq=False)
class Factors:
    """The ground-truth factors of a set of images. At dSprites' 737,280 images they are 29 MB, so they are kept whole.

    Attributes:
        names: One name a factor.
        sizes: How many values each takes in the whole set that the images are from; a subset may lack some.
        values: int64 of shape (count, factors), each from 0 to its size - 1.
        value_names: One name a value, factor by factor; empty numbers them from 0.

    Raises:
        UserError: shapes, types or values that do not fit together.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    values: NDArray[np.int64]
    value_names: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        if not self.names or len(self.sizes) != len(self.names) or self.values.shape[1:] != (len(self.names),):
            raise UserError(
                f"{len(self.names)} names and {len(self.sizes)} sizes of factors with values of shape "
                f"{self.values.shape}; allowed is (images, factors) with one name and one size a factor"
            )
        if self.values.dtype != np.int64 or (
            self.values.size and not ((self.values >= 0) & (self.values < np.array(self.sizes))).all()
        ):
            raise UserError(
                f"values of factors of type {self.values.dtype}; allowed are int64 from 0 to below {self.sizes}"
            )
        if self.value_names and tuple(map(len, self.value_names)) != self.sizes:
            raise UserError(
                f"factors of {self.sizes} values have {tuple(map(len, self.value_names))} names for them; allowed is "
                "one name a value, or none at all"
            )

    def __len__(self) -> int:
        return len(self.values)

    def subset(self, indices: Sequence[int] | NDArray[Any]) -> "Factors":
        """The factors of the images at ``indices``, in that order."""
        return Factors(self.names, self.sizes, self.values[np.asarray(indices)], self.value_names)


@dataclass(frozen=True)
class FactorGrid:
    """Every combination of the values of some factors, each once, numbered so that the last factor varies fastest.

    Attributes:
        names: One name a factor.
        value_names: One name a value, factor by factor.
    """

    names: tuple[str, ...]
    value_names: tuple[tuple[str, ...], ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many values each factor takes."""
        return tuple(map(len, self.value_names))

    def __len__(self) -> int:
        return math.prod(self.sizes)

    def values(self, numbers: NDArray[Any]) -> NDArray[np.int64]:
        """The factors, int64 (count, factors), of the combinations with these numbers, (count,)."""
        return np.stack(np.unravel_index(numbers, self.sizes), axis=1).astype(np.int64)

    def numbers(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """The numbers, int64 (count,), of the combinations with these factors, (count, factors)."""
        return np.asarray(np.ravel_multi_index(tuple(np.asarray(values).T), self.sizes), np.int64)

    def factors(self, numbers: NDArray[Any]) -> Factors:
        """The factors of the combinations with these numbers, (count,)."""
        return Factors(self.names, self.sizes, self.values(numbers), self.value_names)


def test_mask(groups: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """Chooses a tenth for testing, by a rule that depends on nothing but the numbers: no library's random numbers.

    Args:
        groups: (count,), the same number for images that must not be parted, e.g. because they are equal.
        seed: Which tenth.

    Returns:
        bool (count,), True for testing: of the different numbers in ``kin`` a tenth, rounded down.
    """
    different, place = np.unique(groups, return_inverse=True)
    order = np.argsort(_mixed(different.astype(np.uint64) + np.uint64(seed << 32)), kind="stable")
    chosen = np.zeros(len(different), np.bool_)
    chosen[order[: len(different) // HELD_OUT]] = True
    return np.asarray(chosen[place])


def pseudorandom_permutation(count: int, seed: int) -> NDArray[np.int64]:
    """The numbers from 0 to count - 1 in an order that looks random, by the same rule: int64 (count,)."""
    return np.argsort(_mixed(np.arange(count, dtype=np.uint64) + np.uint64(seed << 32)), kind="stable").astype(np.int64)


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The output function of SplitMix64 (Steele, Lea and Flood 2014): a bijection that looks random."""
    mixed = numbers * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
