"""Corrections spread to similar images, and typical images are asked for first."""

import numpy as np
import pytest
from numpy.typing import NDArray

from infogan.training import refine
from infogan.training.feature_head import FeatureHead
from infogan.training.refine import held_out_accuracy, neighbour_graph, refine_head, spread, typical_images
from tests.training.test_separation import kinds

GROUPS, SIZE = 5, 120
Space = NDArray[np.float32]


def head_of(weights: NDArray[np.float64]) -> FeatureHead:
    """Return a head whose space is that of its vectors."""
    categories, dimensions = weights.shape
    arrays = np.zeros(dimensions), np.eye(dimensions), weights, np.zeros(categories)
    return FeatureHead(*(array.astype(np.float32) for array in arrays))


@pytest.fixture
def groups() -> tuple[Space, NDArray[np.int64], FeatureHead]:
    """Points around five axes, the axis of each, and a head that files the points of the first two together."""
    points, labels = kinds((SIZE,) * GROUPS)
    weights = 5 * np.eye(GROUPS, points.shape[1])
    weights[0] += weights[1]
    weights[1] *= 0
    return points, labels, head_of(weights)


def test_labels_spread_as_the_closed_form_says(monkeypatch: pytest.MonkeyPatch) -> None:
    points, labels = kinds((30, 20, 10))
    before = np.full((60, 3), 1 / 3, np.float32)
    corrections = {0: 0, 31: 1, 55: 2}
    graph, _ = neighbour_graph(points)
    start = before * refine.prior_weights(before, corrections)[:, np.newaxis]
    for row, value in corrections.items():
        start[row] = np.eye(3)[value]
    closed = np.linalg.solve(np.eye(60) - refine.RETAINED * graph.toarray(), start)
    monkeypatch.setattr(refine, "STEPS", 2000)
    found = spread(graph, before, corrections)
    np.testing.assert_allclose(found, closed / closed.sum(axis=1, keepdims=True), rtol=1e-4)
    assert (found.argmax(axis=1) == labels).all()


def test_images_that_are_surely_right_count_more() -> None:
    sure = np.array([[0.99, 0.01]] * 50 + [[0.6, 0.4]] * 50, np.float32)
    right_if_sure = {row: 0 for row in range(10)} | {row: row % 2 for row in range(50, 60)}
    weights = refine.prior_weights(sure, right_if_sure)
    assert weights[0] > 2 * weights[50]
    assert weights.min() >= np.sqrt(refine.MIN_ODDS) * 20 / 100 - 1e-9
    assert weights.max() <= np.sqrt(refine.MAX_ODDS) * 20 / 100 + 1e-9
    # A head that is wrong where it is sure is not believed more there.
    wrong_if_sure = {row: 1 for row in range(10)} | {row: 0 for row in range(50, 60)}
    weights = refine.prior_weights(sure, wrong_if_sure)
    assert weights[0] <= weights[50]
    for corrections in ({0: 0, 1: 0}, {0: 1, 1: 1}):  # all right, or all wrong
        assert np.isfinite(refine.prior_weights(sure, corrections)).all()


def test_corrections_of_doubtful_images_do_not_spread_to_images_beyond_doubt() -> None:
    points, labels = kinds((300, 300))
    head = head_of(12 * np.eye(2, 16))
    before = head.of_space(points)
    assert (before.argmax(axis=1) == labels).mean() > 0.99
    doubtful = np.argsort(before.max(axis=1))[:20]
    corrections = {int(row): 1 - int(before[row].argmax()) for row in doubtful}  # all are filed elsewhere
    after = refine_head(head, points, corrections).of_space(points).argmax(axis=1)
    certain = np.argsort(-before.max(axis=1))[:400]
    assert (after[certain] == labels[certain]).all()


def test_the_graph_is_symmetric_and_normalised() -> None:
    points, _ = kinds((40, 40))
    graph, typicality = neighbour_graph(points)
    dense = graph.toarray()
    np.testing.assert_allclose(dense, dense.T, atol=1e-12)
    assert np.linalg.eigvalsh(dense).max() == pytest.approx(1)
    assert (np.diag(dense) == 0).all()
    cosines = np.sort(points @ points.T, axis=1)[:, -1 - refine.NEIGHBOURS : -1]  # the last one is the point itself
    np.testing.assert_allclose(typicality, cosines.mean(axis=1), rtol=1e-5)


def test_few_corrections_separate_two_groups(groups: tuple[Space, NDArray[np.int64], FeatureHead]) -> None:
    points, labels, head = groups
    before = head.of_space(points).argmax(axis=1)
    assert (before == labels).mean() == pytest.approx(0.8, abs=0.01)
    corrections = {int(row): int(labels[row]) for row in [*range(0, 6), *range(SIZE, SIZE + 6)]}
    refined = refine_head(head, points, corrections)
    after = refined.of_space(points).argmax(axis=1)
    others = np.setdiff1d(np.arange(len(points)), [*corrections])
    assert (after[others] == labels[others]).mean() > 0.98
    was_right, would_be = held_out_accuracy(head, points, corrections)
    assert was_right == pytest.approx(0.5)
    assert would_be > 0.9


def test_wrong_corrections_of_a_few_images_do_not_spread_far(
    groups: tuple[Space, NDArray[np.int64], FeatureHead],
) -> None:
    points, labels, head = groups
    corrections = {int(row): int(labels[row]) for row in range(2 * SIZE, 3 * SIZE, 8)}
    corrections[4 * SIZE] = 2  # one slip
    after = refine_head(head, points, corrections).of_space(points).argmax(axis=1)
    assert (after[3 * SIZE :] == labels[3 * SIZE :]).mean() > 0.95


def test_typical_images_are_of_all_groups_that_are_not_known(
    groups: tuple[Space, NDArray[np.int64], FeatureHead],
) -> None:
    points, labels, _ = groups
    typical = typical_images(points, GROUPS, (), seed=0)
    assert sorted(labels[typical].tolist()) == [*range(GROUPS)]
    centres = np.stack([points[labels == group].mean(axis=0) for group in range(GROUPS)])
    nearness = np.einsum("id,id->i", points, centres[labels])
    for row in typical:  # each is nearer to the middle of its group than most
        assert (nearness[labels == labels[row]] <= nearness[row]).mean() > 0.7
    known = [row for row in typical if labels[row] != 3]
    (left,) = typical_images(points, 1, known, seed=0)
    assert labels[left] == 3
    assert typical_images(points, 3, range(len(points)), seed=0) == []
