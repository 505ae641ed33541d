"""Contingency tables of clusters and labels; the metrics on them are tested in tests/evaluation/metrics."""

import numpy as np
import pytest
from numpy.typing import NDArray

from infogan.utils.matching import UNMATCHED, compact_contingency, contingency, hungarian_mapping, nonzero_contingency

PREDICTED, LABELS = np.array([0, 0, 3, 3, 3]), np.array([1, 1, 0, 1, 0])


def test_compact_table_ends_at_the_largest_numbers() -> None:
    assert compact_contingency(PREDICTED, LABELS).tolist() == [[0, 2], [0, 0], [0, 0], [2, 1]]
    assert contingency(PREDICTED, LABELS, 5, 3).shape == (5, 3)


def test_nonzero_cells_are_those_of_the_table() -> None:
    assert sorted(nonzero_contingency(PREDICTED, LABELS).tolist()) == [1, 2, 2]
    # Numbers that a table would have no memory for.
    assert nonzero_contingency(np.array([10**9, 5]), np.array([7, 10**9])).tolist() == [1, 1]


def test_surplus_cluster_is_unmatched() -> None:
    assert hungarian_mapping(np.array([0, 0, 1, 2]), np.array([1, 1, 0, 1]), 3, 2).tolist() == [1, 0, UNMATCHED]


@pytest.mark.parametrize(
    ("predicted", "labels", "message"),
    [
        (np.array([0, 1]), np.array([0]), "shape"),
        (np.zeros((2, 1), int), np.zeros((2, 1), int), "shape"),
        (np.array([], int), np.array([], int), "empty"),
        (np.array([-1]), np.array([0]), "cluster -1"),
        (np.array([0]), np.array([-2]), "label -2"),
    ],
)
def test_invalid_clusters_and_labels_are_refused(
    predicted: NDArray[np.int64], labels: NDArray[np.int64], message: str
) -> None:
    for table in (compact_contingency, nonzero_contingency):
        with pytest.raises(ValueError, match=message):
            table(predicted, labels)
    with pytest.raises(ValueError, match="label 3 is out of range; allowed are 0 to 2"):
        contingency(np.array([0]), np.array([3]), 1, 3)
