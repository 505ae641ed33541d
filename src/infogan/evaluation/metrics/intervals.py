"""How far a number can be trusted: intervals around it.

Two sources of chance are told apart. `bootstrap` is about the images a number was computed on: draw other images, and
it moves so much. `mean_interval` is about training: take other seeds, and the mean over them moves so much. Neither
says anything of the other, and neither of whether the protocol was right.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

BATCH_VALUES = 2**24  # values that a batch of draws gathers at a time at most: 128 MiB in float64


@dataclass(frozen=True)
class Interval:
    """A number and the interval around it.

    Attributes:
        estimate: The number itself, on all samples; may lie outside the interval where the statistic is biased.
        low: Lower end.
        high: Upper end.
        level: The share of such intervals that should hold the true value, e.g. 0.95.
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
    """A percentile bootstrap interval (Efron & Tibshirani 1993, chapter 13) for any function of samples.

    Samples are drawn with replacement, as many as there are, and the statistic is computed again; the interval holds
    the middle ``level`` of what comes out. All arrays are drawn by the same indices, so that pairs (an image's cluster
    and its label, two models' hits on one image) stay together: the interval of a difference of two models on the same
    images is usually much narrower than the two intervals suggest.

    Traps: a statistic that depends on duplicates (distances to nearest neighbours, the number of distinct values) is
    not what it was once samples recur, and its bootstrap is wrong. Biased statistics get intervals that are off by
    as much again, so far that of few samples one may not hold its own estimate: ``centred`` moves the interval back by
    the bias that the draws show, their mean less the estimate (ibid., chapter 10). With fewer than some 50 samples the
    interval is too narrow.

    Args:
        statistic: Takes the arrays, returns one number.
        *arrays: Each (samples, ...), equally long.
        level: Between 0 and 1.
        draws: How often samples are drawn; the ends of a 95 % interval are quantiles of the outermost 2.5 % of them.
        seed: Of the draws.
        centred: Move the interval by the bias that the draws show.
        vectorised: The statistic takes arrays of (draws, samples, ...) and returns (draws,): much faster for means.

    Raises:
        ValueError: no arrays, no samples, unequal lengths, a level outside (0, 1), or fewer than 2 draws.
    """
    lengths = [len(array) for array in arrays]
    if not lengths or len(set(lengths)) > 1 or lengths[0] == 0:
        raise ValueError(f"arrays of lengths {lengths}: one or more are needed, equally long and not empty")
    _check_level(level)
    if draws < 2:
        raise ValueError(f"{draws} draws: at least 2 make an interval")
    count, random = lengths[0], np.random.default_rng(seed)
    values = np.empty(draws)
    widest = max(array[0].size for array in map(np.asarray, arrays))
    batch = max(1, BATCH_VALUES // (count * max(1, widest))) if vectorised else 1
    for start in range(0, draws, batch):
        several = min(batch, draws - start)
        chosen = random.integers(count, size=(several, count))
        drawn = [array[chosen if vectorised else chosen[0]] for array in arrays]
        values[start : start + several] = statistic(*drawn)
    whole = statistic(*[array[np.newaxis] for array in arrays])[0] if vectorised else statistic(*arrays)
    if centred:
        values -= values.mean() - whole
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(whole), float(low), float(high), level)


def mean_interval(values: ArrayLike, *, level: float = 0.95) -> Interval:
    """The mean over seeds, and the interval x̄ ± t s / √n around it (Student 1908).

    Exact if results scatter normally from seed to seed, which they do not where some seeds fail altogether: look at the
    single results then. It narrows as seeds are added; s, how far one seed is from another, does not.

    Args:
        values: One result a seed, at least two.
        level: Between 0 and 1.

    Raises:
        ValueError: fewer than two values, not one-dimensional, not finite, or a level outside (0, 1).
    """
    from scipy.stats import t

    results = np.asarray(values, dtype=np.float64)
    if results.ndim != 1 or len(results) < 2 or not np.isfinite(results).all():
        raise ValueError(f"results of shape {results.shape}: two or more finite numbers are needed, one a seed")
    _check_level(level)
    mean = float(results.mean())
    half = float(t.ppf((1 + level) / 2, len(results) - 1) * results.std(ddof=1) / np.sqrt(len(results)))
    return Interval(mean, mean - half, mean + half, level)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"a level is a number between 0 and 1, not {level}")
