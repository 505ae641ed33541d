"""Clustering metrics against hand-computed cases, scikit-learn, brute force, and their known properties."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as reference

from infogan.evaluation.metrics.clustering import (
    MIN_PROBABILITY,
    Calibration,
    accuracy,
    ari,
    calibration,
    contingency,
    hungarian_mapping,
    nmi,
    purity,
)

Pair = tuple[NDArray[np.int64], NDArray[np.int64]]

# Cluster 0 holds labels 1 1 1 0, cluster 1 holds 0 0, cluster 2 holds 1 2.
PREDICTED = np.array([0, 0, 0, 0, 1, 1, 2, 2])
LABELS = np.array([1, 1, 1, 0, 0, 0, 1, 2])
CLUSTERS, CLASSES = 4, 5  # upper bounds for what `pairs` draws


@st.composite
def pairs(draw: st.DrawFn) -> Pair:
    """Draw clusters and labels of 1 to 30 images."""
    both = draw(st.lists(st.tuples(st.integers(0, CLUSTERS - 1), st.integers(0, CLASSES - 1)), min_size=1, max_size=30))
    return np.array([k for k, _ in both]), np.array([c for _, c in both])


def fitted_accuracy(predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    return accuracy(hungarian_mapping(predicted, labels, CLUSTERS, CLASSES), predicted, labels)


def test_contingency_matches_a_table_by_hand() -> None:
    assert contingency(PREDICTED, LABELS, 3, 3).tolist() == [[1, 3, 0], [2, 0, 0], [0, 1, 1]]


def test_contingency_of_narrow_integers_does_not_overflow() -> None:
    table = contingency(np.array([99], dtype=np.uint8), np.array([99], dtype=np.uint8), 100, 100)
    assert table[99, 99] == table.sum() == 1


def test_mapping_and_accuracy_match_a_table_by_hand() -> None:
    mapping = hungarian_mapping(PREDICTED, LABELS, 3, 3)
    assert mapping.tolist() == [1, 0, 2]
    assert accuracy(mapping, PREDICTED, LABELS) == 6 / 8


def test_mapping_is_optimal_where_a_greedy_one_is_not() -> None:
    # A greedy mapping gives cluster 0 its most common class, 0: 3 + 0 images agree. The best mapping has 2 + 2.
    predicted = np.array([0] * 5 + [1] * 2)
    labels = np.array([0, 0, 0, 1, 1, 0, 0])
    assert hungarian_mapping(predicted, labels, 2, 2).tolist() == [1, 0]


def test_purity_lets_two_clusters_share_a_class() -> None:
    predicted, labels = np.array([0, 0, 1, 1, 1]), np.array([0, 0, 0, 0, 1])
    assert purity(predicted, labels) == 4 / 5
    assert fitted_accuracy(predicted, labels) == 3 / 5


def test_nmi_matches_a_table_by_hand() -> None:
    # A halving against a quartering that refines it: I = log 2, H = log 2 and log 4, so 2 log 2 / (log 2 + log 4).
    assert nmi(np.array([0, 0, 1, 1]), np.array([0, 1, 2, 3])) == pytest.approx(2 / 3, abs=1e-12)


def test_ari_matches_a_table_by_hand() -> None:
    # n = [[2, 0], [1, 1]]: 1 pair together; 2 pairs in clusters, 3 in classes, 6 in all: (1 - 1) / (2.5 - 1) = 0.
    assert ari(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1])) == 0
    # Two crossed halvings: 0 pairs together; (0 - 2/3) / (2 - 2/3).
    assert ari(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])) == pytest.approx(-0.5, abs=1e-12)


def test_renumbered_partition_is_perfect() -> None:
    predicted = np.array([2, 2, 0, 0, 1])
    labels = np.array([0, 0, 1, 1, 2])
    assert hungarian_mapping(predicted, labels, 3, 3).tolist() == [1, 2, 0]
    assert fitted_accuracy(predicted, labels) == purity(predicted, labels) == ari(predicted, labels) == 1
    assert nmi(predicted, labels) == pytest.approx(1, abs=1e-12)


def test_single_cluster_has_no_information() -> None:
    predicted, labels = np.zeros(6, dtype=np.int64), np.array([0, 0, 1, 1, 2, 2])
    assert nmi(predicted, labels) == ari(predicted, labels) == 0
    assert fitted_accuracy(predicted, labels) == purity(predicted, labels) == 1 / 3


@pytest.mark.parametrize("count", [1, 4])
def test_two_trivial_partitions_are_equal(count: int) -> None:
    everything = np.zeros(count, dtype=np.int64)
    assert nmi(everything, everything) == ari(everything, everything) == 1


def test_surplus_clusters_are_unmatched_and_agree_with_no_label() -> None:
    predicted, labels = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 0, 0, 1, 1, 1])
    mapping = hungarian_mapping(predicted, labels, 3, 2)
    assert mapping.tolist() == [0, -1, 1]
    assert accuracy(mapping, predicted, labels) == 5 / 6


def test_mapping_fitted_on_train_is_not_refitted_on_test() -> None:
    mapping = hungarian_mapping(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]), 2, 2)
    assert accuracy(mapping, np.array([0, 1]), np.array([1, 0])) == 0


@given(pairs())
def test_mapping_is_as_good_as_the_best_by_brute_force(pair: Pair) -> None:
    predicted, labels = pair
    best = max(
        accuracy(np.array(classes), predicted, labels) for classes in itertools.permutations(range(CLASSES), CLUSTERS)
    )
    assert fitted_accuracy(predicted, labels) == best


@given(pairs())
def test_mapping_is_one_to_one(pair: Pair) -> None:
    predicted, labels = pair
    few_clusters = hungarian_mapping(predicted, labels, CLUSTERS, CLASSES)
    assert len(few_clusters) == CLUSTERS == len(set(few_clusters.tolist()) - {-1})
    many_clusters = hungarian_mapping(labels, predicted, CLASSES, CLUSTERS)
    assert sorted(many_clusters.tolist()) == [-1, *range(CLUSTERS)]


@given(pairs(), st.permutations(range(CLUSTERS)), st.permutations(range(CLASSES)))
def test_metrics_do_not_depend_on_numbering(pair: Pair, of_clusters: list[int], of_classes: list[int]) -> None:
    predicted, labels = pair
    renumbered = np.array(of_clusters)[predicted], np.array(of_classes)[labels]
    for metric in (fitted_accuracy, purity, nmi, ari):
        assert metric(*renumbered) == pytest.approx(metric(predicted, labels), abs=1e-12)


@given(pairs())
def test_accuracy_never_exceeds_purity(pair: Pair) -> None:
    assert fitted_accuracy(*pair) <= purity(*pair) <= 1


@given(pairs())
def test_nmi_and_ari_are_symmetric_and_equal_to_scikit_learn(pair: Pair) -> None:
    predicted, labels = pair
    assert nmi(predicted, labels) == pytest.approx(reference.normalized_mutual_info_score(labels, predicted), abs=1e-9)
    assert ari(predicted, labels) == pytest.approx(reference.adjusted_rand_score(labels, predicted), abs=1e-9)
    assert nmi(labels, predicted) == pytest.approx(nmi(predicted, labels), abs=1e-12)
    assert ari(labels, predicted) == pytest.approx(ari(predicted, labels), abs=1e-12)


@given(pairs())
def test_contingency_equals_scikit_learn(pair: Pair) -> None:
    predicted, labels = pair
    table = contingency(predicted, labels, CLUSTERS, CLASSES)
    confusion = reference.confusion_matrix(labels, predicted, labels=range(CLASSES))
    assert (confusion[:, :CLUSTERS] == table.T).all()


def test_independent_partitions_score_near_zero() -> None:
    rng = np.random.default_rng(0)
    predicted, labels = rng.integers(0, 10, 20_000), rng.integers(0, 10, 20_000)
    assert 0 < nmi(predicted, labels) < 0.002
    assert abs(ari(predicted, labels)) < 0.001


@pytest.mark.parametrize("metric", [purity, nmi, ari, lambda p, y: contingency(p, y, 2, 2)])
@pytest.mark.parametrize(
    ("predicted", "labels", "message"),
    [
        ([], [], "at least one image"),
        ([0, 1], [0], r"shape \(2,\) and labels \(1,\)"),
        ([[0, 1]], [[0, 1]], "equal length"),
        ([-1, 0], [0, 0], "cluster -1 .* allowed are 0 to"),
        ([0, 0], [0, -2], "label -2 .* allowed are 0 to"),
    ],
)
def test_invalid_input_is_refused(metric, predicted: list[int], labels: list[int], message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        metric(np.array(predicted, dtype=np.int64), np.array(labels, dtype=np.int64))


def test_numbers_out_of_range_are_refused() -> None:
    two, three = np.array([0, 1]), np.array([0, 2])
    with pytest.raises(ValueError, match=r"cluster 2 .* allowed are 0 to 1"):
        hungarian_mapping(three, two, 2, 2)
    with pytest.raises(ValueError, match=r"label 2 .* allowed are 0 to 1"):
        hungarian_mapping(two, three, 2, 2)
    with pytest.raises(ValueError, match=r"cluster 2 .* allowed are 0 to 1"):
        accuracy(np.array([0, 1]), three, two)
    with pytest.raises(ValueError, match="at least one image"):
        accuracy(np.array([0, 1]), np.array([], dtype=np.int64), np.array([], dtype=np.int64))


def two_clusters(
    confidence: NDArray[np.float64], correct: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return probabilities of two clusters, the first one more probable, and labels."""
    return np.stack([confidence, 1 - confidence], axis=1), np.where(correct, 0, 1)


def test_calibration_matches_an_example_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1, 0], [0.6, 0.2, 0.2], [0.1, 0.1, 0.8], [0.3, 0.4, 0.3]])
    mapping, labels = np.array([1, 0, 2]), np.array([1, 0, 2, 0])
    # Two bins: confidences 0.4, 0.6 with one of two right, then 0.8, 0.9 with both.
    result = calibration(mapping, probabilities, labels, 3, bins=2)
    assert result.error == pytest.approx((abs(1.0 - 1) + abs(1.7 - 2)) / 4, abs=1e-12)
    # For the probabilities of classes, e.g. (0.1, 0.9, 0) for the first image, which has label 1.
    squares = [0.01 + 0.01, 0.8**2 + 0.6**2 + 0.2**2, 0.1**2 + 0.1**2 + 0.2**2, 0.6**2 + 0.3**2 + 0.3**2]
    assert result.brier == pytest.approx(sum(squares) / 4, abs=1e-12)
    assert result.log_loss == pytest.approx(-math.log(0.9 * 0.2 * 0.8 * 0.4) / 4, abs=1e-12)


def test_certain_and_correct_is_best_and_certain_and_wrong_is_worst() -> None:
    mapping, labels = np.array([1, 0]), np.array([0, 1, 1])
    correct = np.eye(2)[[1, 0, 0]]
    assert calibration(mapping, correct, labels, 2) == Calibration(0, 0, 0)
    worst = calibration(mapping, correct[:, ::-1], labels, 2)
    assert (worst.error, worst.brier) == (1, 2)
    assert worst.log_loss == pytest.approx(-math.log(MIN_PROBABILITY), abs=1e-12)


def test_brier_and_log_loss_equal_scikit_learn() -> None:
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(4) * 0.5, 300)
    labels, mapping = random.integers(4, size=300), np.array([2, 0, 3, 1])
    class_probabilities = probabilities[:, np.argsort(mapping)]
    result = calibration(mapping, probabilities, labels, 4)
    assert result.brier == pytest.approx(
        reference.brier_score_loss(labels, class_probabilities, scale_by_half=False, labels=range(4)), abs=1e-9
    )
    clipped = np.maximum(class_probabilities, MIN_PROBABILITY)
    assert result.log_loss == pytest.approx(-np.log(clipped[np.arange(300), labels]).mean(), abs=1e-12)
    assert result.log_loss == pytest.approx(reference.log_loss(labels, class_probabilities, labels=range(4)), abs=1e-3)


def test_calibration_error_is_the_excess_of_confidence() -> None:
    random = np.random.default_rng(1)
    confidence = random.uniform(0.5, 1, 30_000)
    correct = random.random(30_000) < confidence
    identity = np.array([0, 1])
    calibrated = calibration(identity, *two_clusters(confidence, correct), 2)
    # The expected error by chance is 0.4 / √2000 = 0.009.
    assert 0.002 < calibrated.error < 0.015
    overconfident = calibration(identity, *two_clusters(0.5 + confidence / 2, correct), 2)
    assert overconfident.error == pytest.approx(np.mean(0.5 - confidence / 2), abs=0.01)
    assert overconfident.log_loss > calibrated.log_loss
    assert overconfident.brier > calibrated.brier


def test_equal_confidences_share_a_bin_in_any_order_of_images() -> None:
    # Half of the predictions with confidence 0.75 are correct; two bins of correct and of wrong ones give 0.25 + 0.75.
    probabilities, labels = two_clusters(np.full(100, 0.75), np.arange(100) < 50)
    result = calibration(np.array([0, 1]), probabilities, labels, 2)
    assert result.error == pytest.approx(0.25, abs=1e-12)
    order = np.random.default_rng(0).permutation(100)
    shuffled = calibration(np.array([0, 1]), probabilities[order], labels[order], 2)
    assert shuffled.error == pytest.approx(0.25, abs=1e-12)


def test_bins_contain_equally_many_images() -> None:
    # Confidence is 0.90 to 0.99 for ninety images and 0.5 for ten. In bins of equal width, the ninety would cancel out.
    confidence = np.concatenate([np.linspace(0.9, 0.99, 90), np.full(10, 0.5)])
    correct = np.concatenate([np.arange(90) >= 45, np.zeros(10, bool)])
    result = calibration(np.array([0, 1]), *two_clusters(confidence, correct), 2, bins=2)
    # The less confident half: 10 with 0.5 and the 40 lowest of the others, none correct.
    low, high = confidence[:40].sum() + 5, confidence[40:90].sum() - 45
    assert result.error == pytest.approx((low + abs(high)) / 100, abs=1e-12)
    assert calibration(np.array([0, 1]), *two_clusters(confidence, correct), 2, bins=1).error == pytest.approx(
        abs(confidence.sum() - 45) / 100, abs=1e-12
    )


def test_unmatched_clusters_and_classes_raise_all_errors() -> None:
    surplus = calibration(np.array([0, -1, 1]), np.array([[0.2, 0.8, 0], [0.5, 0.2, 0.3]]), np.array([0, 1]), 2)
    assert surplus.error == pytest.approx((0.8 + 0.5) / 2, abs=1e-12)
    assert surplus.brier == pytest.approx((0.8**2 + 0.5**2 + 0.7**2) / 2, abs=1e-12)
    assert surplus.log_loss == pytest.approx(-math.log(0.2 * 0.3) / 2, abs=1e-12)
    missing = calibration(np.array([0]), np.ones((2, 1)), np.array([0, 1]), 2)
    assert missing.log_loss == pytest.approx(-math.log(MIN_PROBABILITY) / 2, abs=1e-12)


def test_probabilities_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(images, 2\)"):
        calibration(np.array([0, 1]), np.ones((2, 3)) / 3, np.array([0, 1]), 2)
    with pytest.raises(ValueError, match=r"shape \(2,\) and labels \(1,\)"):
        calibration(np.array([0, 1]), np.ones((2, 2)) / 2, np.array([0]), 2)
    with pytest.raises(ValueError, match=r"label 2 .* allowed are 0 to 1"):
        calibration(np.array([0, 1]), np.ones((2, 2)) / 2, np.array([0, 2]), 2)
