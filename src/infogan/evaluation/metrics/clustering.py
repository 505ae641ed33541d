"""Agreement of categories with labels that the model never had.

All metrics are computed from the contingency table n[k, c], the number of images of cluster k with label c, and none
depends on the numbering of clusters. Accuracy is clustering accuracy (Yang et al. 2010; Xie et al. 2016, equation 10):
clusters are matched with classes one-to-one (Kuhn 1955), and the images that then agree are counted. The match is
fitted on training images and *reported on test images*, so that no test label takes part in it.
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
]

CONFIDENCE_BINS = 15
MIN_PROBABILITY = float(np.finfo(np.float32).eps)  # probabilities are float32; a smaller one may as well be 0


def accuracy(mapping: NDArray[np.int64], predicted: Integers, labels: Integers) -> float:
    """Return the share of images whose cluster is mapped to their label; 1 is best.

    Args:
        mapping: (n_clusters,) from `hungarian_mapping` on *training* images. Fitted on the images that it is reported
            on, the value is too high, the more so the fewer they are.
        predicted: (images,), the cluster of each *test* image.
        labels: (images,), the label of each image.

    Raises:
        ValueError: no images, unequal lengths, or a cluster outside the mapping.

    Example:
        >>> mapping = hungarian_mapping(train_clusters, train_labels, 10, 10)
        >>> accuracy(mapping, test_clusters, test_labels)
    """
    check_pair(predicted, labels)
    check_range("cluster", predicted, len(mapping))
    return float(np.mean(mapping[predicted] == labels))


def purity(predicted: Integers, labels: Integers) -> float:
    """Return (1/N) Σ_k max_c n[k, c], the share of images with the most common label of their cluster; 1 is best.

    Several clusters may match the same class, so purity is never below the one-to-one accuracy of the same images. It
    grows as clusters are split, to 1 for one image per cluster; compare it for equal numbers of clusters only.

    Args:
        predicted: (images,), the cluster of each image.
        labels: (images,), the label of each image.

    Raises:
        ValueError: no images, unequal lengths, or a negative number.
    """
    return float(compact_contingency(predicted, labels).max(axis=1).sum() / len(labels))


@dataclass(frozen=True)
class Calibration:
    """How well probabilities of clusters fit as probabilities of classes; 0 is best for each.

    Attributes:
        error: Expected calibration error, in [0, 1]: mean difference between confidence and accuracy.
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
    """Return how well the posterior over clusters fits as a posterior over the classes they are mapped to.

    - Expected calibration error (Naeini et al. 2015): images are binned by confidence, the probability of their
      cluster; the error is the mean over images of |confidence - accuracy| of their bin. Bins contain *equally many
      images* (Nguyen & O'Connor 2015); with the more common bins of equal width (Guo et al. 2017) a confident model
      leaves all but the last nearly empty. Images of equal confidence are never separated, so that the order of images
      does not matter and there may be fewer bins. The estimate is biased upwards, by about 0.4 / √(images per bin) for
      a calibrated model of medium confidence, and considers only the most probable cluster.
    - Brier score (Brier 1950, equation 2): the mean of Σ_c (p_c - [c is the label])². Some publications halve it.
    - Negative log-likelihood: the mean of -log p of the label, with p at least 1.2e-7.

    Confidence is about a *cluster*. A class without a cluster has probability 0, and the probability of a cluster
    without a class counts for no class: if their numbers differ, all three values are larger.

    Args:
        mapping: (n_clusters,) from `hungarian_mapping` on training images.
        probabilities: (images, n_clusters), rows summing to 1.
        labels: (images,), 0 to n_classes - 1.
        n_classes: Number of classes.
        bins: Maximum number of bins of the calibration error, at least 1.

    Raises:
        ValueError: no images, shapes that do not match, or a label out of range.
    """
    if probabilities.ndim != 2 or probabilities.shape[1] != len(mapping):
        raise ValueError(f"probabilities have shape {probabilities.shape}; expected (images, {len(mapping)})")
    predicted = probabilities.argmax(axis=1)
    check_pair(predicted, labels)
    check_range("label", labels, n_classes)
    confidence = probabilities.max(axis=1).astype(np.float64)
    edges = np.unique(np.quantile(confidence, np.arange(1, bins) / bins, method="higher"))
    bin_indices = np.searchsorted(edges, confidence, "right")
    excess = np.bincount(bin_indices, confidence - (mapping[predicted] == labels))  # per bin, summed over its images

    class_probabilities = np.zeros((len(labels), n_classes))
    matched = np.flatnonzero(mapping != UNMATCHED)
    class_probabilities[:, mapping[matched]] = probabilities[:, matched]
    rows = np.arange(len(labels))
    label_probabilities = class_probabilities[rows, labels]
    errors = class_probabilities
    errors[rows, labels] -= 1
    return Calibration(
        error=float(np.abs(excess).sum() / len(labels)),
        brier=float(np.square(errors).sum(axis=1).mean()),
        log_loss=float(-np.log(np.maximum(label_probabilities, MIN_PROBABILITY)).mean()),
    )
