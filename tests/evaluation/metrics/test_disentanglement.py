"""Disentanglement scores against closed forms on full grids of factors, where independence is exact."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import mutual_info_score

from infogan.evaluation.metrics.disentanglement import (
    _evenness,
    _Groups,
    betavae_score,
    dci,
    disentanglement,
    explicitness,
    factorvae_score,
    infomec,
    information_matrix,
    irs,
    mig,
    modularity,
    sap,
)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
FEW: dict[str, Any] = {"points": 600, "test_points": 400}
FEW_VOTES: dict[str, Any] = {"votes": 600, "test_votes": 400}


def grid(*sizes: int, repeats: int = 1) -> Integers:
    """Return every combination of values, equally often."""
    return np.array(list(itertools.product(*map(range, sizes))) * repeats)


def noise(samples: int, codes: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).uniform(-1, 1, (samples, codes))


def rotated(codes: Floats) -> Floats:
    """Return codes with the first two rotated by 45 degrees."""
    half, result = math.sqrt(0.5), codes.copy()
    result[:, 0], result[:, 1] = half * (codes[:, 0] + codes[:, 1]), half * (codes[:, 0] - codes[:, 1])
    return result


FACTORS = grid(2, 3, 4, 5, repeats=10)  # 1200 samples
CODES = FACTORS - FACTORS.mean(axis=0)
SQUARE = grid(5, 5, repeats=60)  # two similar factors, in 1500 samples
SQUARE_CODES = SQUARE.astype(np.float64) - 2


def test_perfect_codes_have_perfect_scores() -> None:
    scores = disentanglement(CODES, FACTORS)
    # A linear classifier does not separate the values between the first and the last; neighbours only estimate.
    others = scores.keys() - {"explicitness", "infom", "infoe", "infoc"}
    assert {name: scores[name] for name in others} == pytest.approx(dict.fromkeys(others, 1), abs=1e-9)
    assert min(scores["infom"], scores["infoc"]) > 0.95
    assert all(type(score) is float for score in scores.values())
    assert list(scores) == [
        "betavae", "factorvae", "mig", "dci_disentanglement", "dci_completeness", "dci_informativeness", "sap",
        "modularity", "explicitness", "irs", "infom", "infoe", "infoc",
    ]  # fmt: skip


def test_independent_codes_score_at_chance() -> None:
    codes = noise(1200, 4)
    scores = disentanglement(codes, FACTORS)
    assert scores["betavae"] == pytest.approx(1 / 4, abs=0.03)
    assert scores["factorvae"] == pytest.approx(1 / 4, abs=0.03)
    assert scores["explicitness"] == pytest.approx(0.5, abs=0.03)
    assert 0 < scores["mig"] < 0.02
    assert 0 < scores["sap"] < 0.01
    assert scores["dci_disentanglement"] == scores["dci_completeness"] == 0
    chance = (1 / 2 + 1 / 3 + 1 / 4 + 1 / 5) / 4
    assert scores["dci_informativeness"] == pytest.approx(chance, abs=0.04)
    assert scores["irs"] < 0.1


def test_constant_codes_score_at_chance_or_zero() -> None:
    codes = np.full((1200, 3), 0.1)
    scores = disentanglement(codes, FACTORS)
    assert scores["betavae"] == pytest.approx(1 / 4, abs=0.03)
    assert scores["explicitness"] == 0.5
    for name in ("factorvae", "mig", "sap", "modularity", "irs", "dci_disentanglement", "dci_completeness"):
        assert scores[name] == 0, name


def test_rotation_by_45_degrees_gives_the_lowest_scores_without_losing_information() -> None:
    codes = rotated(SQUARE_CODES)
    # Each code has equal information about both factors.
    assert mig(codes, SQUARE) == pytest.approx(0, abs=1e-9)
    assert modularity(codes, SQUARE) == pytest.approx(0, abs=1e-9)
    assert sap(codes, SQUARE) == pytest.approx(0, abs=1e-9)
    assert betavae_score(codes, SQUARE, **FEW) == pytest.approx(1 / 2, abs=0.08)
    assert factorvae_score(codes, SQUARE, **FEW_VOTES) == pytest.approx(1 / 2, abs=0.08)
    # The codes are (a + b)/√2 and (a - b)/√2 with a, b from -2 to 2: they vary by 2/√2 for one a, by 4/√2 overall.
    assert irs(codes, SQUARE, quantile=1) == pytest.approx(1 / 2, abs=1e-9)
    assert irs(SQUARE_CODES, SQUARE, quantile=1) == 1
    regressors: list[Any] = ["forest", "lasso"]
    for regressor in regressors:
        result = dci(codes, SQUARE, regressor=regressor)
        assert max(result.disentanglement, result.completeness) < 0.05
        assert result.informativeness > 0.99
    assert explicitness(codes, SQUARE) == pytest.approx(explicitness(SQUARE_CODES, SQUARE), abs=1e-3)


def test_more_noise_lowers_every_score() -> None:
    random = np.random.default_rng(0)
    spread = random.normal(size=CODES.shape)
    little, much = CODES + 0.05 * spread, CODES + 1.5 * spread
    for score in (mig, sap, irs, explicitness):
        assert score(little, FACTORS) > score(much, FACTORS) + 0.05
    assert dci(little, FACTORS).informativeness > dci(much, FACTORS).informativeness + 0.2
    assert factorvae_score(little, FACTORS, **FEW_VOTES) > factorvae_score(much, FACTORS, **FEW_VOTES) + 0.01


def test_votes_do_not_depend_on_the_order_of_codes() -> None:
    order = [2, 0, 3, 1]
    assert betavae_score(CODES[:, order], FACTORS, **FEW) == 1
    assert factorvae_score(CODES[:, order], FACTORS, **FEW_VOTES) == 1


@settings(max_examples=15, deadline=None)
@given(
    st.permutations(range(4)),
    st.permutations(range(4)),
    st.lists(st.floats(0.01, 100), min_size=4, max_size=4),
    st.floats(-10, 10),
)
def test_order_units_and_origins_do_not_matter(
    of_codes: list[int], of_factors: list[int], scales: list[float], shift: float
) -> None:
    codes = rotated(CODES) + 0.3 * noise(1200, 4)
    moved = (codes * scales + shift)[:, of_codes]
    factors = FACTORS[:, of_factors]
    by_mass: Callable[..., float] = lambda c, f: mig(c, f, by="mass")  # noqa: E731
    for score in (mig, by_mass, modularity, sap):
        # The edges of bins are rounded, which may move a sample across.
        assert score(moved, factors) == pytest.approx(score(codes, FACTORS), abs=0.005)
    few: dict[str, Any] = {"votes": 200, "test_votes": 200}
    assert factorvae_score(moved, FACTORS, **few) == pytest.approx(factorvae_score(codes, FACTORS, **few), abs=0.02)
    assert irs(7 * codes[:, of_codes] + shift, factors) == pytest.approx(irs(codes, FACTORS), abs=1e-6)


def test_values_of_factors_may_be_any_integers() -> None:
    # Only SAP and lasso use them as numbers, by their rank.
    unusual = np.array([-7, 3, 1000, 2000, 2001])[FACTORS].astype(np.int32)
    assert mig(CODES, unusual) == mig(CODES, FACTORS)
    assert sap(CODES, unusual) == sap(CODES, FACTORS)
    assert irs(CODES, unusual) == irs(CODES, FACTORS)


def test_pairs_share_a_value_and_are_different_samples() -> None:
    values = np.array([3, 0, 1, 0, 3, 3, 2, 0])  # 1 and 2 occur once and have no partner
    first, second = _Groups(values, 0).pairs((100, 20), np.random.default_rng(0))
    assert (values[first] == values[second]).all()
    assert (first != second).all()
    assert set(np.unique(first)) == {0, 1, 3, 4, 5, 7}
    partners = np.bincount(second[first == 4], minlength=8) / np.count_nonzero(first == 4)
    assert partners[[0, 5]] == pytest.approx([0.5, 0.5], abs=0.08)


def test_members_of_a_group_share_a_value_in_proportion_to_its_frequency() -> None:
    values = np.repeat([0, 1, 2], [60, 30, 1])
    rows = values[_Groups(values, 0).members((3000, 5), np.random.default_rng(0))]
    assert (rows == rows[:, :1]).all()
    assert np.bincount(rows[:, 0]) / 3000 == pytest.approx([2 / 3, 1 / 3], abs=0.03)


def test_dead_codes_have_no_votes() -> None:
    constant = np.full((1200, 1), 0.1)
    assert factorvae_score(np.hstack([constant, CODES]), FACTORS, **FEW_VOTES) == 1
    nearly_constant = np.zeros((1200, 1))
    nearly_constant[0] = 1e-3  # it varies least in all groups without the first sample
    codes = np.hstack([nearly_constant, CODES + 0.01 * noise(1200, 4)])
    assert factorvae_score(codes, FACTORS, **FEW_VOTES) < 0.5
    assert factorvae_score(codes, FACTORS, dead=1e-3, **FEW_VOTES) == 1
    assert factorvae_score(CODES, FACTORS, dead=100) == 0


def test_information_matrix_equals_scikit_learn() -> None:
    codes = rotated(CODES) + 0.3 * noise(1200, 4)
    result = information_matrix(codes, FACTORS, bins=7)
    for i, j in itertools.product(range(4), range(4)):
        edges = np.histogram(codes[:, i], 7)[1]
        expected = mutual_info_score(np.digitize(codes[:, i], edges[:-1]), FACTORS[:, j])
        assert result[i, j] == pytest.approx(expected, abs=1e-9)
    # On a full grid each code has the entropy of its factor, and no information about the others.
    by_mass = information_matrix(CODES, FACTORS, by="mass")
    assert by_mass == pytest.approx(np.diag(np.log([2, 3, 4, 5])), abs=1e-9)


def test_mig_matches_an_example_by_hand() -> None:
    # The first code is wrong for a quarter of the samples: it has log 2 - h(1/4), so the gap is h(1/4).
    factor = np.repeat([0, 1], 40)
    noisy = factor.copy()
    noisy[:10], noisy[40:50] = 1, 0
    gap = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    codes = np.stack([noisy, factor], axis=1).astype(float)
    assert mig(codes, factor[:, None]) == pytest.approx(gap / math.log(2), abs=1e-9)
    assert mig(codes[:, :1], factor[:, None]) == pytest.approx(1 - gap / math.log(2), abs=1e-9)
    # Two equal codes have no gap.
    assert mig(codes[:, [1, 1]], factor[:, None]) == 0


def test_mig_is_below_one_for_more_values_than_bins() -> None:
    # 40 values in 20 bins, two in each: log 20 of log 40.
    factor = grid(40, repeats=5)
    assert mig(factor.astype(float), factor) == pytest.approx(math.log(20) / math.log(40), abs=1e-9)
    assert mig(factor.astype(float), factor, bins=40) == pytest.approx(1, abs=1e-9)


def test_outlier_affects_bins_of_equal_width_but_not_of_equal_mass() -> None:
    codes = CODES + 0.01 * noise(1200, 4)
    codes[0] = 1000
    assert mig(codes, FACTORS) < 0.01
    assert mig(codes, FACTORS, by="mass") > 0.9


def test_modularity_matches_an_example_by_hand() -> None:
    # The first code has equal information about two of four factors: 1 - 1 / (4 - 1).
    factors = grid(3, 3, 3, 3)
    codes = np.stack([factors[:, 0] * 3 + factors[:, 1], factors[:, 2]], axis=1).astype(float)
    assert modularity(codes[:, :1], factors) == pytest.approx(2 / 3, abs=1e-9)
    assert modularity(codes, factors) == pytest.approx((2 / 3 + 1) / 2, abs=1e-9)
    constant = np.full((81, 1), 0.3)
    assert modularity(np.hstack([codes, constant]), factors) == pytest.approx((2 / 3 + 1) / 2, abs=1e-9)
    assert modularity(codes[:, 1:], factors[:, 2:3]) == 1


def test_codes_may_share_a_factor_by_modularity_but_not_by_mig() -> None:
    duplicated = np.hstack([CODES, CODES])
    assert modularity(duplicated, FACTORS) == pytest.approx(1, abs=1e-9)
    assert mig(duplicated, FACTORS) == sap(duplicated, FACTORS) == 0


def test_explicitness_matches_an_example_by_hand() -> None:
    # A linear score of an ordered factor: value v of V is above v / (V - 1) of the others, or below the rest.
    for sizes, expected in (((2, 2), 1), ((4, 4), (1 + 2 / 3 + 2 / 3 + 1) / 4)):
        factors = grid(*sizes, repeats=100)
        assert explicitness(factors.astype(float), factors) == pytest.approx(expected, abs=0.02)
    # A linear classifier separates indicators of each value.
    factors = grid(4, repeats=100)
    assert explicitness(np.eye(4)[factors[:, 0]], factors) == 1


def test_sap_matches_an_example_by_hand() -> None:
    # R² for a factor of variance 2 with noise of variance 1/2 is 2 / 2.5, that of the other code 0.
    random = np.random.default_rng(0)
    factors = grid(5, 5, repeats=800)
    codes = factors + random.normal(0, math.sqrt(0.5), factors.shape)
    assert sap(codes, factors) == pytest.approx(0.8, abs=0.02)


def test_sap_of_a_nominal_factor_ignores_its_order() -> None:
    factors = grid(4, 3, repeats=100)
    codes = np.stack([np.array([0.0, 3, 1, 2])[factors[:, 0]], factors[:, 1]], axis=1)
    assert sap(codes[:, :1], factors[:, :1]) == pytest.approx(np.corrcoef(codes[:, 0], factors[:, 0])[0, 1] ** 2)
    # The first code is correct for every sample, the independent second one for a quarter.
    assert sap(codes, factors[:, :1], nominal=[0]) == pytest.approx(1 - 1 / 4, abs=0.05)
    # Two thresholds separate a value in the middle, a single line does not.
    assert sap(codes[:, :1], factors[:, :1], nominal=[0]) == 1


def test_evenness_matches_examples_by_hand() -> None:
    assert _evenness(np.array([2.0, 2, 0])) == pytest.approx(math.log(2) / math.log(3), abs=1e-12)
    assert _evenness(np.array([5.0, 0])) == 0
    assert _evenness(np.ones(7)) == pytest.approx(1, abs=1e-12)
    assert _evenness(np.zeros(3)) == 1
    assert _evenness(np.ones(1)) == 0


@pytest.mark.parametrize("regressor", ["forest", "boosting", "lasso"])
def test_every_regressor_assigns_codes_to_factors(regressor: Any) -> None:
    factors = grid(2, 3, repeats=80)
    codes = np.hstack([factors + 0.05 * noise(480, 2), noise(480, 2, seed=1)])
    result = dci(codes, factors, regressor=regressor)
    assert 0.97 < result.disentanglement <= 1
    assert 0.97 < result.completeness <= 1
    assert 0.97 < result.informativeness <= 1


def test_dci_separates_incomplete_from_entangled_codes() -> None:
    factors = grid(2, 2, repeats=1000)
    a, b = factors.T
    both = (2 * a + b)[:, None].astype(float)
    result = dci(both, factors)
    assert result.completeness == 1
    assert result.disentanglement < 0.1
    half = np.stack([a + noise(4000, 1)[:, 0], a + noise(4000, 1, seed=1)[:, 0], b], axis=1)
    result = dci(half, factors)
    assert result.disentanglement > 0.95
    assert result.completeness < 0.75


def test_forest_does_not_credit_memorised_noise() -> None:
    codes = np.hstack([CODES + 0.6 * np.random.default_rng(0).normal(size=CODES.shape), noise(1200, 4)])
    result = dci(codes, FACTORS)
    assert result.informativeness < 0.8
    assert min(result.disentanglement, result.completeness) > 0.95


def test_lasso_predicts_a_nominal_factor_by_its_values() -> None:
    factors = grid(3, repeats=100)
    codes = np.eye(3)[np.array([0, 2, 1])[factors[:, 0]]]
    assert dci(codes, factors, regressor="lasso", nominal=[0]).informativeness > 0.99


def test_irs_matches_an_example_by_hand() -> None:
    # A code a + b/4 with a, b in -1, 0, 1: it varies by 1/4 for one a, by 5/4 overall.
    factors = grid(3, 3)
    a, b = (factors - 1.0).T
    codes = np.stack([a + b / 4, b], axis=1)
    first = 1 - (1 / 4) / (5 / 4)
    # Codes are weighted by how much they vary: 5/4 and 1.
    assert irs(codes, factors, quantile=1) == pytest.approx((first * 5 / 4 + 1) / (9 / 4), abs=1e-9)
    constant = np.full((9, 1), 0.1)
    assert irs(np.hstack([codes, constant]), factors, quantile=1) == pytest.approx(irs(codes, factors, quantile=1))


def test_infomec_matches_information_in_closed_form() -> None:
    random = np.random.default_rng(0)
    first, second = random.integers(0, 4, (2, 8000))
    # Of f in 0..3, f + U(0, 2) leaves a doubt between two values, except in a quarter of the samples at both ends.
    code = first + random.uniform(0, 2, 8000)
    other = second + random.uniform(0, 2, 8000)
    removed = 1 - 0.75 * math.log(2) / math.log(4)
    factors = np.stack([first, second], axis=1)
    apart = infomec(np.stack([code, other], axis=1), factors)
    assert apart.modularity == pytest.approx(1, abs=0.03)
    assert apart.compactness == pytest.approx(1, abs=0.03)
    # A second code determines the first factor. The entropies that both remove are in the ratio of `removed` to 1.
    double = infomec(np.stack([code, first + random.uniform(0, 0.5, 8000)], axis=1), first[:, None])
    assert double.modularity == 1  # there is one factor
    assert double.compactness == pytest.approx(2 * (1 / (1 + removed) - 1 / 2), abs=0.02)
    # Two codes that each are the sum of both factors have equal shares.
    mixed = code + other
    shared = infomec(np.stack([mixed, -mixed], axis=1), factors)
    assert shared.modularity == pytest.approx(0, abs=0.05)
    assert shared.compactness == pytest.approx(0, abs=0.05)


def test_explicitness_of_infomec_is_the_entropy_that_a_line_removes() -> None:
    random = np.random.default_rng(0)
    factor = random.integers(0, 2, 4000)[:, None]
    separable = infomec(factor + random.uniform(-0.1, 0.1, (4000, 1)), factor).explicitness
    assert separable == pytest.approx(1, abs=0.02)
    assert infomec(noise(4000, 2), factor).explicitness == pytest.approx(0, abs=0.01)
    # Normal codes at -1 and 1: the posterior is logistic, so the regression is exact.
    normal = random.normal(2 * factor - 1, 1)
    probability = 1 / (1 + np.exp(-2 * normal))
    entropy = -np.mean(np.log(np.where(factor == 1, probability, 1 - probability)))
    assert infomec(normal, factor).explicitness == pytest.approx(1 - entropy / math.log(2), abs=0.005)


def test_infomec_leaves_out_codes_that_hardly_vary() -> None:
    random = np.random.default_rng(0)
    codes = np.concatenate([SQUARE_CODES, random.uniform(-0.05, 0.05, (len(SQUARE), 2))], axis=1)
    assert infomec(codes, SQUARE).modularity == pytest.approx(infomec(SQUARE_CODES, SQUARE).modularity)
    assert infomec(np.zeros((50, 2)), SQUARE[:50]) == (0, 0, 0)


def test_seed_determines_the_scores() -> None:
    codes = rotated(CODES) + 0.3 * noise(1200, 4)
    for score in (betavae_score, factorvae_score):
        few = FEW if score is betavae_score else FEW_VOTES
        assert score(codes, FACTORS, seed=3, **few) == score(codes, FACTORS, seed=3, **few)
        assert score(codes, FACTORS, seed=3, **few) != score(codes, FACTORS, seed=4, **few)
    assert dci(codes, FACTORS, seed=1) == dci(codes, FACTORS, seed=1)


SCORES: list[Callable[..., Any]] = [betavae_score, factorvae_score, mig, modularity, explicitness, sap, dci, irs]


@pytest.mark.parametrize("score", SCORES)
def test_every_score_checks_its_input(score: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="factor 1 has a single value"):
        score(np.zeros((2, 1)), np.array([[0, 5], [1, 5]]))


@pytest.mark.parametrize(
    ("codes", "factors", "message"),
    [
        (np.zeros(4), np.zeros((4, 1), np.int64), r"\(4,\).*\(4, 1\)"),
        (np.zeros((4, 2)), np.zeros((3, 1), np.int64), r"\(4, 2\).*\(3, 1\)"),
        (np.zeros((4, 0)), np.zeros((4, 1), np.int64), r"\(4, 0\)"),
        (np.array([[0], [np.nan]]), np.array([[0], [1]]), "finite"),
    ],
)
def test_invalid_input_is_refused(codes: Any, factors: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mig(codes, factors)


def test_invalid_options_are_refused() -> None:
    with pytest.raises(ValueError, match=r"nominal factor 4.*0 to 3"):
        sap(CODES, FACTORS, nominal=[4])
    with pytest.raises(ValueError, match="bins is 1"):
        mig(CODES, FACTORS, bins=1)
    with pytest.raises(ValueError, match="quantile is 0"):
        irs(CODES, FACTORS, quantile=0)
    with pytest.raises(ValueError, match="factor 0"):
        betavae_score(noise(5, 2), np.arange(5)[:, None])
    with pytest.raises(ValueError, match="3 samples"):
        explicitness(noise(3, 2), np.array([[0], [0], [1]]))
