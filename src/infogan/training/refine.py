"""Categories that follow a person's corrections, which spread to similar images. Arrays in, arrays out.

A few corrections change more than the images that were corrected: in a good space of features, an image most probably
has the category of its neighbours.
"""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from infogan.training import clustering
from infogan.training.feature_head import FeatureHead, fit_logits

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Space = Float32[np.ndarray, "image dimension"]  # unit vectors
Probabilities = NDArray[np.float32]  # (images, categories)

NEIGHBOURS = 15  # of an image in the graph
RETAINED = 0.95  # share of its neighbours' categories that an image takes at each step
STEPS = 60
LEAST_CERTAIN = 1e-6  # distance of a probability from 0 and 1
WEAK_WEIGHT, WEAK_DISTANCE = 0.5, 3.0  # of observations that stand for what is usual, in log odds
MIN_ODDS, MAX_ODDS = 0.3, 100.0  # that the head is right
FOLDS = 5  # of the corrections, one of which is held out at a time
MAX_CLUSTERS = 500  # among which typical images are looked for


def neighbour_graph(space: Space) -> tuple["csr_matrix", NDArray[np.float32]]:
    """Return the normalised graph D^-1/2 W D^-1/2 of neighbours, and how similar each image is to its neighbours."""
    from scipy.sparse import csr_matrix, diags

    count = min(NEIGHBOURS, len(space) - 1)
    neighbours = clustering.nearest_neighbours(space, count)
    similarities = np.einsum("id,ind->in", space, space[neighbours]).clip(min=0)
    rows = np.repeat(np.arange(len(space)), count)
    graph = csr_matrix((similarities.ravel().astype(np.float64), (rows, neighbours.ravel())), (len(space),) * 2)
    graph = (graph + graph.T) / 2
    scale = diags(np.maximum(np.asarray(graph.sum(axis=1)).ravel(), 1e-12) ** -0.5)
    return scale @ graph @ scale, np.asarray(similarities.mean(axis=1), np.float32)


def spread(graph: "csr_matrix", probabilities: Probabilities, corrections: Mapping[int, int]) -> Probabilities:
    """Return the probabilities of the categories after corrections have spread along a graph.

    F <- a S F + (1 - a) Y is repeated (Zhou et al. 2004, Learning with local and global consistency, NIPS, section 2),
    where Y is certain for corrected images and has the probabilities before for the others, each with the weight of
    `prior_weights`.

    Args:
        graph: From `neighbour_graph`.
        probabilities: Of the images before.
        corrections: The right category of some images, by number.
    """
    known, values = np.array([*corrections]), np.array([*corrections.values()])
    start = probabilities * prior_weights(probabilities, corrections)[:, np.newaxis]
    start[known] = 0.0
    start[known, values] = 1.0
    result = start.copy()
    for _ in range(STEPS):
        result = RETAINED * (graph @ result) + (1 - RETAINED) * start
    return np.asarray(result / np.maximum(result.sum(axis=1, keepdims=True), 1e-12), np.float32)


def prior_weights(probabilities: Probabilities, corrections: Mapping[int, int]) -> NDArray[np.float64]:
    """Return how much the probabilities of each image count, relative to a correction, (images,).

    All images together would count as much as all corrections, but images of which the head is as sure as of those that
    it has filed rightly count more: by the root of the odds that it is right. These are estimated from the corrections,
    by a logistic regression on how sure the head is. So corrections of doubtful images do not spread to those beyond
    doubt.

    Args:
        probabilities: Of the images before.
        corrections: The right category of some images, by number.
    """
    from sklearn.linear_model import LogisticRegression

    known, values = np.array([*corrections]), np.array([*corrections.values()])
    highest = probabilities.max(axis=1).astype(np.float64).clip(LEAST_CERTAIN, 1 - LEAST_CERTAIN)
    certainty = np.log(highest) - np.log1p(-highest)
    is_right = probabilities[known].argmax(axis=1) == values
    # Two weak observations far apart, because all corrections may be right, or all wrong.
    mean = certainty[known].mean()
    observed = np.concatenate([certainty[known], [mean - WEAK_DISTANCE, mean + WEAK_DISTANCE]])
    weights = np.concatenate([np.ones(len(known)), [WEAK_WEIGHT, WEAK_WEIGHT]])
    model = LogisticRegression().fit(observed[:, np.newaxis], [*is_right, False, True], sample_weight=weights)
    log_odds = max(float(model.coef_[0, 0]), 0.0) * certainty + float(model.intercept_[0])
    odds = np.exp(log_odds.clip(np.log(MIN_ODDS), np.log(MAX_ODDS)))
    result: NDArray[np.float64] = np.sqrt(odds) * len(corrections) / len(probabilities)
    return result


def refine_head(head: FeatureHead, space: Space, corrections: Mapping[int, int]) -> FeatureHead:
    """Return a head that files images as corrections spread.

    Args:
        head: The head before.
        space: Some images in its space.
        corrections: The right category of some of them, by number.
    """
    probabilities = spread(neighbour_graph(space)[0], head.of_space(space), corrections)
    labels = probabilities.argmax(axis=1)
    labels[[*corrections]] = [*corrections.values()]
    weights, biases = fit_logits(space, labels, len(head.biases))
    return FeatureHead(head.mean, head.projection, weights, biases)


def held_out_accuracy(head: FeatureHead, space: Space, corrections: Mapping[int, int]) -> tuple[float, float]:
    """Return how many corrected images had the right category before, and have it if the others' corrections spread.

    Both are shares of the corrected images, each of which is held out once.

    Args:
        head: The head before.
        space: Some images in its space.
        corrections: The right category of some of them, by number.
    """
    before, (graph, _) = head.of_space(space), neighbour_graph(space)
    numbers, right = np.array([*corrections]), 0
    for fold in range(FOLDS):
        held_out = numbers[fold::FOLDS]
        kept = {number: value for number, value in corrections.items() if number not in held_out}
        found = spread(graph, before, kept)[held_out].argmax(axis=1)
        right += int((found == [corrections[number] for number in held_out.tolist()]).sum())
    was_right = before[numbers].argmax(axis=1) == np.array([*corrections.values()])
    return float(was_right.mean()), right / len(numbers)


def typical_images(space: Space, count: int, known: Collection[int], *, seed: int) -> list[int]:
    """Return the images whose categories would tell most: a typical one of each cluster in which none is known.

    A few labels of typical images are worth more than those of doubtful ones (Hacohen et al. 2022, Active learning on a
    budget, ICML, section 3.2).

    Args:
        space: The images.
        count: How many to return at most.
        known: Numbers of the images whose categories are known.
        seed: Seed of the clusters.

    Returns:
        Their numbers, those of the largest clusters first.
    """
    from sklearn.cluster import MiniBatchKMeans

    _, typicality = neighbour_graph(space)
    clusters = min(len(known) + count, MAX_CLUSTERS, len(space))
    with threadpool_limits(1):
        labels = MiniBatchKMeans(clusters, n_init=3, random_state=seed % 2**31).fit_predict(space)
    sizes = np.bincount(labels, minlength=clusters)
    sizes[np.unique(labels[[*known]])] = 0
    largest = [cluster for cluster in np.argsort(-sizes, kind="stable")[:count] if sizes[cluster]]
    members = [np.flatnonzero(labels == cluster) for cluster in largest]
    return [int(rows[typicality[rows].argmax()]) for rows in members]
