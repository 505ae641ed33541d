"""Categories from pretrained features: a space in which views of an image agree, groups in it, and a head that files.

The features of a pretrained encoder tell apart more than kinds of image: position, size, light, background. Directions
in which two augmented views of the same image differ as much as two images do say nothing of kinds. They are scaled
down (within-class covariance normalisation, Hatch et al. 2006, with an image as the class). The graph of nearest
neighbours is then cut into groups, and a linear head learns to file any image.
"""

from dataclasses import dataclass, fields
from warnings import catch_warnings, simplefilter

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from infogan.training import clustering
from infogan.training.clustering import Labels
from infogan.training.separation import agreement_of_halves, predictability
from infogan.utils.errors import UserError

Vectors = Float32[np.ndarray, "image feature"]

DIMENSIONS = 64  # principal components that are kept
VIEW_SHRINKAGE = 3.0  # of the covariance within images towards a sphere, in multiples of its mean variance
NEIGHBOURS = 15  # of an image in the graph
CLUSTERED = 10_000  # images whose graph is cut
WALK = 6  # steps of the random walk on the graph by which points are compared
EXTRA_VECTORS = 5  # with which the eigenvectors converge faster
EIGENVECTOR_STEPS = 200
HALVINGS = 4  # pairs of halves by which two spaces are compared
STARTS = 20  # of k-means in the eigenvectors
RIDGE = 1.0  # inverse weight of the head's penalty
SHARPNESS = 10.0  # factor on unit vectors before the head


@dataclass(frozen=True)
class FeatureHead:
    """What turns vectors of a pretrained encoder into categories.

    Attributes:
        mean: (features,), subtracted from vectors.
        projection: (features, dimensions), applied then; the result is scaled to unit length.
        weights: (categories, dimensions), of the logits.
        biases: (categories,).
    """

    mean: NDArray[np.float32]
    projection: NDArray[np.float32]
    weights: NDArray[np.float32]
    biases: NDArray[np.float32]

    def space(self, vectors: Vectors) -> Float32[np.ndarray, "image dimension"]:
        """Return unit vectors in the space in which views of an image agree."""
        return project(vectors, self.mean, self.projection)

    def probabilities(self, vectors: Vectors) -> Float32[np.ndarray, "image category"]:
        """Return the probability of each category.

        Raises:
            UserError: The vectors have another length than those that the head was fitted to.
        """
        if vectors.shape[1] != len(self.mean):
            raise UserError(
                f"features have {vectors.shape[1]} numbers an image, but the model was trained with {len(self.mean)}: "
                "use the features that it was trained with"
            )
        return self.of_space(self.space(vectors))

    def of_space(self, points: Float32[np.ndarray, "image dimension"]) -> Float32[np.ndarray, "image category"]:
        """Return the probability of each category, given unit vectors in the space of `space`."""
        logits = points @ self.weights.T + self.biases
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        result: NDArray[np.float32] = exponentials / exponentials.sum(axis=1, keepdims=True)
        return result

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return the arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def project(
    vectors: Vectors, mean: NDArray[np.float32], projection: NDArray[np.float32]
) -> Float32[np.ndarray, "image dimension"]:
    """Return (vectors - mean) projection, scaled to unit length."""
    projected = (vectors - mean) @ projection
    lengths = np.linalg.norm(projected, axis=1, keepdims=True)
    return np.asarray(projected / np.maximum(lengths, 1e-12), np.float32)


def fit_space(
    vectors: Vectors, views: Float32[np.ndarray, "view image feature"] | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the mean and the projection of the space in which views of an image agree.

    Args:
        vectors: Of images.
        views: Vectors of augmented views of some of the images; None = not known, so that nothing is scaled down.
    """
    mean = vectors.mean(axis=0)
    centred = (vectors - mean).astype(np.float64)
    with threadpool_limits(1, user_api="blas"):  # the sums of several threads would vary their order
        _, axes = np.linalg.eigh(centred.T @ centred / len(centred))
        dimensions = min(DIMENSIONS, len(axes), len(vectors) - 1)
        components = axes[:, ::-1][:, :dimensions]
        if views is None:
            return mean, components.astype(np.float32)
        deviations = (views - views.mean(axis=0)).reshape(-1, vectors.shape[1]).astype(np.float64) @ components
        within = deviations.T @ deviations / len(deviations)
        within += VIEW_SHRINKAGE * np.trace(within) / dimensions * np.eye(dimensions)
        spreads, directions = np.linalg.eigh(within)
        return mean, (components @ (directions / np.sqrt(spreads))).astype(np.float32)


def fit_head(
    vectors: Vectors,
    categories: int,
    *,
    seed: int,
    views: Float32[np.ndarray, "view image feature"] | None = None,
) -> FeatureHead:
    """Find categories in vectors of images, without labels.

    Args:
        vectors: Of the training images.
        categories: How many to find.
        seed: Seed of the images that are clustered and of the starts.
        views: As for `fit_space`.

    Raises:
        UserError: There are too few images for so many categories.

    Example:
        >>> fit_head(vectors, 10, seed=0).probabilities(vectors).shape
        (3068, 10)
    """
    random = np.random.default_rng(seed)
    rows = np.sort(random.choice(len(vectors), min(CLUSTERED, len(vectors)), replace=False))
    mean, projection = fit_space(vectors[rows], views)
    points = project(vectors[rows], mean, projection)
    labels = cut_graph(points, categories, seed=seed)
    weights, biases = fit_logits(points, labels, categories)
    return FeatureHead(mean, projection, weights, biases)


def cut_graph(points: Vectors, groups: int, *, seed: int) -> Labels:
    """Cut the graph of nearest neighbours into groups.

    As in Ng, Jordan & Weiss 2002, k-means finds the groups in the rows of the largest eigenvectors of the normalised
    graph. More eigenvectors than groups are taken, and those of smaller eigenvalues λ count less, by λ^6: points are
    near if six steps of a random walk lead from one to the other (diffusion maps, Coifman & Lafon 2006).

    Args:
        points: (points, dimensions), unit vectors.
        groups: Number of groups.
        seed: Seed of the eigenvectors' start and of k-means.

    Raises:
        UserError: There are too few points.
    """
    from scipy.sparse import csr_matrix, diags
    from scipy.sparse.linalg import lobpcg
    from sklearn.cluster import KMeans

    if len(points) < 2 * groups:
        raise UserError(f"{len(points)} images are too few for {groups} categories: ask for fewer categories")
    neighbours = clustering.nearest_neighbours(points, min(NEIGHBOURS, len(points) - 1))
    rows = np.repeat(np.arange(len(points)), neighbours.shape[1])
    similarities = np.einsum("id,ind->in", points, points[neighbours]).clip(min=0) + 1e-6
    graph = csr_matrix((similarities.ravel().astype(np.float64), (rows, neighbours.ravel())), (len(points),) * 2)
    graph = (graph + graph.T) / 2
    scale = diags(np.asarray(graph.sum(axis=1)).ravel() ** -0.5)
    # All vectors at once: methods with a single start vector miss some of several parts that nothing connects.
    used = min(max(3 * groups, groups + 10), len(points))
    count = min(used + EXTRA_VECTORS, len(points))
    start = np.random.default_rng(seed).standard_normal((len(points), count))
    with threadpool_limits(1), catch_warnings():
        simplefilter("ignore")  # of k-means: fewer distinct points than groups
        values, vectors = lobpcg(scale @ graph @ scale, start, largest=True, tol=1e-5, maxiter=EIGENVECTOR_STEPS)
        largest = np.argsort(-values)[:used]
        vectors = vectors[:, largest] * values[largest].clip(min=0) ** WALK
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        kmeans = KMeans(groups, n_init=STARTS, random_state=seed % 2**31)
        return np.asarray(kmeans.fit_predict(vectors), np.int64)


def fit_logits(points: Vectors, labels: Labels, categories: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return weights and biases of a multinomial logistic regression; categories without points get no probability.

    Args:
        points: (points, dimensions), unit vectors.
        labels: The category of each.
        categories: Number of categories.
    """
    from sklearn.linear_model import LogisticRegression

    used = np.unique(labels)
    weights, biases = np.zeros((categories, points.shape[1]), np.float32), np.full(categories, -1e4, np.float32)
    if len(used) == 1:
        biases[used] = 0
        return weights, biases
    with threadpool_limits(1), catch_warnings():
        simplefilter("ignore")  # it need not converge
        model = LogisticRegression(C=RIDGE, max_iter=300).fit(SHARPNESS * points, labels)
    coefficients, intercepts = model.coef_, model.intercept_
    if len(used) == 2:  # scikit-learn has one row for two classes
        coefficients, intercepts = np.concatenate([-coefficients, coefficients]) / 2, np.r_[-intercepts, intercepts] / 2
    weights[used], biases[used] = SHARPNESS * coefficients, intercepts
    return weights, biases


def compare_spaces(own: Vectors, pretrained: Vectors, groups: int, *, seed: int) -> tuple[float, float]:
    """Return how far the groups in each of two spaces are to be relied on, without labels, each in [0, 1].

    Groups are real if they are found again in halves of the images, and if images that are neighbours in the other
    space, which knows nothing of them, share them: the mean of `agreement_of_halves` and `predictability`.

    Args:
        own: (images, features), features that a run has learned itself, unit vectors.
        pretrained: (images, dimensions), the same images in the space of pretrained features, unit vectors.
        groups: Number of groups.
        seed: Seed of the clusterings and of the halves.
    """
    scores = []
    for space, other, cut in ((own, pretrained, _cluster), (pretrained, own, _cut_graph)):
        stability = agreement_of_halves(space, groups, seed=seed % 2**31, halvings=HALVINGS, cut=cut)
        scores.append((stability + predictability(other, cut(space, groups, seed % 2**31))) / 2)
    return scores[0], scores[1]


def _cluster(points: Vectors, groups: int, seed: int) -> Labels:
    """Find groups as a run with its own features does."""
    return clustering.cluster(points, groups, seed=seed).labels


def _cut_graph(points: Vectors, groups: int, seed: int) -> Labels:
    """Find groups as a run with pretrained features does."""
    return cut_graph(points, groups, seed=seed)
