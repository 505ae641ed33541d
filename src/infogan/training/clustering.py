"""Features to clusters: how an encoder's classes begin.

Numpy in, numpy out. Everything is deterministic for a seed, to the last bit on one machine, because a run that resumes
at the beginning of a stage clusters again.
"""

import math
from dataclasses import dataclass
from warnings import catch_warnings, simplefilter

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from infogan.utils.errors import UserError
from infogan.utils.matching import ari, contingency, nmi

Features = NDArray[np.float32]
Labels = NDArray[np.int64]

NEIGHBOURS = (10, 60)  # fewest and most of a point over which density is measured; one climbs along half of them
STARTS = 10  # of k-means
ALIKE = 0.9  # adjusted Rand index of clusterings that say the same
DECISIVE = 30.0  # fall of the excess of mass after which there are no more peaks that matter
NEGLIGIBLE = 1e-5  # of the excess of all peaks together
WORTH = 1.3  # by how much modes must be the better cut for the scatter they cost
SAME = 1e-3  # of the median squared distance to neighbours, below which points count as one
NO_GROUPS = "these images show no groups that could be counted: pass their number to --categorical"
PROBED = 1_000  # points, at most, whose neighbours are measured


@dataclass(frozen=True)
class DensityModes:
    """The peaks of density in a cloud of points, and who belongs to which.

    Two peaks are joined where the saddle between them is reached on the way down. How much mass rises over that saddle
    is the lower one's *excess* (Müller & Sawitzki 1991): a peak counts for how high it is and how much is on it.

    Attributes:
        peaks: (peaks,) points, that of the largest excess first.
        excesses: (peaks,), the sum, over the points that belong to the peak where it is joined, of their heights above
            the saddle; for a peak that nothing connects with a higher one, above the lowest point of all. Heights are
            of log density per dimension: e^-height is the ratio of the distances to neighbours up there and below.
        parents: (peaks,), the position in ``peaks`` of the higher peak that each was joined to; of one that was not, 0.
        climbed: (points,), the position in ``peaks`` that each point climbs to.
        neighbours: (points, neighbours), the nearest points of each.
    """

    peaks: NDArray[np.int64]
    excesses: NDArray[np.float64]
    parents: NDArray[np.int64]
    climbed: Labels
    neighbours: NDArray[np.int64]

    def labels(self, count: int) -> Labels:
        """(points,), 0 to count - 1: each point by the peak it belongs to when only so many, the first, are left."""
        owner = np.arange(len(self.peaks))
        for peak in range(count, len(owner)):
            while owner[peak] >= count:
                owner[peak] = self.parents[owner[peak]]
        labels: Labels = owner[self.climbed]
        return labels

    def falls(self) -> NDArray[np.float64]:
        """(peaks - 1,), from the second on: how many times larger each peak's excess is than the next one's."""
        shares = self.excesses / max(float(self.excesses.sum()), 1e-12)
        shares = np.append(np.maximum(shares, NEGLIGIBLE), NEGLIGIBLE)
        ratios: NDArray[np.float64] = shares[1:-1] / shares[2:]
        return ratios

    def clear_count(self) -> int:
        """How many peaks there are beyond doubt: two or more, after which excess falls ``DECISIVE``-fold; 0 if none.

        That no peak is left after the last one says nothing: a few points have few peaks.
        """
        falls = self.falls()[:-1]
        return 2 + int(falls.argmax()) if len(falls) and falls.max() >= DECISIVE else 0


def modes(features: Features) -> DensityModes:
    """The peaks of density, as ToMATo finds them (Chazal et al. 2013, Journal of the ACM 60(6)), and their excess.

    Classes of any shape and size are told apart as long as fewer points lie between them than within: large classes are
    not cut, nor small ones joined, for the sake of sizes. ToMATo itself ranks peaks by their height over the saddle
    alone, and by that a few stray points that are much alike come before a class that touches another.

    Args:
        features: (points, features), unit vectors; some thousands, for the time grows with their square.
    """
    from sklearn.neighbors import NearestNeighbors

    count = len(features)
    reach = min(max(count // 50, NEIGHBOURS[0]), NEIGHBOURS[1], count - 1)
    # Each point's neighbours are one thread's work, which threads within the sums would do in another order each time.
    with threadpool_limits(1, user_api="blas"):
        near = NearestNeighbors(n_neighbors=reach + 1, algorithm="brute").fit(features)
        distances, neighbours = near.kneighbors(features)
    spread = (distances[:, 1:].astype(np.float64) ** 2).mean(axis=1)
    # Copies of one image are no peak above all.
    spread = np.maximum(spread, max(SAME * float(np.median(spread)), 1e-12))
    density = -np.log(spread) / 2
    downward = np.argsort(-density, kind="stable")
    rank = np.empty(count, np.int64)  # 0 = densest
    rank[downward] = np.arange(count)
    beside = neighbours[:, 1 : max(reach // 2, 1) + 1]
    graph: list[list[int]] = [[] for _ in range(count)]  # by rank, from a point to the denser ones beside it
    for point, others in enumerate(beside):
        for other in others:
            graph[max(rank[point], rank[other])].append(int(min(rank[point], rank[other])))

    heights = density[downward]
    root = np.arange(count)  # of the tree that a point, by rank, is in: its densest point
    points_of, heights_of = np.ones(count), heights.copy()  # by root: how many points its tree has, and their sum

    def root_of(point: int) -> int:
        while root[point] != point:
            root[point] = root[root[point]]
            point = root[point]
        return point

    climbed = np.arange(count)
    joined: dict[int, tuple[float, int]] = {}  # peak -> its excess, and the peak it was joined to
    for point, denser in enumerate(graph):
        if not denser:
            continue
        climbed[point] = climbed[min(denser)]
        summit = root[point] = root_of(min(denser))
        points_of[summit] += 1
        heights_of[summit] += heights[point]
        for other in denser:
            low, high = sorted((root_of(other), root_of(point)), reverse=True)
            if low != high:
                joined[low] = (float(heights_of[low] - points_of[low] * heights[point]), high)
                root[low] = high
                points_of[high] += points_of[low]
                heights_of[high] += heights_of[low]
    summits = np.unique(climbed)  # the densest first
    unjoined = heights_of - points_of * heights[-1]
    excesses = np.array([joined[peak][0] if peak in joined else unjoined[peak] for peak in summits.tolist()])
    # A peak comes after the one it was joined to, whose excess holds its own.
    order = np.argsort(-excesses, kind="stable")
    place = {int(summits[which]): position for position, which in enumerate(order)}
    parents = np.array([place[joined[peak][1]] if peak in joined else 0 for peak in summits[order].tolist()])
    by_rank = np.array([place[int(peak)] for peak in climbed])
    return DensityModes(downward[summits[order]], excesses[order], parents, by_rank[rank], beside)


@dataclass(frozen=True)
class ClusterCountScan:
    """How well each number of clusters describes a cloud of points.

    Attributes:
        counts: Numbers of clusters, 2 and up.
        falls: How many times larger the excess of the last peak that so many clusters keep is than that of the next one
            (`Modes`).
        stabilities: NMI of the clusterings that two halves of the points give, over all of them.
        scores: Stability times the log of the fall.
        best: The count of the highest score.
    """

    counts: list[int]
    falls: list[float]
    stabilities: list[float]
    scores: list[float]
    best: int


def scan(features: Features, most: int, *, seed: int) -> ClusterCountScan:
    """Looks for the number of clusters: where excess falls at once, and where two halves of the points agree.

    A peak that belongs to a class stands out and is found again in other images of it; one peak more is chance.

    Args:
        features: (points, features), unit vectors.
        most: Clusters to look for, at most.
        seed: Of the halves.

    Raises:
        UserError: no peak stands out.
    """
    whole = modes(features)
    halves = np.array_split(np.random.default_rng(seed).permutation(len(features)), 2)
    parts = [(features[half], modes(features[half])) for half in halves]
    most = min(most, *(len(found.peaks) for found in (whole, *(part[1] for part in parts))))
    if most < 2:
        raise UserError(NO_GROUPS)
    counts = list(range(2, most + 1))
    falls = [float(fall) for fall in whole.falls()[: len(counts)]]
    if max(falls) <= 1:
        raise UserError(NO_GROUPS)
    stabilities = []
    for count in counts:
        first, second = (
            (features @ directions(points, found.labels(count), count).T).argmax(axis=1) for points, found in parts
        )
        stabilities.append(nmi(first, second))
    scores = [stability * math.log(fall) for stability, fall in zip(stabilities, falls, strict=True)]
    return ClusterCountScan(counts, falls, stabilities, scores, counts[int(np.argmax(scores))])


@dataclass(frozen=True)
class Clusters:
    """Points put into clusters.

    Attributes:
        labels: (points,), 0 to clusters - 1.
        are_modes: Whether they are modes of density, or else round.
        kinds: (clusters, kinds), how many points of each cluster are of each *kind*: of each mode that is there beyond
            doubt, however many clusters were asked for; (clusters, 0) where nothing is.
    """

    labels: Labels
    are_modes: bool
    kinds: NDArray[np.int64]


def cluster(features: Features, clusters: int, *, seed: int) -> Clusters:
    """Puts points into clusters: by the `modes` of their density where those are clear, else by k-means.

    Modes are told apart by what lies between them, which is right for classes of any size, where k-means cuts large
    ones through and joins small ones. Where classes touch, though, modes join some and pick accidents of the sample
    instead. It shows: clear modes are about the round clusters, or put fewer neighbours apart than those do and are
    hardly more spread out. The more points there are, the fewer accidents.

    Args:
        features: (points, features), unit vectors.
        clusters: How many.
        seed: Of k-means.

    Raises:
        UserError: there are fewer points than clusters.
    """
    from sklearn.cluster import KMeans  # here, before threads are limited: its own are known only once it is there
    from sklearn.exceptions import ConvergenceWarning

    if len(features) < clusters:
        raise UserError(f"{len(features)} images can not be put into {clusters} clusters")
    found = modes(features)
    with threadpool_limits(1), catch_warnings():
        simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than clusters: some stay empty, and it shows
        round_ones = np.asarray(KMeans(clusters, n_init=STARTS, random_state=seed).fit_predict(features), np.int64)
    if len(found.peaks) < clusters:
        return Clusters(round_ones, are_modes=False, kinds=_kinds(found, round_ones, clusters))
    by_mode = found.labels(clusters)
    cuts = [float((labels[found.neighbours] != labels[:, None]).mean()) for labels in (by_mode, round_ones)]
    scatters = [scatter(features, labels, clusters) for labels in (by_mode, round_ones)]
    clear: bool = ari(by_mode, round_ones) >= ALIKE or cuts[1] * scatters[1] > WORTH * cuts[0] * scatters[0]
    labels = by_mode if clear else round_ones
    return Clusters(labels, are_modes=clear, kinds=_kinds(found, labels, clusters))


def _kinds(found: DensityModes, labels: Labels, clusters: int) -> NDArray[np.int64]:
    count = found.clear_count()
    if not count:
        return np.zeros((clusters, 0), np.int64)
    return contingency(labels, found.labels(count), clusters, count)


def scatter(features: Features, labels: Labels, clusters: int) -> float:
    """The mean squared distance of points to their cluster's direction, which k-means makes as small as it can."""
    return float(((features - directions(features, labels, clusters)[labels]) ** 2).sum(axis=1).mean())


def directions(features: Features, labels: Labels, clusters: int) -> Features:
    """The mean direction of each cluster's features: (clusters, features), unit vectors."""
    sums = np.zeros((clusters, features.shape[1]), np.float64)
    np.add.at(sums, labels, features)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    result: Features = (sums / np.maximum(lengths, 1e-12)).astype(np.float32)
    return result


def neighbour_distance(points: Features, *, neighbour: int = 10) -> float:
    """The mean distance of a point to its 10th neighbour, itself not counted.

    Args:
        points: (points, values).
        neighbour: Which one.
    """
    from sklearn.neighbors import NearestNeighbors

    with threadpool_limits(1):
        found = NearestNeighbors(n_neighbors=min(neighbour + 1, len(points)), algorithm="brute").fit(points)
        distances, _ = found.kneighbors(points[:: -(-len(points) // PROBED)])  # evenly: they may come class by class
    return float(distances[:, -1].mean())
