"""Intervals against scipy, closed forms and their coverage."""

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


def test_interval_of_a_mean_follows_from_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(3, 2, 400)
    interval = bootstrap(mean, values, draws=4000)
    half = 1.96 * values.std() / math.sqrt(400)
    assert interval.estimate == values.mean()
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_interval_of_a_share_is_binomial() -> None:
    hits = np.repeat([1.0, 0.0], [90, 10])
    interval = bootstrap(mean, hits, level=0.9, draws=4000)
    low, high = stats.binom.ppf([0.05, 0.95], 100, 0.9) / 100
    assert interval.low == pytest.approx(low, abs=0.0101)
    assert interval.high == pytest.approx(high, abs=0.0101)
    assert interval.level == 0.9


def test_interval_equals_scipy() -> None:
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


def test_arrays_are_drawn_with_the_same_indices() -> None:
    # Two models differ on 1 % of the images: the difference has a far narrower interval than either accuracy.
    random = np.random.default_rng(2)
    first = (random.random(1000) < 0.8).astype(float)
    second = first.copy()
    second[:10] = 1 - second[:10]
    difference = bootstrap(lambda a, b: a.mean() - b.mean(), first, second)
    single = bootstrap(mean, first)
    assert difference.high - difference.low < 0.6 * (single.high - single.low)


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_vectorised_draws_are_the_same_in_batches_of_any_size(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(3).normal(size=50)
    expected = bootstrap(mean, values, draws=200, seed=4)
    monkeypatch.setattr(intervals, "BATCH_VALUES", batch * 50)
    interval = bootstrap(mean_of_rows, values, draws=200, seed=4, vectorised=True)
    assert (interval.estimate, interval.low, interval.high) == pytest.approx(
        (expected.estimate, expected.low, expected.high), abs=1e-12
    )


def test_seed_determines_the_interval() -> None:
    values = np.random.default_rng(5).normal(size=60)
    assert bootstrap(mean, values, seed=1) == bootstrap(mean, values, seed=1)
    assert bootstrap(mean, values, seed=1) != bootstrap(mean, values, seed=2)


def test_interval_grows_with_the_level_and_is_empty_for_constants() -> None:
    values = np.random.default_rng(6).normal(size=80)
    narrow, wide = bootstrap(mean, values, level=0.5), bootstrap(mean, values, level=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high
    assert bootstrap(mean, np.full(9, 2.0)) == Interval(2, 2, 2, 0.95)


def test_intervals_contain_the_true_value_as_often_as_their_level() -> None:
    random = np.random.default_rng(7)
    by_image, by_seed = 0, 0
    for number in range(400):
        interval = bootstrap(mean_of_rows, random.normal(1, 1, 80), level=0.8, draws=300, seed=number, vectorised=True)
        by_image += interval.low < 1 < interval.high
        few = mean_interval(random.normal(1, 1, 4), level=0.8)
        by_seed += few.low < 1 < few.high
    # Three standard deviations of 400 trials at 0.8 are 0.06.
    assert by_image / 400 == pytest.approx(0.8, abs=0.06)
    assert by_seed / 400 == pytest.approx(0.8, abs=0.06)


def test_interval_over_seeds_matches_an_example_by_hand() -> None:
    # 1, 2, 3: mean 2, s = 1, t(0.975, 2) = 4.30265.
    interval = mean_interval([1, 2, 3])
    assert interval.estimate == 2
    assert interval.high - 2 == pytest.approx(4.30265273 / math.sqrt(3), abs=1e-7)
    assert 2 - interval.low == pytest.approx(interval.high - 2, abs=1e-12)


def test_interval_over_seeds_equals_scipy() -> None:
    values = np.random.default_rng(8).normal(0.98, 0.01, 10)
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    ours = mean_interval(values, level=0.9)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_invalid_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[\]"):
        bootstrap(mean)
    with pytest.raises(ValueError, match=r"\[2, 3\]"):
        bootstrap(mean, np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError, match=r"\[0\]"):
        bootstrap(mean, np.zeros(0))
    with pytest.raises(ValueError, match="level is 95"):
        bootstrap(mean, np.zeros(2), level=95)
    with pytest.raises(ValueError, match="draws is 1"):
        bootstrap(mean, np.zeros(2), draws=1)
    with pytest.raises(ValueError, match=r"\(1,\)"):
        mean_interval([0.9])
    with pytest.raises(ValueError, match="finite"):
        mean_interval([0.9, float("nan")])
    with pytest.raises(ValueError, match="level is 0"):
        mean_interval([1, 2], level=0)


def test_centred_interval_subtracts_the_bias() -> None:
    values = np.random.default_rng(0).normal(1, 2, 40)

    def squared_mean(drawn: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(drawn.mean(axis=-1) ** 2)

    plain = bootstrap(squared_mean, values, draws=20_000, vectorised=True)
    centred = bootstrap(squared_mean, values, draws=20_000, vectorised=True, centred=True)
    # E[x̄²] over draws is the squared mean plus the variance of the mean.
    bias = values.var() / len(values)
    assert plain.low - centred.low == pytest.approx(bias, rel=0.1)
    assert plain.high - centred.high == pytest.approx(bias, rel=0.1)
    assert plain.estimate == centred.estimate == pytest.approx(values.mean() ** 2)
