"""Estimates of information against closed forms, scikit-learn, and their known properties."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.feature_selection import mutual_info_regression
from sklearn.metrics import mutual_info_score

from infogan.evaluation.metrics.information import categorical_information, continuous_information


def gaussian_pair(correlation: float, count: int, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    random = np.random.default_rng(seed)
    x, noise = random.normal(size=(2, count))
    return x, correlation * x + math.sqrt(1 - correlation**2) * noise


def test_information_of_a_perfect_prediction_is_the_entropy() -> None:
    code = np.repeat([0, 1, 2], [2, 3, 5])
    entropy = -(0.2 * math.log(0.2) + 0.3 * math.log(0.3) + 0.5 * math.log(0.5))
    assert categorical_information(code, (code + 1) % 3, corrected=False) == pytest.approx(entropy, abs=1e-12)
    # 3 codes, 3 readings and 3 cells occur, so (3 + 3 - 3 - 1) / (2 * 10) is added: Miller's term for H = I.
    assert categorical_information(code, code) == pytest.approx(entropy + 2 / 20, abs=1e-12)


def test_information_matches_a_table_by_hand() -> None:
    # n = [[2, 1], [0, 1]]: H(c) = H(3/4), H(r) = log 2, H(c, r) = -(1/2 log 1/2 + 2 * 1/4 log 1/4) = 3/2 log 2.
    code, reading = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    code_entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    expected = code_entropy + math.log(2) - 1.5 * math.log(2)
    assert categorical_information(code, reading, corrected=False) == pytest.approx(expected, abs=1e-12)
    assert categorical_information(code, reading) == pytest.approx(expected + (2 + 2 - 3 - 1) / 8, abs=1e-12)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=40))
def test_plug_in_estimate_equals_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    code, reading = np.array(pairs).T
    ours = categorical_information(code, reading, corrected=False)
    assert ours == pytest.approx(mutual_info_score(code, reading), abs=1e-9)
    assert categorical_information(reading, code) == pytest.approx(categorical_information(code, reading), abs=1e-12)


def test_correction_removes_the_bias_of_independent_numbers() -> None:
    random = np.random.default_rng(0)
    plain, corrected = [], []
    for _ in range(200):
        code, reading = random.integers(10, size=(2, 1000))
        plain.append(categorical_information(code, reading, corrected=False))
        corrected.append(categorical_information(code, reading))
    assert np.mean(plain) == pytest.approx(81 / 2000, rel=0.1)  # (10 - 1)² / 2N
    error = np.std(corrected) / math.sqrt(200)
    assert 0 < error < 0.001
    assert abs(np.mean(corrected)) < 0.0025


@pytest.mark.parametrize("correlation", [0.0, 0.5, -0.9, 0.99])
@pytest.mark.parametrize("neighbours", [1, 3, 10])
def test_information_of_a_bivariate_gaussian_has_a_closed_form(correlation: float, neighbours: int) -> None:
    expected = -0.5 * math.log(1 - correlation**2)
    estimates = [
        continuous_information(*gaussian_pair(correlation, 3000, seed), neighbours=neighbours) for seed in range(5)
    ]
    assert np.mean(estimates) == pytest.approx(expected, abs=0.035)
    assert np.std(estimates) < 0.06


def test_information_of_a_uniform_code_with_uniform_noise_has_a_closed_form() -> None:
    # Y = X + U with X, U uniform of widths 2 and w < 2: I = h(Y) - h(U) = log(2 / w) + w / 4.
    random = np.random.default_rng(0)
    code, width = random.uniform(-1, 1, 20_000), 0.4
    reading = code + random.uniform(-width / 2, width / 2, 20_000)
    assert continuous_information(code, reading) == pytest.approx(math.log(2 / width) + width / 4, abs=0.03)


def test_continuous_estimate_is_close_to_scikit_learn() -> None:
    for correlation in (0.3, 0.8):
        code, reading = gaussian_pair(correlation, 2000, seed=3)
        theirs = mutual_info_regression(code[:, None], reading, n_neighbors=3, random_state=0)[0]
        assert continuous_information(code, reading) == pytest.approx(theirs, abs=0.01)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.001, 1000), st.floats(-100, 100), st.booleans(), st.integers(0, 5))
def test_units_signs_and_order_of_arguments_do_not_matter(scale: float, shift: float, flipped: bool, seed: int) -> None:
    code, reading = gaussian_pair(0.7, 300, seed)
    information = continuous_information(code, reading)
    moved = (-1 if flipped else 1) * scale * reading + shift
    assert continuous_information(code, moved) == pytest.approx(information, abs=1e-6)
    assert continuous_information(reading, code) == pytest.approx(information, abs=1e-6)


def test_monotone_function_preserves_information() -> None:
    code, reading = gaussian_pair(0.8, 5000, seed=1)
    assert continuous_information(code, np.exp(reading)) == pytest.approx(-0.5 * math.log(1 - 0.64), abs=0.05)


def test_dependence_without_correlation_is_detected() -> None:
    code = np.random.default_rng(0).uniform(-1, 1, 5000)
    reading = np.abs(code) + np.random.default_rng(1).normal(0, 0.1, 5000)
    assert abs(np.corrcoef(code, reading)[0, 1]) < 0.05
    assert continuous_information(code, reading) > 0.7


def test_sign_of_a_code_has_information_log_two() -> None:
    # Thousands of equal numbers, whose third neighbour would be at distance 0 without jitter.
    code = np.random.default_rng(0).uniform(-1, 1, 5000)
    assert continuous_information(code, np.sign(code)) == pytest.approx(math.log(2), abs=0.02)
    assert continuous_information(np.sign(code), np.sign(code)) == pytest.approx(math.log(2), abs=0.05)


def test_constants_and_shuffled_predictions_have_no_information() -> None:
    code, reading = gaussian_pair(0.99, 4000)
    assert continuous_information(code, np.full(4000, 0.1)) == 0
    assert continuous_information(np.zeros(4000), reading) == 0
    shuffled = np.random.default_rng(5).permutation(reading)
    assert abs(continuous_information(code, shuffled)) < 0.04
    assert categorical_information(np.zeros(9, np.int64), np.arange(9)) == pytest.approx(0, abs=1e-12)


def test_more_noise_reduces_information() -> None:
    # The data processing inequality for code, reading, and the reading with more noise.
    code, reading = gaussian_pair(0.9, 5000)
    blurred = reading + np.random.default_rng(9).normal(0, 1, 5000)
    assert continuous_information(code, blurred) < continuous_information(code, reading) - 0.3


def test_invalid_input_is_refused() -> None:
    two, three = np.zeros(2), np.zeros(3)
    with pytest.raises(ValueError, match=r"\(2,\).*\(3,\)"):
        continuous_information(two, three)
    with pytest.raises(ValueError, match="neighbours is 3"):
        continuous_information(three, three)
    with pytest.raises(ValueError, match="neighbours is 0"):
        continuous_information(three, three, neighbours=0)
    with pytest.raises(ValueError, match="finite"):
        continuous_information(np.arange(4.0), np.array([0, 1, np.nan, 2]))
    with pytest.raises(ValueError, match="at least one image"):
        categorical_information(np.zeros(0, np.int64), np.zeros(0, np.int64))
    with pytest.raises(ValueError, match="cluster -1"):
        categorical_information(np.array([-1, 0]), np.array([0, 0]))
