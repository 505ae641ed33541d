"""Categories from pretrained features: the space, the groups and the head."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.cluster import SpectralClustering
from sklearn.datasets import make_moons

from infogan.evaluation.metrics.clustering import ari
from infogan.training.feature_head import (
    VIEW_SHRINKAGE,
    FeatureHead,
    compare_spaces,
    cut_graph,
    fit_head,
    fit_space,
    project,
)
from infogan.utils.errors import UserError


def blobs(count: int = 300, kinds: int = 3, noise: float = 0.3) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return vectors of some kinds, which differ in the first dimensions only, and their kinds."""
    random = np.random.default_rng(0)
    labels = random.integers(0, kinds, count)
    vectors = np.eye(kinds, 12)[labels] * 3 + noise * random.standard_normal((count, 12))
    return vectors.astype(np.float32), labels


def test_the_space_scales_down_what_differs_between_views() -> None:
    random = np.random.default_rng(1)
    vectors = random.standard_normal((500, 4)).astype(np.float32)
    deviations = np.array([1.0, 0.1, 0.1, 0.1])
    views = vectors + random.standard_normal((2, 500, 4)).astype(np.float32) * deviations
    mean, projection = fit_space(vectors, views.astype(np.float32))
    np.testing.assert_allclose(mean, vectors.mean(axis=0), atol=1e-6)
    # The metric P Pᵀ is the inverse of the covariance between views, shrunk towards a sphere.
    within = (views - views.mean(axis=0)).reshape(-1, 4)
    covariance = within.T @ within / len(within)
    covariance += VIEW_SHRINKAGE * np.trace(covariance) / 4 * np.eye(4)
    np.testing.assert_allclose(projection @ projection.T, np.linalg.inv(covariance), rtol=1e-3, atol=1e-3)


def test_without_views_the_space_has_the_principal_components() -> None:
    vectors, _ = blobs()
    _, projection = fit_space(vectors, None)
    np.testing.assert_allclose(projection.T @ projection, np.eye(12), atol=1e-5)
    points = project(vectors, *fit_space(vectors, None))
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, rtol=1e-5)


def test_groups_of_any_shape_are_cut_apart() -> None:
    points, labels = make_moons(400, noise=0.05, random_state=0)
    lifted = np.column_stack([points, np.full(len(points), 2.0)])  # onto a sphere, without changing the neighbours
    unit = (lifted / np.linalg.norm(lifted, axis=1, keepdims=True)).astype(np.float32)
    found = cut_graph(unit, 2, seed=0)
    assert ari(found, labels) == 1
    reference = SpectralClustering(2, affinity="nearest_neighbors", n_neighbors=15, random_state=0).fit_predict(unit)
    assert ari(found, reference) == 1


def test_many_parts_that_nothing_connects_are_all_found() -> None:
    random, labels = np.random.default_rng(0), np.arange(600) % 20
    centres = np.linalg.qr(random.standard_normal((24, 24)))[0]
    points = centres[labels] + 0.01 * random.standard_normal((600, 24))
    unit = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    assert ari(cut_graph(unit, 20, seed=0), labels) == 1


@pytest.mark.parametrize("seed", [0, 1])
def test_a_head_files_images_by_kind(seed: int) -> None:
    vectors, labels = blobs()
    head = fit_head(vectors[:200], 3, seed=seed)
    probabilities = head.probabilities(vectors)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert ari(probabilities[200:].argmax(axis=1), labels[200:]) > 0.95
    again = fit_head(vectors[:200], 3, seed=seed)
    assert all((a == b).all() for a, b in zip(head.arrays().values(), again.arrays().values(), strict=True))


def test_two_categories_have_probabilities_that_add_up_to_one() -> None:
    vectors, labels = blobs(kinds=2)
    probabilities = fit_head(vectors, 2, seed=0).probabilities(vectors)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert ari(probabilities.argmax(axis=1), labels) > 0.95


def test_vectors_of_another_encoder_are_refused() -> None:
    vectors, _ = blobs()
    with pytest.raises(UserError, match="11 numbers an image, but the model was trained with 12"):
        fit_head(vectors, 3, seed=0).probabilities(vectors[:, :11])


def test_too_few_images_are_refused() -> None:
    with pytest.raises(UserError, match="too few for 3 categories"):
        cut_graph(np.eye(5, dtype=np.float32), 3, seed=0)


def test_images_that_are_all_the_same_have_a_head() -> None:
    head = fit_head(np.ones((50, 4), np.float32), 3, seed=0)
    assert isinstance(head, FeatureHead)
    assert np.isfinite(head.probabilities(np.ones((2, 4), np.float32))).all()


@pytest.mark.parametrize("better", ["own", "pretrained"])
def test_the_space_whose_groups_are_real_scores_higher(better: str) -> None:
    random, labels = np.random.default_rng(0), np.arange(600) % 3
    real = np.eye(3, 8)[labels] * 3 + random.normal(0, 0.6, (600, 8))
    other = random.normal(0, 1, (600, 8)) + real * 0.15
    spaces = [space / np.linalg.norm(space, axis=1, keepdims=True) for space in (real, other)]
    own, pretrained = (space.astype(np.float32) for space in (spaces if better == "own" else spaces[::-1]))
    scores = compare_spaces(own, pretrained, 3, seed=0)
    assert (scores[0] > scores[1] + 0.1) == (better == "own")
    assert (scores[1] > scores[0] + 0.1) == (better == "pretrained")
