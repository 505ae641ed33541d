"""Whether groups of points are kinds: several kinds in one group, one kind in several, and a tree of merges."""

import numpy as np
import pytest
from numpy.typing import NDArray

from infogan.training.clustering import DensityModes
from infogan.training.separation import (
    MIN_MEMBERS,
    agreement_of_halves,
    groups_alike,
    groups_of_several,
    groups_with_two_modes,
    merge_tree,
    predictability,
    replace_chance_modes,
)

Points = NDArray[np.float32]


def kinds(sizes: tuple[int, ...], *, spread: float = 0.15, seed: int = 0) -> tuple[Points, NDArray[np.int64]]:
    """Return unit vectors around as many axes as there are sizes, and the axis of each."""
    random, dimensions = np.random.default_rng(seed), 16
    labels = np.repeat(np.arange(len(sizes)), sizes)
    points = np.eye(dimensions)[labels] + random.normal(0, spread, (sum(sizes), dimensions))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32), labels


def noise(count: int, *, dimensions: int = 128, seed: int = 0) -> Points:
    """Return directions without any group."""
    points = np.random.default_rng(seed).normal(size=(count, dimensions))
    directions: Points = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    return directions


def test_groups_of_one_kind_are_neither_several_nor_alike() -> None:
    points, labels = kinds((300, 200, 150, 100))
    assert not [*groups_of_several(points, labels, 4, seed=0)]
    assert not [*groups_alike(points, labels, 4, seed=0)]


@pytest.mark.parametrize(("sizes", "found"), [((200, 200), True), ((270, 130), True), ((380, 20), False)])
def test_a_group_of_two_kinds_is_found_unless_one_is_tiny(sizes: tuple[int, int], found: bool) -> None:
    points, labels = kinds((*sizes, 300))
    merged = np.where(labels == 2, 1, 0)
    assert [*groups_of_several(points, merged, 2, seed=0)] == [0] * found


@pytest.mark.parametrize(("sizes", "found"), [((200, 200), [0]), ((150, 330), [0]), ((440, 40), [])])
def test_modes_of_density_are_found_in_groups_of_any_shape(sizes: tuple[int, int], found: list[int]) -> None:
    points, labels = kinds((*sizes, 300))
    assert [*groups_with_two_modes(points, np.where(labels == 2, 1, 0), 2)] == found
    assert not [*groups_with_two_modes(points[labels == 2], labels[labels == 2] - 2, 1)]


@pytest.mark.parametrize("seed", range(5))
def test_a_kind_in_two_groups_is_found(seed: int) -> None:
    points, labels = kinds((400, 300), seed=seed)
    # The first kind is cut in two where k-means would cut it: along its widest axis.
    first = points[labels == 0]
    axis = np.linalg.svd(first - first.mean(axis=0))[2][0]
    cut = np.where(labels == 0, (points @ axis > np.median(first @ axis)).astype(int), 2)
    assert [*groups_alike(points, cut, 3, seed=seed)] == [(0, 1)]


@pytest.mark.parametrize("seed", range(5))
def test_points_without_groups_have_no_valleys(seed: int) -> None:
    # In 128 dimensions, an axis that is fitted to 60 points separates them, whatever they are.
    points = noise(240, seed=seed)
    labels = (points @ np.eye(128)[0] > 0).astype(int)
    assert not [*groups_of_several(points, labels, 2, seed=seed)]
    assert [*groups_alike(points, labels, 2, seed=seed)] == [(0, 1)]


def test_small_groups_are_not_examined() -> None:
    points, labels = kinds((MIN_MEMBERS - 1, MIN_MEMBERS, 200))
    assert {group for merge in merge_tree(points, labels, 3, seed=0) for group in merge[:2]} == {1, 2}
    few = kinds((MIN_MEMBERS // 2 - 1, MIN_MEMBERS // 2))[0]
    assert not [*groups_of_several(few, np.zeros(len(few), int), 1, seed=0)]


def test_similar_groups_merge_first() -> None:
    points, labels = kinds((200, 200, 200, 200))
    points[labels == 3] = 0.75 * points[labels == 2] + 0.5 * points[labels == 3]
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    merges = merge_tree(points, labels, 4, seed=0)
    assert [*merges[0][:2]] == [2, 3]
    assert len(merges) == 3
    assert all(0 < merge.separation <= 1 for merge in merges)
    assert merges[0].separation < min(merge.separation for merge in merges[1:])


def test_halves_agree_on_the_right_number_of_groups_alone() -> None:
    points, _ = kinds((200, 200, 200, 200), spread=0.1)
    assert agreement_of_halves(points, 4, seed=0) > 0.99
    assert agreement_of_halves(noise(800), 4, seed=0) < 0.7


def test_predictability_is_corrected_for_chance() -> None:
    points, labels = kinds((300, 100))
    assert predictability(points, labels) == pytest.approx(1)
    shuffled = np.random.default_rng(0).permutation(labels)
    assert abs(predictability(points, shuffled)) < 0.15
    assert predictability(points, np.zeros(400, int)) == pytest.approx(0, abs=1e-6)


def modes_of(peak_of_point: NDArray[np.int64], last_excess: float) -> DensityModes:
    """Return three modes: the second one has a part of its points in the third, which merges into it."""
    none = np.zeros((len(peak_of_point), 1), np.int64)
    return DensityModes(np.arange(3), np.array([5.0, 3.0, last_excess]), np.array([0, 0, 1]), peak_of_point, none)


@pytest.mark.parametrize(("last_excess", "small", "found"), [(1e-5, 250, True), (0.1, 250, False), (1e-5, 60, False)])
def test_a_small_kind_without_a_mode_replaces_a_mode_by_chance(last_excess: float, small: int, found: bool) -> None:
    points, labels = kinds((2000, small, 1500))
    peaks = np.where(labels == 2, 1, 0)  # the small kind is in the mode of the first
    peaks[-40:] = 2
    clusters = replace_chance_modes(points, modes_of(peaks, last_excess), 3, seed=0)
    if found:
        assert len({*zip(labels.tolist(), clusters.tolist(), strict=True)}) == 3  # one cluster a kind
    else:
        assert np.array_equal(clusters, peaks)


def test_modes_stay_if_each_has_one_kind() -> None:
    points, labels = kinds((400, 300, 200))
    assert np.array_equal(replace_chance_modes(points, modes_of(labels, 1e-5), 3, seed=0), labels)
