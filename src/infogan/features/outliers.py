"""How unlike all others images are, by their features. Arrays in, numbers out."""

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from infogan.utils.errors import UserError

Directions = Float32[np.ndarray, "image feature"]
"""Unit vectors of images."""

REFERENCES = 20_000  # images whose distances are measured
NEIGHBOUR_SHARE, MIN_NEIGHBOUR = 0.02, 10  # the neighbour whose distance counts, as a share of all images
ROWS = 500  # that are compared at once


def outlier_scores(vectors: Directions, others: Directions | None = None) -> NDArray[np.float32]:
    """Return how far each image is from others, relative to the median of these; 1 is usual.

    The distance is that to one neighbour (Ramaswamy et al. 2000, SIGMOD), the one at ``NEIGHBOUR_SHARE`` of all images.
    So a few dozen foreign images of one kind do not hide one another.

    Args:
        vectors: Of the images.
        others: Of the images to compare them with; None = one another.

    Raises:
        UserError: There are too few images to compare them with.
    """
    references = vectors if others is None else others
    references = references[:: -(-len(references) // REFERENCES)]
    rank = max(MIN_NEIGHBOUR, int(NEIGHBOUR_SHARE * len(references)))
    if len(references) <= rank:
        raise UserError(f"outliers are found among at least {rank + 1} images; there are {len(references)}")
    distances = _distances(vectors, references, rank)
    usual = distances if others is None else _distances(references, references, rank)
    scores: NDArray[np.float32] = distances / max(float(np.median(usual)), 1e-12)
    return scores


def unit_vectors(vectors: Float32[np.ndarray, "image feature"]) -> Directions:
    """Return vectors scaled to length 1; zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)


def _distances(vectors: Directions, references: Directions, rank: int) -> NDArray[np.float32]:
    """Return the distance of each vector to the reference of a rank, (images,); rank 0 is the nearest."""
    parts = []
    for start in range(0, len(vectors), ROWS):
        squares = 2 - 2 * vectors[start : start + ROWS] @ references.T
        parts.append(np.sqrt(np.partition(squares, rank, axis=1)[:, rank].clip(min=0)))
    return np.concatenate(parts)
