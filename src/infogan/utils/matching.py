"""Contingency tables, one-to-one matching, and the agreement of two partitions of the same images."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.integer[Any]]

UNMATCHED = -1  # the class of a cluster that the one-to-one matching leaves over


def contingency(predicted: Integers, labels: Integers, n_clusters: int, n_classes: int) -> NDArray[np.int64]:
    """Count the images of each cluster that carry each label.

    Args:
        predicted: (images,), the cluster of each image, 0 to n_clusters - 1.
        labels: (images,), the label of each image, 0 to n_classes - 1.
        n_clusters: Number of clusters; some may be empty.
        n_classes: Number of classes; some may have no images.

    Returns:
        (n_clusters, n_classes), summing to the number of images.

    Raises:
        ValueError: no images, unequal lengths, not one-dimensional, or a value out of range.

    Example:
        >>> contingency(np.array([0, 0, 1]), np.array([0, 1, 1]), 2, 2).tolist()
        [[1, 1], [0, 1]]
    """
    check_pair(predicted, labels)
    check_range("cluster", predicted, n_clusters)
    check_range("label", labels, n_classes)
    cells = predicted.astype(np.int64, casting="safe") * n_classes + labels  # uint8 labels would overflow
    counts = np.bincount(cells, minlength=n_clusters * n_classes)
    return counts.reshape(n_clusters, n_classes).astype(np.int64)


def nonzero_contingency(predicted: Integers, labels: Integers) -> NDArray[np.int64]:
    """Return the non-empty cells of `contingency`, in arbitrary order.

    Memory grows with the number of images, not with clusters times classes.

    Args:
        predicted: (images,), the cluster of each image.
        labels: (images,), the label of each image.

    Returns:
        (cells,), positive counts that sum to the number of images.

    Raises:
        ValueError: no images, unequal lengths, not one-dimensional, or a negative value.
    """
    check_pair(predicted, labels)
    n_clusters, n_classes = int(predicted.max()) + 1, int(labels.max()) + 1
    check_range("cluster", predicted, n_clusters)
    check_range("label", labels, n_classes)
    cells = predicted.astype(np.int64, casting="safe") * n_classes + labels
    counts: NDArray[np.int64] = np.unique(cells, return_counts=True)[1].astype(np.int64)
    return counts


def hungarian_mapping(predicted: Integers, labels: Integers, n_clusters: int, n_classes: int) -> NDArray[np.int64]:
    """Return the one-to-one assignment of clusters to classes under which most images agree (Kuhn 1955).

    If there are more clusters than classes, each surplus cluster gets `UNMATCHED` (-1), which equals no label. If there
    are fewer, some classes stay without a cluster. Empty clusters get the remaining classes in an arbitrary but
    reproducible order, so an assigned class does not show that a cluster has images.

    Args:
        predicted: (images,), the cluster of each *training* image.
        labels: (images,), the label of each image.
        n_clusters: Number of clusters.
        n_classes: Number of classes.

    Returns:
        (n_clusters,), the class of each cluster or -1.

    Raises:
        ValueError: as `contingency`.

    Example:
        >>> hungarian_mapping(np.array([0, 0, 1, 2]), np.array([1, 1, 0, 1]), 3, 2).tolist()
        [1, 0, -1]
    """
    from scipy.optimize import linear_sum_assignment

    clusters, classes = linear_sum_assignment(contingency(predicted, labels, n_clusters, n_classes), maximize=True)
    mapping = np.full(n_clusters, UNMATCHED, dtype=np.int64)
    mapping[clusters] = classes
    return mapping


def matched_share(first: Integers, second: Integers, count: int) -> float:
    """Return the share of images on which two partitions agree, their parts matched one to one.

    Args:
        first: (images,), the part of each image, 0 to count - 1.
        second: (images,), likewise.
        count: Number of parts; some may be empty.

    Raises:
        ValueError: as `contingency`.

    Example:
        >>> matched_share(np.array([0, 0, 1, 1]), np.array([1, 1, 0, 1]), 2)
        0.75
    """
    mapping = hungarian_mapping(first, second, count, count)
    return float((mapping[first] == second).mean())


def nmi(predicted: Integers, labels: Integers) -> float:
    """Return the normalised mutual information I(k; c) / ((H(k) + H(c)) / 2): 0 if independent, 1 if equal partitions.

    The normaliser is the *arithmetic mean* of the two entropies, as in scikit-learn since 0.22; papers that use the
    geometric mean or the maximum report other values. The value is not adjusted for chance: many small clusters raise
    it (Vinh et al. 2010). Two partitions with a single part each are equal and give 1.

    Args:
        predicted: (images,), the cluster of each image.
        labels: (images,), the label of each image.

    Raises:
        ValueError: no images, unequal lengths, or a negative value.
    """
    joint = compact_contingency(predicted, labels) / len(labels)
    cluster_entropy, class_entropy = _entropy(joint.sum(axis=1)), _entropy(joint.sum(axis=0))
    if cluster_entropy == class_entropy == 0:
        return 1.0
    information = cluster_entropy + class_entropy - _entropy(joint.ravel())
    # The difference of entropies can leave [0, 1] by rounding.
    return float(np.clip(2 * information / (cluster_entropy + class_entropy), 0, 1))


def ari(predicted: Integers, labels: Integers) -> float:
    """Return the adjusted Rand index (Hubert & Arabie 1985, equation 5): 1 for equal partitions, 0 expected by chance.

    It counts the pairs of images that both partitions put together and subtracts what chance would give. Partitions
    that agree less than chance are negative, down to -1/2. Two trivial partitions of one kind are equal and give 1.

    Args:
        predicted: (images,), the cluster of each image.
        labels: (images,), the label of each image.

    Raises:
        ValueError: no images, unequal lengths, or a negative value.
    """
    table = compact_contingency(predicted, labels)
    joint_pairs = _pairs(table.ravel())
    cluster_pairs, class_pairs = _pairs(table.sum(axis=1)), _pairs(table.sum(axis=0))
    if joint_pairs == cluster_pairs == class_pairs:
        return 1.0
    expected = cluster_pairs * class_pairs / _pairs(np.array([len(labels)]))
    return (joint_pairs - expected) / ((cluster_pairs + class_pairs) / 2 - expected)


def compact_contingency(predicted: Integers, labels: Integers) -> NDArray[np.int64]:
    """Return the `contingency` table up to the largest cluster and label that occur.

    Raises:
        ValueError: no images, unequal lengths, not one-dimensional, or a negative value.
    """
    check_pair(predicted, labels)
    return contingency(predicted, labels, int(predicted.max()) + 1, int(labels.max()) + 1)


def check_pair(predicted: Integers, labels: Integers) -> None:
    """Raise `ValueError` unless there is one cluster and one label per image, and at least one image."""
    if predicted.ndim != 1 or predicted.shape != labels.shape:
        raise ValueError(
            f"clusters have shape {predicted.shape} and labels {labels.shape}; both must be (images,) of equal length"
        )
    if len(labels) == 0:
        raise ValueError("clusters and labels are empty; at least one image is needed")


def check_range(kind: str, numbers: Integers, count: int) -> None:
    """Raise `ValueError`, naming the `kind`, if a number is not in 0 to count - 1."""
    low, high = int(numbers.min()), int(numbers.max())
    if low < 0 or high >= count:
        raise ValueError(f"{kind} {low if low < 0 else high} is out of range; allowed are 0 to {count - 1}")


def _entropy(probabilities: NDArray[np.float64]) -> float:
    positive = probabilities[probabilities > 0]
    return float(-(positive * np.log(positive)).sum()) + 0.0  # one certain outcome has entropy 0, not -0


def _pairs(counts: NDArray[np.int64]) -> float:
    return float((counts * (counts - 1) // 2).sum())
