"""Clustering of an encoder's features: how its categories start.

Arrays in, arrays out. Everything is deterministic for a seed, bit for bit on one machine, because a run that resumes at
the start of a stage clusters again.
"""

from dataclasses import dataclass
from warnings import catch_warnings, simplefilter

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from infogan.utils.errors import UserError
from infogan.utils.matching import ari, contingency

Features = NDArray[np.float32]
Labels = NDArray[np.int64]

MIN_NEIGHBOURS, MAX_NEIGHBOURS = 10, 60  # of a point, for its density; points climb along half of them
KMEANS_STARTS = 10
SAME_CLUSTERING_ARI = 0.9  # adjusted Rand index from which two clusterings count as the same
DECISIVE_FALL = 30.0  # factor between the excesses of two modes, after which there are no more that matter
NEGLIGIBLE_EXCESS = 1e-5  # share of all modes' excess
MODE_ADVANTAGE = 1.3  # by how much density modes must be the better cut, for the scatter that they cost
DUPLICATE_DISTANCE = 1e-3  # share of the median squared distance to neighbours, below which points count as copies
DISTANCE_SAMPLE = 1_000  # points whose neighbours are measured


@dataclass(frozen=True)
class DensityModes:
    """The peaks of density in a set of points, and the peak that each point belongs to.

    Two peaks merge at the saddle between them. The mass above that saddle is the *excess* of the lower peak (Müller &
    Sawitzki 1991): a peak counts by its height and by the number of points on it.

    Attributes:
        peaks: (peaks,) indices of points, the largest excess first.
        excesses: (peaks,), the sum, over the peak's points, of their heights above the saddle; for a peak that is not
            connected to a higher one, above the lowest point of all. Heights are of log density per dimension: e^-h is
            a ratio of distances to neighbours.
        parents: (peaks,), the position in ``peaks`` of the higher peak that each merges into; 0 if there is none.
        peak_of_point: (points,), the position in ``peaks`` that each point climbs to.
        neighbours: (points, neighbours), the nearest points of each.
    """

    peaks: NDArray[np.int64]
    excesses: NDArray[np.float64]
    parents: NDArray[np.int64]
    peak_of_point: Labels
    neighbours: NDArray[np.int64]

    def labels(self, count: int) -> Labels:
        """Return the cluster of each point, (points,), if only the first ``count`` peaks remain."""
        owner = np.arange(len(self.peaks))
        for peak in range(count, len(owner)):
            while owner[peak] >= count:
                owner[peak] = self.parents[owner[peak]]
        labels: Labels = owner[self.peak_of_point]
        return labels

    def falls(self) -> NDArray[np.float64]:
        """Return how many times larger each peak's excess is than the next one's, from the second on, (peaks - 1,)."""
        shares = self.excesses / max(float(self.excesses.sum()), 1e-12)
        shares = np.append(np.maximum(shares, NEGLIGIBLE_EXCESS), NEGLIGIBLE_EXCESS)
        ratios: NDArray[np.float64] = shares[1:-1] / shares[2:]
        return ratios

    def clear_count(self) -> int:
        """Return the number of peaks beyond doubt: at least 2, followed by a fall of ``DECISIVE_FALL``; 0 if unclear.

        A fall after the last peak does not count: a few points have few peaks.
        """
        falls = self.falls()[:-1]
        return 2 + int(falls.argmax()) if len(falls) and falls.max() >= DECISIVE_FALL else 0


def modes(features: Features) -> DensityModes:
    """Find the modes of density as ToMATo does (Chazal et al. 2013, Journal of the ACM 60(6)), with their excess.

    Clusters of any shape and size are separated if fewer points lie between them than within: large clusters are not
    cut, and small ones not merged, for the sake of equal sizes. ToMATo itself ranks peaks by height over the saddle
    alone, which puts a few stray points that are very similar before a cluster that touches another.

    Args:
        features: (points, features), unit vectors; some thousands, because the time grows with their square.
    """
    density, neighbours = _density(features)
    count = len(features)
    by_rank = np.argsort(-density, kind="stable")  # rank 0 is the densest point
    rank = np.argsort(by_rank)  # of each point
    denser_neighbours: list[list[int]] = [[] for _ in range(count)]  # by rank
    for point, row in enumerate(neighbours):
        for neighbour in row:
            low, high = max(rank[point], rank[neighbour]), min(rank[point], rank[neighbour])
            denser_neighbours[low].append(int(high))

    heights = density[by_rank]
    root = np.arange(count)  # of each point's tree, by rank: its densest point
    sizes, height_sums = np.ones(count), heights.copy()  # of the trees, by root

    def find_root(point: int) -> int:
        while root[point] != point:
            root[point] = root[root[point]]
            point = root[point]
        return point

    summit = np.arange(count)  # that each point climbs to, by rank
    merged: dict[int, tuple[float, int]] = {}  # peak -> its excess, and the peak that it merges into
    for point, denser in enumerate(denser_neighbours):
        if not denser:
            continue
        summit[point] = summit[min(denser)]
        tree = root[point] = find_root(min(denser))
        sizes[tree] += 1
        height_sums[tree] += heights[point]
        for neighbour in denser:
            low, high = sorted((find_root(neighbour), find_root(point)), reverse=True)
            if low != high:
                merged[low] = (float(height_sums[low] - sizes[low] * heights[point]), high)
                root[low] = high
                sizes[high] += sizes[low]
                height_sums[high] += height_sums[low]
    peaks = np.unique(summit)  # the densest first
    unmerged = height_sums - sizes * heights[-1]
    excesses = np.array([merged[peak][0] if peak in merged else unmerged[peak] for peak in peaks.tolist()])
    # A peak comes after the one that it merges into, whose excess includes its own.
    order = np.argsort(-excesses, kind="stable")
    position = {int(peaks[index]): number for number, index in enumerate(order)}
    parents = np.array([position[merged[peak][1]] if peak in merged else 0 for peak in peaks[order].tolist()])
    peak_of_rank = np.array([position[int(peak)] for peak in summit])
    return DensityModes(by_rank[peaks[order]], excesses[order], parents, peak_of_rank[rank], neighbours)


def _density(features: Features) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the log density per dimension at each point, up to a constant, and the neighbours that it climbs along."""
    from sklearn.neighbors import NearestNeighbors

    neighbours = min(max(len(features) // 50, MIN_NEIGHBOURS), MAX_NEIGHBOURS, len(features) - 1)
    # Each point's neighbours are found by one thread; threads within the sums would vary their order.
    with threadpool_limits(1, user_api="blas"):
        search = NearestNeighbors(n_neighbors=neighbours + 1, algorithm="brute").fit(features)
        distances, indices = search.kneighbors(features)
    spread = (distances[:, 1:].astype(np.float64) ** 2).mean(axis=1)
    # Copies of one image are not the highest peak.
    spread = np.maximum(spread, max(DUPLICATE_DISTANCE * float(np.median(spread)), 1e-12))
    return -np.log(spread) / 2, indices[:, 1 : max(neighbours // 2, 1) + 1]


@dataclass(frozen=True)
class Clusters:
    """A clustering.

    Attributes:
        labels: (points,), 0 to clusters - 1.
        are_modes: Whether they are modes of density; otherwise k-means clusters.
        kinds: (clusters, kinds), the number of points of each cluster in each mode that exists beyond doubt, whatever
            the number of clusters; (clusters, 0) if nothing is clear.
    """

    labels: Labels
    are_modes: bool
    kinds: NDArray[np.int64]


def cluster(features: Features, clusters: int, *, seed: int, density_modes: DensityModes | None = None) -> Clusters:
    """Cluster points by the `modes` of their density if those are clear, else by k-means.

    Modes are separated by what lies between them, which is right for classes of any size; k-means cuts large classes
    and merges small ones. If classes touch, modes merge some and find chance peaks instead. Modes count as clear if
    they are about the k-means clusters, or if they separate fewer neighbours and are hardly more scattered.

    Args:
        features: (points, features), unit vectors.
        clusters: Number of clusters.
        seed: Seed of k-means.
        density_modes: The `modes` of the features, if they are known already.

    Raises:
        UserError: There are fewer points than clusters.
    """
    from sklearn.cluster import KMeans  # before threads are limited: its own are known only after the import
    from sklearn.exceptions import ConvergenceWarning

    if len(features) < clusters:
        raise UserError(f"{len(features)} images are too few for {clusters} clusters: ask for fewer categories")
    density_modes = density_modes or modes(features)
    with threadpool_limits(1), catch_warnings():
        simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than clusters: some stay empty
        kmeans = KMeans(clusters, n_init=KMEANS_STARTS, random_state=seed)
        kmeans_labels = np.asarray(kmeans.fit_predict(features), np.int64)

    def cost(labels: Labels) -> float:
        cut = float((labels[density_modes.neighbours] != labels[:, None]).mean())
        return cut * scatter(features, labels, clusters)

    labels, are_modes = kmeans_labels, False
    if len(density_modes.peaks) >= clusters:
        mode_labels = density_modes.labels(clusters)
        are_same = ari(mode_labels, kmeans_labels) >= SAME_CLUSTERING_ARI
        if are_same or cost(kmeans_labels) > MODE_ADVANTAGE * cost(mode_labels):
            labels, are_modes = mode_labels, True
    kinds, count = np.zeros((clusters, 0), np.int64), density_modes.clear_count()
    if count:
        kinds = contingency(labels, density_modes.labels(count), clusters, count)
    return Clusters(labels, are_modes=are_modes, kinds=kinds)


def scatter(features: Features, labels: Labels, clusters: int) -> float:
    """Return the mean squared distance of points to their cluster's direction, which k-means minimises."""
    return float(((features - directions(features, labels, clusters)[labels]) ** 2).sum(axis=1).mean())


def directions(features: Features, labels: Labels, clusters: int) -> Features:
    """Return the mean direction of each cluster's features, (clusters, features), unit vectors."""
    sums = np.zeros((clusters, features.shape[1]), np.float64)
    np.add.at(sums, labels, features)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    result: Features = (sums / np.maximum(lengths, 1e-12)).astype(np.float32)
    return result


def nearest_neighbours(points: Features, count: int) -> NDArray[np.int64]:
    """Return the ``count`` nearest points of each point, (points, count), the point itself not counted."""
    from sklearn.neighbors import NearestNeighbors

    with threadpool_limits(1, user_api="blas"):
        search = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(points)
        neighbours: NDArray[np.int64] = search.kneighbors(return_distance=False)
    return neighbours


def neighbour_distance(points: Features, *, neighbour: int = 10) -> float:
    """Return the mean distance of points, (points, values), to their n-th neighbour, the point itself not counted."""
    from sklearn.neighbors import NearestNeighbors

    with threadpool_limits(1):
        search = NearestNeighbors(n_neighbors=min(neighbour + 1, len(points)), algorithm="brute").fit(points)
        distances, _ = search.kneighbors(points[:: -(-len(points) // DISTANCE_SAMPLE)])  # points may be sorted by class
    return float(distances[:, -1].mean())
