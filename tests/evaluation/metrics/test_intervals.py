"""Intervals against scipy's, closed forms and their coverage."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from infogan.evaluation.metrics import intervals
from infogan.evaluation.metrics.intervals import Interval, bootstrap, mean_interval


def mean(values: NDArray[np.float64]) -> float:
    return float(values.mean())


def mean_of_rows(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(values.mean(axis=1))


def test_the_interval_of_a_mean_is_that_of_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(3, 2, 400)
    found = bootstrap(mean, values, draws=4000)
    half = 1.96 * values.std() / math.sqrt(400)
    assert found.estimate == values.mean()
    assert found.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_a_share_has_a_binomial_interval() -> None:
    hits = np.repeat([1.0, 0.0], [90, 10])
    found = bootstrap(mean, hits, level=0.9, draws=4000)
    low, high = stats.binom.ppf([0.05, 0.95], 100, 0.9) / 100
    assert found.low == pytest.approx(low, abs=0.0101)
    assert found.high == pytest.approx(high, abs=0.0101)
    assert found.level == 0.9


def test_the_interval_is_that_of_scipy() -> None:
    random = np.random.default_rng(1)
    x = random.exponential(size=200)
    y = x + random.normal(size=200)

    def correlation(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
        return float(np.corrcoef(x, y)[0, 1])

    theirs = stats.bootstrap(
        (x, y), correlation, paired=True, vectorized=False, method="percentile", n_resamples=3000, rng=random
    ).confidence_interval
    ours = bootstrap(correlation, x, y, draws=3000)
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.12 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.12 * width)


def test_pairs_stay_together() -> None:
    # Two models that differ on one image in a hundred: the difference is far surer than either accuracy.
    random = np.random.default_rng(2)
    first = (random.random(1000) < 0.8).astype(float)
    second = first.copy()
    second[:10] = 1 - second[:10]
    difference = bootstrap(lambda a, b: a.mean() - b.mean(), first, second)
    single = bootstrap(mean, first)
    assert difference.high - difference.low < 0.6 * (single.high - single.low)


@pytest.mark.parametrize("several", [1, 7, 1000])
def test_vectorised_draws_are_the_same_draws_in_batches_of_any_size(
    several: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.random.default_rng(3).normal(size=50)
    whole = bootstrap(mean, values, draws=200, seed=4)
    monkeypatch.setattr(intervals, "BATCH_VALUES", several * 50)
    found = bootstrap(mean_of_rows, values, draws=200, seed=4, vectorised=True)
    assert (found.estimate, found.low, found.high) == pytest.approx((whole.estimate, whole.low, whole.high), abs=1e-12)


def test_a_seed_gives_the_same_interval_and_another_another() -> None:
    values = np.random.default_rng(5).normal(size=60)
    assert bootstrap(mean, values, seed=1) == bootstrap(mean, values, seed=1)
    assert bootstrap(mean, values, seed=1) != bootstrap(mean, values, seed=2)


def test_wider_levels_hold_narrower_ones_and_constants_have_no_width() -> None:
    values = np.random.default_rng(6).normal(size=80)
    half, most = bootstrap(mean, values, level=0.5), bootstrap(mean, values, level=0.99)
    assert most.low < half.low < half.high < most.high
    assert bootstrap(mean, np.full(9, 2.0)) == Interval(2, 2, 2, 0.95)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    random = np.random.default_rng(7)
    held, by_seed = 0, 0
    for number in range(400):
        found = bootstrap(mean_of_rows, random.normal(1, 1, 80), level=0.8, draws=300, seed=number, vectorised=True)
        held += found.low < 1 < found.high
        few = mean_interval(random.normal(1, 1, 4), level=0.8)
        by_seed += few.low < 1 < few.high
    # Three standard deviations of 400 trials at 0.8 are 0.06.
    assert held / 400 == pytest.approx(0.8, abs=0.06)
    assert by_seed / 400 == pytest.approx(0.8, abs=0.06)


def test_the_interval_of_a_mean_over_seeds_by_hand() -> None:
    # 1, 2, 3: mean 2, s = 1, t(0.975, 2) = 4.30265.
    found = mean_interval([1, 2, 3])
    assert found.estimate == 2
    assert found.high - 2 == pytest.approx(4.30265273 / math.sqrt(3), abs=1e-7)
    assert 2 - found.low == pytest.approx(found.high - 2, abs=1e-12)


def test_the_interval_of_a_mean_over_seeds_is_that_of_scipy() -> None:
    values = np.random.default_rng(8).normal(0.98, 0.01, 10)
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    ours = mean_interval(values, level=0.9)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"arrays of lengths \[\]"):
        bootstrap(mean)
    with pytest.raises(ValueError, match=r"arrays of lengths \[2, 3\]"):
        bootstrap(mean, np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError, match=r"arrays of lengths \[0\]"):
        bootstrap(mean, np.zeros(0))
    with pytest.raises(ValueError, match=r"a level is a number between 0 and 1, not 95"):
        bootstrap(mean, np.zeros(2), level=95)
    with pytest.raises(ValueError, match="1 draws"):
        bootstrap(mean, np.zeros(2), draws=1)
    with pytest.raises(ValueError, match=r"results of shape \(1,\)"):
        mean_interval([0.9])
    with pytest.raises(ValueError, match="two or more finite numbers"):
        mean_interval([0.9, float("nan")])
    with pytest.raises(ValueError, match="a level is a number between 0 and 1, not 0"):
        mean_interval([1, 2], level=0)


def test_a_bias_that_draws_show_is_taken_back() -> None:
    values = np.random.default_rng(0).normal(1, 2, 40)

    def squared_mean(drawn: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(drawn.mean(axis=-1) ** 2)

    plain = bootstrap(squared_mean, values, draws=20_000, vectorised=True)
    centred = bootstrap(squared_mean, values, draws=20_000, vectorised=True, centred=True)
    # E[x̄²] over draws is the squared mean and the variance of a mean of as many.
    bias = values.var() / len(values)
    assert plain.low - centred.low == pytest.approx(bias, rel=0.1)
    assert plain.high - centred.high == pytest.approx(bias, rel=0.1)
    assert plain.estimate == centred.estimate == pytest.approx(values.mean() ** 2)
