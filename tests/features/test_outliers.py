"""Outliers are far from most images, even if some of them are near one another."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score
from sklearn.neighbors import NearestNeighbors

from infogan.features import outliers
from infogan.features.outliers import outlier_scores, unit_vectors
from infogan.utils.errors import UserError


def around(direction: int, count: int, spread: float, seed: int = 0) -> NDArray[np.float32]:
    """Return unit vectors around an axis."""
    random = np.random.default_rng(seed)
    return unit_vectors(np.eye(16)[direction] + random.normal(0, spread, (count, 16)))


def test_scores_are_distances_to_one_neighbour_relative_to_the_median() -> None:
    vectors = around(0, 900, 0.2)
    rank = int(outliers.NEIGHBOUR_SHARE * 900)  # the vector itself is its own neighbour of rank 0
    distances, _ = NearestNeighbors(n_neighbors=rank + 1).fit(vectors).kneighbors(vectors)
    expected = distances[:, rank] / np.median(distances[:, rank])
    np.testing.assert_allclose(outlier_scores(vectors), expected, rtol=1e-3)
    assert np.median(outlier_scores(vectors)) == pytest.approx(1)


@pytest.mark.parametrize(("foreign", "is_found"), [(1, True), (15, True), (60, False)])
def test_foreign_images_of_one_kind_do_not_hide_one_another(foreign: int, is_found: bool) -> None:
    vectors = np.concatenate([around(0, 1500, 0.2), around(5, foreign, 0.02, seed=1)])
    precision = average_precision_score(np.arange(len(vectors)) >= 1500, outlier_scores(vectors))
    assert (precision > 0.99) == is_found  # beyond the share of neighbours they are a kind of their own


def test_new_images_are_compared_with_others() -> None:
    others = around(0, 500, 0.2)
    scores = outlier_scores(np.concatenate([around(0, 50, 0.2, seed=3), around(5, 5, 0.1, seed=4)]), others)
    assert scores[:50].max() < scores[50:].min()
    assert 0.9 < np.median(scores[:50]) < 1.1


def test_many_images_are_compared_with_some(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.concatenate([around(0, 3000, 0.2), around(5, 3, 0.1, seed=1)])
    whole = outlier_scores(vectors)
    monkeypatch.setattr(outliers, "REFERENCES", 1000)
    np.testing.assert_allclose(outlier_scores(vectors), whole, rtol=0.15)


def test_copies_of_one_image_have_no_outlier() -> None:
    assert np.isfinite(outlier_scores(np.repeat(around(0, 1, 0.1), 40, axis=0))).all()


@pytest.mark.parametrize(("count", "is_enough"), [(outliers.MIN_NEIGHBOUR, False), (outliers.MIN_NEIGHBOUR + 1, True)])
def test_few_images_are_refused(count: int, is_enough: bool) -> None:
    if is_enough:
        assert len(outlier_scores(around(0, count, 0.2))) == count
        return
    with pytest.raises(UserError, match=str(count)):
        outlier_scores(around(0, count, 0.2))
