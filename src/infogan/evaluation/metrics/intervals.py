"""Intervals around metrics.

`bootstrap` shows how much a metric would vary with other images, `mean_interval` how much the mean over training seeds
would vary with other seeds. Neither includes the other, and neither shows whether the protocol is right.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

BATCH_VALUES = 2**24  # values in a batch of draws, at most: 128 MiB in float64


@dataclass(frozen=True)
class Interval:
    """A number and the interval around it.

    Attributes:
        estimate: The number itself, on all samples; may lie outside the interval if the statistic is biased.
        low: Lower end.
        high: Upper end.
        level: Share of such intervals that should contain the true value, e.g. 0.95.
    """

    estimate: float
    low: float
    high: float
    level: float


def bootstrap(
    statistic: Callable[..., Any],
    *arrays: NDArray[Any],
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
    vectorised: bool = False,
    centred: bool = False,
) -> Interval:
    """Return a percentile bootstrap interval of any statistic of samples (Efron & Tibshirani 1993, chapter 13).

    Samples are drawn with replacement, as many as there are, and the statistic is computed again; the interval contains
    the middle ``level`` of the results. All arrays are drawn by the same indices, so that pairs (an image's cluster and
    its label, the results of two models on one image) stay together: the interval of the difference of two models on
    the same images is usually much narrower than their two intervals suggest.

    Traps: a statistic that depends on duplicates (distances to nearest neighbours, the number of distinct values)
    changes when samples recur, and its bootstrap is wrong. The bias of a statistic is added once more, so that the
    interval of few samples may not contain its own estimate; ``centred`` subtracts the bias that the draws show, their
    mean minus the estimate (chapter 10). With fewer than about 50 samples, the interval is too narrow.

    Args:
        statistic: Takes the arrays and returns one number.
        *arrays: Each (samples, ...), equally long.
        level: Between 0 and 1.
        draws: Number of draws; the ends of a 95 % interval are quantiles of the outermost 2.5 % of them.
        seed: Random seed of the draws.
        vectorised: The statistic takes arrays of (draws, samples, ...) and returns (draws,): much faster for means.
        centred: Whether to subtract the bias that the draws show.

    Raises:
        ValueError: no arrays, no samples, unequal lengths, a level outside (0, 1), or fewer than 2 draws.

    Example:
        >>> bootstrap(lambda hits: hits.mean(), predicted == labels)
    """
    lengths = [len(array) for array in arrays]
    if not lengths or len(set(lengths)) > 1 or lengths[0] == 0:
        raise ValueError(f"arrays have lengths {lengths}; at least one is needed, all equally long and not empty")
    _check_level(level)
    if draws < 2:
        raise ValueError(f"draws is {draws}; an interval needs at least 2")
    count, random = lengths[0], np.random.default_rng(seed)
    values = np.empty(draws)
    widest = max(array[0].size for array in map(np.asarray, arrays))
    batch = max(1, BATCH_VALUES // (count * max(1, widest))) if vectorised else 1
    for start in range(0, draws, batch):
        size = min(batch, draws - start)
        indices = random.integers(count, size=(size, count))
        resampled = [array[indices if vectorised else indices[0]] for array in arrays]
        values[start : start + size] = statistic(*resampled)
    estimate = statistic(*[array[np.newaxis] for array in arrays])[0] if vectorised else statistic(*arrays)
    if centred:
        values -= values.mean() - estimate
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(estimate), float(low), float(high), level)


def mean_interval(values: ArrayLike, *, level: float = 0.95) -> Interval:
    """Return the mean over seeds and the interval x̄ ± t s / √n around it (Student 1908).

    It is exact if results are normally distributed over seeds. They are not if some seeds fail altogether; look at the
    single results then. More seeds narrow the interval, but not s, the deviation of a single seed.

    Args:
        values: One result per seed, at least two.
        level: Between 0 and 1.

    Raises:
        ValueError: fewer than two values, not one-dimensional, not finite, or a level outside (0, 1).

    Example:
        >>> mean_interval([0.97, 0.98, 0.96]).low
    """
    from scipy.stats import t

    results = np.asarray(values, dtype=np.float64)
    if results.ndim != 1 or len(results) < 2 or not np.isfinite(results).all():
        raise ValueError(f"values have shape {results.shape}; expected two or more finite numbers, one per seed")
    _check_level(level)
    mean = float(results.mean())
    half = float(t.ppf((1 + level) / 2, len(results) - 1) * results.std(ddof=1) / np.sqrt(len(results)))
    return Interval(mean, mean - half, mean + half, level)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must be between 0 and 1, e.g. 0.95")
