"""How well the categories a code found agree with labels that it never saw.

In flow two integers per image, the cluster it was filed under and its label; out come numbers. All of them are read
off one table, the contingency n[k, c] = how many images of cluster k carry label c, and none depends on how clusters
are numbered. Labels are for evaluation only.

Accuracy is the field's clustering accuracy (Yang et al. 2010; Xie et al. 2016, equation 10): clusters are matched to
classes one-to-one by the Hungarian method (Kuhn 1955) and the images that then agree are counted. The match is fitted
on the training images and *reported on the test images*, so that no test label takes part in it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infogan.utils.matching import (
    UNMATCHED,
    Integers,
    ari,
    check_pair,
    check_range,
    compact_contingency,
    contingency,
    hungarian_mapping,
    nmi,
)

__all__ = [
    "UNMATCHED",
    "Calibration",
    "accuracy",
    "ari",
    "calibration",
    "contingency",
    "hungarian_mapping",
    "nmi",
    "purity",
    "recall_per_class",
]

CONFIDENCE_BINS = 15
LEAST = float(np.finfo(np.float32).eps)  # probabilities are float32: a smaller one may as well be 0


def accuracy(mapping: NDArray[np.int64], predicted: Integers, labels: Integers) -> float:
    """The share of images whose cluster is mapped to their label; 1 is best.

    Args:
        mapping: (n_clusters,) from `hungarian_mapping` on *training* images. Fitted on the very images it is reported
            on, the number flatters, the more so the fewer they are.
        predicted: (images,), the cluster of each *test* image.
        labels: (images,), its label.

    Raises:
        ValueError: no images, unequal lengths, or a cluster outside the mapping.
    """
    check_pair(predicted, labels)
    check_range("cluster", predicted, len(mapping))
    return float(np.mean(mapping[predicted] == labels))


def recall_per_class(
    mapping: NDArray[np.int64], predicted: Integers, labels: Integers, n_classes: int
) -> NDArray[np.float64]:
    """`accuracy` within each class: which classes the code found and which it merged into others; 1 is best.

    The classes' recalls, weighted by their share of the images, sum to the accuracy. A class that got no cluster has
    recall 0; a class without images has none to recall and is NaN (which JSON can not hold).

    Args:
        mapping: (n_clusters,) from `hungarian_mapping` on training images.
        predicted: (images,), the cluster of each test image.
        labels: (images,), its label, 0 to n_classes - 1.
        n_classes: How many classes there are.

    Returns:
        (n_classes,), each in [0, 1] or NaN.

    Raises:
        ValueError: as `accuracy`, or a label out of range.
    """
    table = contingency(predicted, labels, len(mapping), n_classes)
    hits = np.zeros(n_classes)
    matched = np.flatnonzero(mapping != UNMATCHED)
    hits[mapping[matched]] = table[matched, mapping[matched]]
    totals = table.sum(axis=0)
    recall: NDArray[np.float64] = np.divide(hits, totals, out=np.full(n_classes, np.nan), where=totals > 0)
    return recall


def purity(predicted: Integers, labels: Integers) -> float:
    """(1/N) Σ_k max_c n[k, c], the share of images that carry their cluster's commonest label; 1 is best.

    Several clusters may stand for one class, so purity is never below the one-to-one accuracy of the same images. It
    can only grow as clusters are split, to 1 for one image a cluster: compare at equal numbers of clusters only.

    Args:
        predicted: (images,), the cluster of each image.
        labels: (images,), its label.

    Raises:
        ValueError: no images, unequal lengths, or a negative number.
    """
    return float(compact_contingency(predicted, labels).max(axis=1).sum() / len(labels))


@dataclass(frozen=True)
class Calibration:
    """Whether probabilities of clusters, taken for those of classes, are to be believed; 0 is best of each.

    Attributes:
        error: Expected calibration error, in [0, 1]: by how much confidence and accuracy differ.
        brier: Brier score, in [0, 2].
        log_loss: Negative log-likelihood of the labels in nats, at most 15.9.
    """

    error: float
    brier: float
    log_loss: float


def calibration(
    mapping: NDArray[np.int64],
    probabilities: NDArray[np.floating[Any]],
    labels: Integers,
    n_classes: int,
    *,
    bins: int = CONFIDENCE_BINS,
) -> Calibration:
    """How far the posterior over clusters can be believed, as that over the classes they are mapped to.

    - Expected calibration error (Naeini et al. 2015): images are binned by confidence, the probability of the cluster
      they are filed under; the mean over images of |confidence - accuracy| of their bin. Bins are of *equally many
      images* (Nguyen & O'Connor 2015), where most implementations take bins of equal width (Guo et al. 2017), of which
      a confident model leaves all but the last nearly empty. Equal confidences are never parted, so that the order of
      images does not matter; there may then be fewer bins. The estimate is biased upwards, by about 0.4 / √(images a
      bin) for a model that is calibrated and unsure, and it sees only the first choice.
    - Brier score (Brier 1950, equation 2): the mean of Σ_c (p_c - [c is the label])². Some halve it.
    - Negative log-likelihood: the mean of -log p of the label, p at least 1.2e-7.

    Confidence here is in a *cluster*. A class that has no cluster has probability 0, and of a cluster without a class
    the probability is nobody's: with other numbers of clusters and classes, all three are raised by the mismatch.

    Args:
        mapping: (n_clusters,) from `hungarian_mapping` on training images.
        probabilities: (images, n_clusters), rows summing to 1.
        labels: (images,), 0 to n_classes - 1.
        n_classes: How many classes there are.
        bins: Of the calibration error, at most; at least 1.

    Raises:
        ValueError: no images, shapes that do not fit, or a label out of range.
    """
    if probabilities.ndim != 2 or probabilities.shape[1] != len(mapping):
        raise ValueError(f"probabilities of shape {probabilities.shape}: (images, {len(mapping)}) are needed")
    found = probabilities.argmax(axis=1)
    check_pair(found, labels)
    check_range("label", labels, n_classes)
    confidence = probabilities.max(axis=1).astype(np.float64)
    edges = np.unique(np.quantile(confidence, np.arange(1, bins) / bins, method="higher"))
    place = np.searchsorted(edges, confidence, "right")
    excess = np.bincount(place, confidence - (mapping[found] == labels))  # of a bin: the sum over its images

    of_classes = np.zeros((len(labels), n_classes))
    matched = np.flatnonzero(mapping != UNMATCHED)
    of_classes[:, mapping[matched]] = probabilities[:, matched]
    images = np.arange(len(labels))
    of_label = of_classes[images, labels].copy()
    of_classes[images, labels] -= 1
    return Calibration(
        error=float(np.abs(excess).sum() / len(labels)),
        brier=float(np.square(of_classes).sum(axis=1).mean()),
        log_loss=float(-np.log(np.maximum(of_label, LEAST)).mean()),
    )
