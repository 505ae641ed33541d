"""Clustering of features: modes of density, the number of clusters, and distances between points."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from infogan.training.clustering import cluster, directions, modes, nearest_neighbours, neighbour_distance, scatter
from infogan.utils.errors import UserError


def arcs(count: int = 600) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return three arcs on the unit sphere, so long and thin that round clusters mix them, and each point's arc."""
    random = np.random.default_rng(0)
    arc = random.integers(3, size=count)
    longitude = random.uniform(0, 1.6, count)
    latitude = np.array([-0.5, 0.0, 0.5])[arc] + random.normal(0, 0.02, count)
    x, y = np.cos(longitude) * np.cos(latitude), np.sin(longitude) * np.cos(latitude)
    return np.stack([x, y, np.sin(latitude)], axis=1).astype(np.float32), arc


def blobs(sizes: tuple[int, ...], seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return groups of unit vectors around perpendicular axes, of these sizes, and each vector's group."""
    random = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(sizes)), sizes)
    points = np.eye(len(sizes) + 2)[group] + random.normal(0, 0.15, (sum(sizes), len(sizes) + 2))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32), group


def test_modes_have_any_shape() -> None:
    points, groups = arcs()
    assert adjusted_rand_score(groups, modes(points).labels(3)) > 0.99


def test_groups_of_very_different_sizes_are_neither_split_nor_merged() -> None:
    points, groups = blobs((1000, 600, 50, 80))
    clusters = cluster(points, 4, seed=0)
    assert clusters.are_modes
    assert adjusted_rand_score(groups, clusters.labels) > 0.99


def test_points_without_modes_are_cut_into_clusters_of_similar_size() -> None:
    random = np.random.default_rng(0)
    ball = random.normal(size=(800, 6))
    points = (ball / np.linalg.norm(ball, axis=1, keepdims=True)).astype(np.float32)
    clusters = cluster(points, 4, seed=0)
    assert not clusters.are_modes
    assert clusters.kinds.shape == (4, 0)
    assert np.bincount(clusters.labels).min() > 800 / 4 / 2


def test_excess_is_measured_above_the_saddle_to_a_higher_peak() -> None:
    # On a line: spacing 1 at the first peak, 2 at the second, 4 in between. Peaks are large compared with the 30
    # neighbours of the density, because each reaches into its surroundings.
    spacing = np.concatenate([np.full(200, 1.0), np.full(200, 4.0), np.full(200, 2.0)])
    line = np.cumsum(spacing)[:, None].astype(np.float32)
    density = modes(line)
    assert len(density.peaks) >= 2
    assert {int(peak) // 200 for peak in density.peaks[:2]} == {0, 2}
    # The lower peak merges into the higher one, with all points that climb to it.
    assert set(density.labels(1).tolist()) == {0}
    # The excess of the lower peak is that of some 200 points, each by the logarithm of how much closer together they
    # are than at the saddle; that of the higher peak is measured above the lowest point, which is the saddle here.
    assert density.excesses[1] == pytest.approx(200 * np.log(4 / 2), rel=0.15)
    assert density.excesses[0] == pytest.approx(200 * np.log(4 / 1) + density.excesses[1], rel=0.15)
    assert (density.excesses[2:] < 0.02 * density.excesses[1]).all()
    two = density.labels(2)
    assert (two[:200] == 0).all()
    assert (two[400:] == 1).all()


def test_unconnected_groups_are_merged_last() -> None:
    points, groups = blobs((40, 40, 40))
    density = modes(points)
    assert density.parents[:3].tolist() == [0, 0, 0]
    assert adjusted_rand_score(groups, density.labels(3)) == 1.0


def test_stray_points_count_less_than_a_group_that_touches_another() -> None:
    # On a line: two groups of 300 with spacing 1, 60 points with spacing 2 between them, and far away 40 points with
    # spacing 0.2, which would come first by their height alone.
    spacing = np.concatenate([np.full(300, 1.0), np.full(60, 2.0), np.full(300, 1.0), [5000.0], np.full(40, 0.2)])
    density = modes(np.cumsum(spacing)[:, None].astype(np.float32))
    two = density.labels(2)
    assert len(set(two[:300].tolist())) == len(set(two[360:660].tolist())) == 1
    assert two[0] != two[659]
    assert len(set(density.labels(3)[661:].tolist()) - set(two[:660].tolist())) == 1


@pytest.mark.parametrize(("sizes", "count"), [((300, 200, 150, 100, 50), 3), ((60, 60, 60), 7)])
def test_certain_groups_are_counted_for_any_number_of_clusters(sizes: tuple[int, ...], count: int) -> None:
    points, _ = blobs(sizes, seed=1)
    clusters = cluster(points, count, seed=0)
    assert clusters.kinds.shape == (count, len(sizes))
    assert sorted(clusters.kinds.sum(axis=0)) == pytest.approx(sorted(sizes), abs=3)
    assert clusters.kinds.sum(axis=1).tolist() == np.bincount(clusters.labels, minlength=count).tolist()


def test_copies_of_an_image_form_no_peak() -> None:
    points, _ = blobs((300, 300, 300))
    copies = np.concatenate([points, np.repeat(points[:1], 12, axis=0)])
    assert modes(copies).clear_count() == 3


@pytest.mark.parametrize("count", [2, 3])
def test_very_few_points_are_clustered(count: int) -> None:
    points, _ = arcs(count)
    assert sorted(cluster(points, 2, seed=0).labels.tolist())[0] == 0


def test_finer_clusters_divide_coarser_ones() -> None:
    points, _ = blobs((200, 150, 100, 70, 30), seed=1)
    density = modes(points)
    for count in range(1, len(density.peaks)):
        coarse, fine = density.labels(count), density.labels(count + 1)
        assert len(set(fine.tolist())) == count + 1
        assert all(len(set(coarse[fine == label].tolist())) == 1 for label in range(count + 1))


@pytest.mark.parametrize("points", [arcs()[0], blobs((9, 8))[0]])
def test_clusters_depend_on_the_seed_alone(points: NDArray[np.float32]) -> None:
    assert np.array_equal(cluster(points, 4, seed=3).labels, cluster(points, 4, seed=3).labels)


def test_no_cluster_is_empty_and_too_few_images_are_refused() -> None:
    points, _ = arcs(30)
    assert sorted(set(cluster(points, 5, seed=0).labels.tolist())) == [0, 1, 2, 3, 4]
    with pytest.raises(UserError, match=r"4 images .* 5 clusters"):
        cluster(points[:4], 5, seed=0)


def test_direction_is_the_mean_of_the_features_of_a_cluster() -> None:
    points = np.array([[1, 0], [0, 1], [0.6, 0.8], [-1, 0]], np.float32)
    vectors = directions(points, np.array([0, 0, 1, 2]), 3)
    np.testing.assert_allclose(vectors, [[0.5**0.5, 0.5**0.5], [0.6, 0.8], [-1, 0]], atol=1e-6)


def test_scatter_is_the_mean_squared_distance_to_the_direction() -> None:
    points = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
    # The first two are 45 degrees from their mean direction, a squared distance of 2 - sqrt(2); the third is its own.
    assert scatter(points, np.array([0, 0, 1]), 2) == pytest.approx(2 * (2 - 2**0.5) / 3)


def test_neighbour_distance_samples_all_points() -> None:
    near, far = np.arange(3000.0), 1e6 + 5 * np.arange(3000.0)  # on a line, in two parts of unequal spacing
    distance = neighbour_distance(np.concatenate([near, far])[:, None].astype(np.float64), neighbour=2)
    assert distance == pytest.approx((1 + 5) / 2, rel=0.01)


def test_neighbour_distance_is_that_of_the_tenth_neighbour() -> None:
    line = np.arange(101, dtype=np.float32).reshape(-1, 1) * 2
    # Inside, five neighbours on each side are up to 10 away; towards the ends the tenth is up to 20 away.
    inner, ends = 91 * [10.0], 2 * [20.0, 18.0, 16.0, 14.0, 12.0]
    assert neighbour_distance(line) == pytest.approx(np.mean(inner + ends))
    assert neighbour_distance(line, neighbour=2) == pytest.approx((99 * 2 + 2 * 4) / 101)


def test_nearest_neighbours_exclude_the_point_itself() -> None:
    points, _ = blobs((30, 20))
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    expected = np.argsort(distances, axis=1)[:, :4]
    assert (np.sort(nearest_neighbours(points, 4)) == np.sort(expected)).all()
