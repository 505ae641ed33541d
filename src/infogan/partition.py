"""Features to clusters: how an encoder's classes begin.

Numpy in, numpy out. Everything is deterministic for a seed, to the last bit on one machine, because a run that resumes
at the beginning of a stage clusters again.
"""

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import SpectralClustering
from sklearn.neighbors import NearestNeighbors, kneighbors_graph
from threadpoolctl import threadpool_limits

from infogan.errors import UserError

Features = NDArray[np.float32]

NEIGHBOURS = 10  # of a point in the graph, itself among them
PROBED = 1_000  # points whose neighbours are measured


def cluster(features: Features, clusters: int, *, seed: int) -> NDArray[np.int64]:
    """Cuts the graph of nearest neighbours into clusters: spectral clustering, Ng et al. 2001.

    A global method on the graph finds groups of any shape, and the same ones from every start; k-means would look for
    round ones.

    Args:
        features: (images, features), unit vectors; some thousands, for time and memory grow with their neighbours.
        clusters: How many.
        seed: Of the starts.

    Returns:
        (images,), 0 to clusters - 1.

    Raises:
        UserError: there are fewer images than clusters.
    """
    if len(features) < clusters:
        raise UserError(f"{len(features)} images can not be put into {clusters} clusters")
    # Threads would sum in another order each time.
    with threadpool_limits(1), warnings.catch_warnings():
        # Groups without a neighbour in common are what is looked for.
        warnings.filterwarnings("ignore", "Graph is not fully connected")
        graph = kneighbors_graph(features, min(NEIGHBOURS, len(features)), include_self=True)
        method = SpectralClustering(clusters, affinity="precomputed", random_state=seed)
        labels = method.fit_predict((graph + graph.T) / 2)
    return np.asarray(labels, np.int64)


def directions(features: Features, labels: NDArray[np.int64], clusters: int) -> Features:
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
    with threadpool_limits(1):
        found = NearestNeighbors(n_neighbors=min(neighbour + 1, len(points)), algorithm="brute").fit(points)
        distances, _ = found.kneighbors(points[:PROBED])
    return float(distances[:, -1].mean())
