"""Clusters of features, and how far points lie apart."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from infogan.errors import UserError
from infogan.partition import cluster, directions, neighbour_distance


def arcs(count: int = 600) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Three arcs on the unit sphere, long and thin, which no three round clusters can tell apart."""
    random = np.random.default_rng(0)
    which = random.integers(3, size=count)
    along = random.uniform(0, 1.6, count)
    height = np.array([-0.5, 0.0, 0.5])[which] + random.normal(0, 0.02, count)
    points = np.stack([np.cos(along) * np.cos(height), np.sin(along) * np.cos(height), np.sin(height)], axis=1)
    return points.astype(np.float32), which


def test_clusters_follow_the_data_whatever_their_shape() -> None:
    points, which = arcs()
    assert adjusted_rand_score(which, cluster(points, 3, seed=0)) > 0.99


def test_clusters_are_the_same_for_a_seed_to_the_last_bit() -> None:
    points, _ = arcs()
    assert np.array_equal(cluster(points, 4, seed=3), cluster(points, 4, seed=3))


def test_every_cluster_is_there_and_too_few_images_are_refused() -> None:
    points, _ = arcs(30)
    assert sorted(set(cluster(points, 5, seed=0).tolist())) == [0, 1, 2, 3, 4]
    with pytest.raises(UserError, match="4 images can not be put into 5 clusters"):
        cluster(points[:4], 5, seed=0)


def test_directions_are_the_mean_of_each_clusters_features() -> None:
    points = np.array([[1, 0], [0, 1], [0.6, 0.8], [-1, 0]], np.float32)
    found = directions(points, np.array([0, 0, 1, 2]), 3)
    np.testing.assert_allclose(found, [[0.5**0.5, 0.5**0.5], [0.6, 0.8], [-1, 0]], atol=1e-6)


def test_neighbour_distance_is_that_of_the_tenth_other() -> None:
    line = np.arange(101, dtype=np.float32).reshape(-1, 1) * 2
    # Inside, five others lie on each side, up to 10 away; towards the ends the tenth lies further, up to 20.
    inner, ends = 91 * [10.0], 2 * [20.0, 18.0, 16.0, 14.0, 12.0]
    assert neighbour_distance(line) == pytest.approx(np.mean(inner + ends))
    assert neighbour_distance(line, neighbour=2) == pytest.approx((99 * 2 + 2 * 4) / 101)
