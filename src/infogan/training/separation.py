"""Whether groups of images are kinds of image: each with one mode, a valley between any two, and found again.

Arrays in, numbers out, as in `training.clustering`.
"""

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import NamedTuple
from warnings import catch_warnings, simplefilter

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from infogan.training import clustering
from infogan.training.clustering import DensityModes, Features, Labels
from infogan.utils.dip import dip
from infogan.utils.matching import matched_share

Cut = Callable[[Features, int, int], Labels]

CHANCE_EXCESS = 2e-4  # share of all modes' excess, up to which a mode of many thousand images can be chance
HIDDEN_SHARE = 0.05  # of a group's images, from which on a kind without a mode of its own is looked for
MIN_MEMBERS = 30  # images of a group, from which on it is examined
SEVERAL_SHARE = 0.15  # of a group's images, from which on a part can be a kind of its own
# Two parts are kinds if the axis between them has two modes, which is beyond chance from a dip of 0.6 / sqrt(images)
# on, and if two halves of the images have the same parts.
SEVERAL_DIP, SEVERAL_AGREEMENT = 0.8, 0.9
# Two modes of density count by the excess of the second one, as a share of all modes' excess, in groups of that many
# images or more. Chance modes have a hundredth at most.
SEVERAL_EXCESS, MODES_MEMBERS = 0.025, 150
ALIKE_DIP = 0.6  # of two groups, times the root of the number of images, below which nothing separates them
COMPARED = 500  # images of each of two groups
NEAREST = 2  # other groups that each is compared with
HALVINGS = 3  # pairs of halves that are clustered


class Merge(NamedTuple):
    """Two groups that become one; the result keeps the number of the first.

    Attributes:
        first: Number of the first group.
        second: Number of the second.
        separation: How deep the valley between them is, from 0 to 1.
    """

    first: int
    second: int
    separation: float


def groups_of_several(features: Features, labels: Labels, count: int, *, seed: int) -> Iterator[int]:
    """Yield the groups whose images are of several kinds, see ``SEVERAL_DIP``.

    Args:
        features: (images, features), unit vectors.
        labels: (images,), the group of each image.
        count: Number of groups.
        seed: Seed of the halves.
    """
    random = np.random.default_rng(seed)
    for group in range(count):
        members = random.permutation(features[labels == group])
        if len(members) >= MIN_MEMBERS and _has_two_parts(members, seed):
            yield group


def _has_two_parts(members: Features, seed: int) -> bool:
    """Return whether the axis between the two parts of a group has two modes, see ``SEVERAL_DIP``."""
    return _valley_between_parts(members, seed, SEVERAL_SHARE)[0] >= SEVERAL_DIP


def _valley_between_parts(members: Features, seed: int, smallest: float) -> tuple[float, Labels]:
    """Return how deep the valley between the two parts of a group is, and the part, 0 or 1, of each image.

    The images are in random order. The depth is the dip on the axis between the parts times the root of the number of
    images, which is the same for chance whatever that number is. It is 0 for few images, if a part has less than the
    share ``smallest`` of them, or if two halves of them have other parts.
    """
    if len(members) < MIN_MEMBERS:
        return 0.0, np.zeros(len(members), np.int64)
    halves = np.array_split(members, 2)
    parts, axes = zip(*(_two_parts(half, members, seed) for half in halves), strict=True)
    share = parts[0].mean()
    if min(share, 1 - share) < smallest or matched_share(parts[0], parts[1], 2) < SEVERAL_AGREEMENT:
        return 0.0, parts[0]
    # In many dimensions an axis always separates the points that it was fitted to.
    dips = [dip(half @ axis) for half, axis in zip(halves, reversed(axes), strict=True)]
    return float(np.sqrt(len(halves[1])) * np.mean(dips)), parts[0]


def replace_chance_modes(features: Features, modes: DensityModes, clusters: int, *, seed: int) -> Labels:
    """Return the clusters of the density modes, with kinds that have no mode in place of modes by chance.

    A small kind that touches a larger one has no peak of density of its own, so that a chance peak becomes a cluster
    instead, and two kinds share another. Peaks of negligible excess are left out one after another, and the clusters of
    two kinds divided, until none has two kinds. If that does not succeed, the modes stay.

    Args:
        features: (images, features), unit vectors.
        modes: Their modes of density.
        clusters: Number of clusters.
        seed: Seed of the halves.
    """
    random, shares = np.random.default_rng(seed), modes.excesses / modes.excesses.sum()
    for left_out in range(clusters - 1):
        if left_out and shares[clusters - left_out] > CHANCE_EXCESS:
            break
        labels = modes.labels(clusters - left_out)
        for count in range(clusters - left_out, clusters + 1):
            members = [random.permutation(np.flatnonzero(labels == group)) for group in range(count)]
            valleys = [_valley_between_parts(features[rows], seed, HIDDEN_SHARE) for rows in members]
            deepest = max(range(count), key=lambda group: valleys[group][0])
            depth, parts = valleys[deepest]
            if count == clusters and depth < SEVERAL_DIP:
                return labels
            if count == clusters or depth < SEVERAL_DIP:
                break
            labels[members[deepest][parts == 1]] = count
    return modes.labels(clusters)


def groups_with_two_modes(features: Features, labels: Labels, count: int) -> Iterator[int]:
    """Yield the groups with two modes of density, which may have any shape and touch, see ``SEVERAL_EXCESS``.

    Args:
        features: (images, features), unit vectors.
        labels: (images,), the group of each image.
        count: Number of groups.
    """
    for group in range(count):
        members = features[labels == group]
        if len(members) < MODES_MEMBERS:
            continue
        modes = clustering.modes(members)
        if len(modes.peaks) < 2:
            continue
        share = modes.labels(2).mean()
        if modes.excesses[1] >= SEVERAL_EXCESS * modes.excesses.sum() and min(share, 1 - share) >= SEVERAL_SHARE:
            yield group


def _two_parts(features: Features, others: Features, seed: int) -> tuple[Labels, Features]:
    """Return the part, 0 or 1, of the other points in a 2-means clustering of the features, and its axis."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with threadpool_limits(1), catch_warnings():
        simplefilter("ignore", ConvergenceWarning)  # copies of one image have one part only
        kmeans = KMeans(2, n_init=3, random_state=seed % 2**31).fit(features)
    axis = (kmeans.cluster_centers_[1] - kmeans.cluster_centers_[0]).astype(np.float32)
    return np.asarray(kmeans.predict(others), np.int64), axis


def groups_alike(features: Features, labels: Labels, count: int, *, seed: int) -> Iterator[tuple[int, int]]:
    """Yield pairs of groups that lie next to each other without a valley between them, see ``ALIKE_DIP``.

    Args:
        features: (images, features), unit vectors.
        labels: (images,), the group of each image.
        count: Number of groups.
        seed: Seed of the images that are compared.
    """
    random = np.random.default_rng(seed)
    members = [np.flatnonzero(labels == group) for group in range(count)]
    present = [group for group in range(count) if len(members[group]) >= MIN_MEMBERS]
    directions = clustering.directions(features, labels, count)[present]
    cosines = directions @ directions.T
    np.fill_diagonal(cosines, -np.inf)
    nearest = np.argsort(-cosines, axis=1)[:, : min(NEAREST, len(present) - 1)]
    pairs = {tuple(sorted((present[row], present[other]))) for row, others in enumerate(nearest) for other in others}
    for first, second in sorted(pairs):
        depth, drawn = _valley(features, members[first], members[second], random)
        if depth * np.sqrt(drawn) < ALIKE_DIP:
            yield first, second


def merge_tree(features: Features, labels: Labels, count: int, *, seed: int) -> list[Merge]:
    """Return the merges by which the groups become one: each time the two with the shallowest valleys between them.

    The separation of merged groups is the mean over the pairs of their parts (Sokal & Michener 1958).

    Args:
        features: (images, features), unit vectors.
        labels: (images,), the group of each image.
        count: Number of groups; those with fewer than ``MIN_MEMBERS`` images are left out.
        seed: Seed of the images that are compared.
    """
    from scipy.cluster.hierarchy import linkage

    random = np.random.default_rng(seed)
    members = [np.flatnonzero(labels == group) for group in range(count)]
    groups = [group for group in range(count) if len(members[group]) >= MIN_MEMBERS]
    if len(groups) < 2:
        return []
    depths = [
        4 * _valley(features, members[first], members[second], random)[0] for first, second in combinations(groups, 2)
    ]
    merges = []
    for first, second, separation, _ in linkage(depths, "average"):
        kept, merged = sorted((groups[int(first)], groups[int(second)]))
        merges.append(Merge(kept, merged, round(float(separation), 4)))
        groups.append(kept)  # linkage counts on: the result of a merge has the next number
    return merges


def _valley(
    features: Features, first: NDArray[np.int64], second: NDArray[np.int64], random: np.random.Generator
) -> tuple[float, int]:
    """Return the dip of equally many images of two groups on the axis between their means, and their number.

    The axis comes from other images of the groups.
    """
    half = min(COMPARED, len(first), len(second)) // 2
    points = np.stack([features[random.choice(members, 2 * half, replace=False)] for members in (first, second)])
    parts = points[:, :half], points[:, half:]
    axes = [part[1].mean(axis=0) - part[0].mean(axis=0) for part in parts]
    # In many dimensions an axis always separates the points that it was fitted to.
    dips = [dip((part @ axis).ravel()) for part, axis in zip(parts, reversed(axes), strict=True)]
    return float(np.mean(dips)), 2 * half


def agreement_of_halves(
    features: Features, count: int, *, seed: int, halvings: int = HALVINGS, cut: Cut | None = None
) -> float:
    """Return the share of images on which clusterings of two halves agree (Lange et al. 2004, Neural Computation 16).

    The images of the second half get the clusters of the first by their nearest direction.

    Args:
        features: (images, features), unit vectors.
        count: Number of clusters.
        seed: Seed of the halves.
        halvings: Number of pairs of halves, whose mean is returned.
        cut: Clusters (features, count, seed); None = `clustering.cluster`.
    """
    cut = cut or (lambda points, clusters, seed: clustering.cluster(points, clusters, seed=seed).labels)
    random = np.random.default_rng(seed)
    shares = []
    for _ in range(halvings):
        first, second = np.array_split(random.permutation(len(features)), 2)
        labels = [cut(features[half], count, seed) for half in (first, second)]
        directions = clustering.directions(features[first], labels[0], count)
        shares.append(matched_share((features[second] @ directions.T).argmax(axis=1), labels[1], count))
    return float(np.mean(shares))


def predictability(features: Features, labels: Labels, *, neighbours: int = 15) -> float:
    """Return how often the majority of an image's neighbours has its label, corrected for chance (Cohen 1960).

    Args:
        features: (images, features).
        labels: (images,).
        neighbours: Number of neighbours, the image itself not counted.

    Returns:
        1 = always, 0 = as often as the most frequent label.
    """
    nearest = clustering.nearest_neighbours(features, min(neighbours, len(features) - 1))
    votes = np.zeros((len(features), int(labels.max()) + 1))
    for column in nearest.T:
        votes[np.arange(len(votes)), labels[column]] += 1
    right = float((votes.argmax(axis=1) == labels).mean())
    chance = float(np.bincount(labels).max() / len(labels))
    return (right - chance) / max(1 - chance, 1e-9)
