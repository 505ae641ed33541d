"""Distances between generated and real images in a feature space.

The Fréchet distance between Gaussians fitted to two sets of features (Dowson & Landau 1982) has the form of the FID
(Heusel et al. 2017); the kernel distance, which fits nothing, has the form of the KID (Bińkowski et al. 2018). With the
features of the Inception network they are FID and KID; `PCAFeatures` need no downloaded weights. Compare distances in
the same feature space only, fitted on the same data, and Fréchet distances for equally many images only.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infogan.data.shards import Shards

Features = NDArray[np.floating[Any]]

PCA_IMAGES = 10_000  # more do not change the leading components
PCA_VALUES = 2**27  # pixel values for fitting, at most: 512 MiB as float32
SUBSET = 1000  # images of either kind in a kernel matrix: 24 MiB
MIN_SUBSETS = 10  # fewer have no useful standard error
BATCH = 512  # images turned into features at a time: 192 MiB for 128x128 RGB


def frechet_distance(features_a: Features, features_b: Features) -> float:
    """Return ‖μ_a - μ_b‖² + tr(Σ_a + Σ_b - 2 (Σ_a Σ_b)^½), Dowson & Landau 1982; 0 is best.

    It is the squared 2-Wasserstein distance between Gaussians with the means and covariances of the features, and
    ignores everything beyond these moments. The estimate is biased upwards, more for fewer images: compare values for
    equally many images only. The distance between two halves of the real images is a lower limit.

    tr (Σ_a Σ_b)^½ is computed as the sum of the singular values of Σ_a^½ Σ_b^½ with symmetric roots. This is exact for
    singular covariances as well (fewer images than features, constant pixels), for which a general matrix root needs a
    correction.

    Args:
        features_a: (images, features), at least two images.
        features_b: (other images, features), at least two images.

    Returns:
        The distance in float64, at least 0, in the square of the features' unit.

    Raises:
        ValueError: not two-dimensional, different numbers of features, fewer than two images, or values not finite.

    Example:
        >>> space = PCAFeatures.fit(train_images)
        >>> frechet_distance(space(generated_images), space(test_images))
    """
    check_features(features_a, features_b)
    mean_a, covariance_a = _moments(features_a)
    mean_b, covariance_b = _moments(features_b)
    overlap = np.linalg.svd(_symmetric_root(covariance_a) @ _symmetric_root(covariance_b), compute_uv=False).sum()
    distance = np.square(mean_a - mean_b).sum() + np.trace(covariance_a) + np.trace(covariance_b) - 2 * overlap
    return max(0.0, float(distance))  # equal sets may round to a negative number


@dataclass(frozen=True)
class KernelDistance:
    """An estimate and its standard error.

    Attributes:
        value: The squared distance; 0 is best, and equal distributions are below it half of the time.
        error: Its standard error.
    """

    value: float
    error: float


def kernel_distance(features_a: Features, features_b: Features, *, seed: int = 0) -> KernelDistance:
    """Return the squared maximum mean discrepancy for (⟨x, y⟩ / d + 1)³, Bińkowski et al. 2018, equation 4; 0 is best.

    With that kernel k and d features, E k(a, a') + E k(b, b') - 2 E k(a, b) over different points compares the moments
    of the sets up to the third. The estimate is unbiased (Gretton et al. 2012), so that values for few and for many
    images are comparable, unlike Fréchet distances. Traps: the kernel weighs moments by the unit of the features, so
    only values in the same feature space are comparable, and moving the origin changes them. Consider the error before
    interpreting small values.

    Both sets are randomly divided into as many subsets as contain 1000 images each, but at least ten; the value is the
    mean over pairs of subsets, the error their standard deviation over the root of their number. Most implementations
    of the KID draw 100 overlapping subsets of 1000 images and report the standard deviation of their values. That is
    the error of a single subset, not of the mean; dividing it by a root would be wrong, because the subsets overlap.

    Args:
        features_a: (images, features), at least 20 images.
        features_b: (other images, features), at least 20. The larger set is reduced to the size of the smaller one.
        seed: Random seed of the division into subsets.

    Raises:
        ValueError: as `frechet_distance`, or fewer than 20 images.
    """
    check_features(features_a, features_b)
    count = min(len(features_a), len(features_b))
    if count < 2 * MIN_SUBSETS:
        raise ValueError(f"{count} images are too few; {2 * MIN_SUBSETS} are needed for {MIN_SUBSETS} subsets")
    subsets = max(MIN_SUBSETS, count // SUBSET)
    size, random = count // subsets, np.random.default_rng(seed)
    orders = [random.permutation(len(features))[: subsets * size] for features in (features_a, features_b)]
    values = [
        _squared_discrepancy(features_a[rows_a].astype(np.float64), features_b[rows_b].astype(np.float64))
        for rows_a, rows_b in zip(*(np.split(order, subsets) for order in orders), strict=True)
    ]
    return KernelDistance(float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(subsets)))


@dataclass(frozen=True, eq=False)
class PCAFeatures:
    """The feature space of the leading principal components of real images' pixels, e.g. ``pca64``.

    It captures coarse statistics of pixels: where strokes and masses are, how bright they are, and which occur
    together. So it shows missing modes and wrong proportions, but not sharpness, texture or other details, nor whether
    an image makes sense; blurred images can score well. It does not replace the FID, and distances are comparable only
    in the same space (same training images and number of components), never across data sets.

    Attributes:
        mean: (channels, height, width), mean of the training images, 0 to 1.
        basis: (channels * height * width, components), orthonormal columns, the leading one first.
    """

    mean: NDArray[np.float64]
    basis: NDArray[np.float64]

    @classmethod
    def fit(cls, images: NDArray[np.uint8] | Shards, components: int = 64) -> "PCAFeatures":
        """Fit the components of *training* images; the same images give the same space.

        At most 10,000 evenly spaced images are used, fewer if they are large (2**27 pixel values in all). Small images
        are decomposed exactly, large ones by a randomised method with a fixed seed (Halko et al. 2011).

        Args:
            images: uint8 (images, channels, height, width), or shards.
            components: Number of components; fewer if the images have fewer, see `name`.

        Raises:
            ValueError: another shape, or fewer than two images.
        """
        from sklearn.decomposition import PCA

        if images.ndim != 4 or len(images) < 2:
            raise ValueError(
                f"images have shape {images.shape}; expected two or more (images, channels, height, width)"
            )
        size = images[0].size
        count = min(len(images), PCA_IMAGES, max(PCA_VALUES // size, components + 1))
        selected = images[np.arange(count) * len(images) // count]
        pixels = selected.reshape(count, size).astype(np.float32) / 255
        pca = PCA(min(components, size, count - 1), random_state=0, copy=False).fit(pixels)
        return cls(pca.mean_.astype(np.float64).reshape(images.shape[1:]), pca.components_.T.astype(np.float64))

    @property
    def name(self) -> str:
        """Name of the space with the number of components, e.g. ``"pca64"``."""
        return f"pca{self.basis.shape[1]}"

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the coordinates of images along the components, not whitened; 1 is the full range of a pixel.

        Args:
            images: uint8 (images, channels, height, width), in the shape of the training images.

        Returns:
            (images, components).

        Raises:
            ValueError: images of another shape than the training images.
        """
        if images.shape[1:] != self.mean.shape:
            raise ValueError(f"images have shape {images.shape[1:]}; {self.name} was fitted on {self.mean.shape}")
        features = np.empty((len(images), self.basis.shape[1]))
        for start in range(0, len(images), BATCH):
            centred = images[start : start + BATCH] / 255 - self.mean
            features[start : start + BATCH] = centred.reshape(len(centred), -1) @ self.basis
        return features


def check_features(features_a: Features, features_b: Features) -> None:
    """Raise ValueError unless two sets of features are comparable, see `frechet_distance`."""
    for features in (features_a, features_b):
        if features.ndim != 2 or len(features) < 2:
            raise ValueError(f"features have shape {features.shape}; expected (images, features) of two or more images")
        if not np.isfinite(features).all():
            raise ValueError("features contain NaN or infinity; they must be finite")
    if features_a.shape[1] != features_b.shape[1]:
        raise ValueError(f"features of different spaces: {features_a.shape[1]} and {features_b.shape[1]} per image")


def _squared_discrepancy(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the unbiased squared discrepancy of two equally large sets."""
    count, features = a.shape
    within = [((points @ points.T / features + 1) ** 3) for points in (a, b)]
    # Pairs of a point with itself would bias the estimate upwards.
    means = [(kernel.sum() - np.trace(kernel)) / (count * (count - 1)) for kernel in within]
    return float(means[0] + means[1] - 2 * np.mean((a @ b.T / features + 1) ** 3))


def _moments(features: Features) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values = features.astype(np.float64)
    return values.mean(axis=0), np.atleast_2d(np.cov(values, rowvar=False))


def _symmetric_root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T)  # 0 may round below 0
