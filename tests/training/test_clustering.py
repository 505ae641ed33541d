"""Clusters of features, and how far points lie apart."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from infogan.training.clustering import cluster, directions, modes, neighbour_distance, scan, scatter
from infogan.utils.errors import UserError


def arcs(count: int = 600) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Three arcs on the unit sphere, long and thin, which no three round clusters can tell apart."""
    random = np.random.default_rng(0)
    which = random.integers(3, size=count)
    along = random.uniform(0, 1.6, count)
    height = np.array([-0.5, 0.0, 0.5])[which] + random.normal(0, 0.02, count)
    points = np.stack([np.cos(along) * np.cos(height), np.sin(along) * np.cos(height), np.sin(height)], axis=1)
    return points.astype(np.float32), which


def blobs(sizes: tuple[int, ...], seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Unit vectors around as many perpendicular axes, of these numbers."""
    random = np.random.default_rng(seed)
    which = np.repeat(np.arange(len(sizes)), sizes)
    points = np.eye(len(sizes) + 2)[which] + random.normal(0, 0.15, (sum(sizes), len(sizes) + 2))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32), which


def test_modes_follow_the_data_whatever_their_shape() -> None:
    points, which = arcs()
    assert adjusted_rand_score(which, modes(points).labels(3)) > 0.99


def test_classes_twenty_times_larger_are_not_cut_nor_small_ones_joined() -> None:
    points, which = blobs((1000, 600, 50, 80))
    found = cluster(points, 4, seed=0)
    assert found.are_modes
    assert adjusted_rand_score(which, found.labels) > 0.99
    assert scan(points, 10, seed=0).best == 4  # and their number shows


def test_where_modes_are_spread_out_clusters_are_of_similar_size() -> None:
    random = np.random.default_rng(0)
    ball = random.normal(size=(800, 6))
    points = (ball / np.linalg.norm(ball, axis=1, keepdims=True)).astype(np.float32)
    found = cluster(points, 4, seed=0)
    assert not found.are_modes
    assert found.kinds.shape == (4, 0)
    assert np.bincount(found.labels).min() > 800 / 4 / 2


def test_excess_is_what_rises_over_the_saddle_where_a_higher_peak_is_met() -> None:
    # On a line: spacing 1 at the first peak, 2 at the second, 4 in between. With every neighbour used, both peaks reach
    # into what surrounds them, so sizes are large against the 30 neighbours of the density.
    spacing = np.concatenate([np.full(200, 1.0), np.full(200, 4.0), np.full(200, 2.0)])
    line = np.cumsum(spacing)[:, None].astype(np.float32)
    found = modes(line)
    assert len(found.peaks) >= 2
    assert {int(peak) // 200 for peak in found.peaks[:2]} == {0, 2}
    # The lower peak joins the higher one, and with it all that climbs to it.
    assert set(found.labels(1).tolist()) == {0}
    # Its excess is all that rises over the saddle: some 200 points, each by the logarithm of how much closer they lie;
    # the higher one's all that rises over the lowest point, which is that saddle here.
    assert found.excesses[1] == pytest.approx(200 * np.log(4 / 2), rel=0.15)
    assert found.excesses[0] == pytest.approx(200 * np.log(4 / 1) + found.excesses[1], rel=0.15)
    assert (found.excesses[2:] < 0.02 * found.excesses[1]).all()
    two = found.labels(2)
    assert (two[:200] == 0).all()
    assert (two[400:] == 1).all()


def test_parts_that_nothing_connects_stay_apart_to_the_last() -> None:
    points, which = blobs((40, 40, 40))
    found = modes(points)
    assert found.parents[:3].tolist() == [0, 0, 0]
    assert adjusted_rand_score(which, found.labels(3)) == 1.0


def test_a_few_stray_points_do_not_come_before_a_class_that_touches_another() -> None:
    # On a line: two classes of 300, of spacing 1, with 60 of spacing 2 between them, and far off 40 points of spacing
    # 0.2: by their height over what is around them those would come first.
    spacing = np.concatenate([np.full(300, 1.0), np.full(60, 2.0), np.full(300, 1.0), [5000.0], np.full(40, 0.2)])
    found = modes(np.cumsum(spacing)[:, None].astype(np.float32))
    two = found.labels(2)
    assert len(set(two[:300].tolist())) == len(set(two[360:660].tolist())) == 1
    assert two[0] != two[659]
    assert len(set(found.labels(3)[661:].tolist()) - set(two[:660].tolist())) == 1


@pytest.mark.parametrize(("sizes", "asked"), [((300, 200, 150, 100, 50), 3), ((60, 60, 60), 7)])
def test_kinds_that_are_beyond_doubt_are_counted_however_many_clusters_are_asked_for(
    sizes: tuple[int, ...], asked: int
) -> None:
    points, _ = blobs(sizes, seed=1)
    found = cluster(points, asked, seed=0)
    assert found.kinds.shape == (asked, len(sizes))
    assert sorted(found.kinds.sum(axis=0)) == pytest.approx(sorted(sizes), abs=3)
    assert found.kinds.sum(axis=1).tolist() == np.bincount(found.labels, minlength=asked).tolist()


def test_copies_of_one_image_are_no_peak_above_all() -> None:
    points, _ = blobs((300, 300, 300))
    copies = np.concatenate([points, np.repeat(points[:1], 12, axis=0)])
    assert scan(copies, 10, seed=0).best == 3


@pytest.mark.parametrize("count", [2, 3])
def test_a_few_points_are_clustered_too(count: int) -> None:
    points, _ = arcs(count)
    assert sorted(cluster(points, 2, seed=0).labels.tolist())[0] == 0


def test_labels_are_nested() -> None:
    points, _ = blobs((200, 150, 100, 70, 30), seed=1)
    found = modes(points)
    for count in range(1, len(found.peaks)):
        coarse, fine = found.labels(count), found.labels(count + 1)
        assert len(set(fine.tolist())) == count + 1
        assert all(len(set(coarse[fine == label].tolist())) == 1 for label in range(count + 1))


def test_a_scan_says_for_each_number_how_far_it_stands_out_and_whether_halves_agree() -> None:
    points, _ = blobs((200, 150, 100, 70, 30), seed=1)
    found = scan(points, 8, seed=0)
    assert found.best == 5
    assert found.counts == list(range(2, 2 + len(found.counts)))
    assert min(found.falls) >= 1
    assert found.falls[3] == max(found.falls) > 10
    excesses = modes(points).excesses
    assert found.falls[1] == pytest.approx(excesses[2] / excesses[3])
    assert found.stabilities[3] > 0.99
    assert all(0 <= stability <= 1 for stability in found.stabilities)
    assert scan(points, 3, seed=0).best <= 3
    with pytest.raises(UserError, match="no groups that could be counted"):
        scan(np.ones((40, 2), np.float32), 5, seed=0)


@pytest.mark.parametrize("points", [arcs()[0], blobs((9, 8))[0]])
def test_clusters_are_the_same_for_a_seed_to_the_last_bit(points: NDArray[np.float32]) -> None:
    assert np.array_equal(cluster(points, 4, seed=3).labels, cluster(points, 4, seed=3).labels)


def test_every_cluster_is_there_and_too_few_images_are_refused() -> None:
    points, _ = arcs(30)
    assert sorted(set(cluster(points, 5, seed=0).labels.tolist())) == [0, 1, 2, 3, 4]
    with pytest.raises(UserError, match="4 images .* 5 clusters"):
        cluster(points[:4], 5, seed=0)


def test_directions_are_the_mean_of_each_clusters_features() -> None:
    points = np.array([[1, 0], [0, 1], [0.6, 0.8], [-1, 0]], np.float32)
    found = directions(points, np.array([0, 0, 1, 2]), 3)
    np.testing.assert_allclose(found, [[0.5**0.5, 0.5**0.5], [0.6, 0.8], [-1, 0]], atol=1e-6)


def test_scatter_is_the_mean_squared_distance_to_the_clusters_direction() -> None:
    points = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
    # The first two lie 45 degrees from their mean direction, 2 - sqrt(2) squared; the third lies on its own.
    assert scatter(points, np.array([0, 0, 1]), 2) == pytest.approx(2 * (2 - 2**0.5) / 3)


def test_neighbour_distance_is_of_points_from_the_whole_whatever_their_order() -> None:
    near, far = np.arange(3000.0), 1e6 + 5 * np.arange(3000.0)  # on a line, in two parts of unequal spacing
    distance = neighbour_distance(np.concatenate([near, far])[:, None].astype(np.float64), neighbour=2)
    assert distance == pytest.approx((1 + 5) / 2, rel=0.01)


def test_neighbour_distance_is_that_of_the_tenth_other() -> None:
    line = np.arange(101, dtype=np.float32).reshape(-1, 1) * 2
    # Inside, five others lie on each side, up to 10 away; towards the ends the tenth lies further, up to 20.
    inner, ends = 91 * [10.0], 2 * [20.0, 18.0, 16.0, 14.0, 12.0]
    assert neighbour_distance(line) == pytest.approx(np.mean(inner + ends))
    assert neighbour_distance(line, neighbour=2) == pytest.approx((99 * 2 + 2 * 4) / 101)
