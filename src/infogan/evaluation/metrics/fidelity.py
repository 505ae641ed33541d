"""How far generated images are from real ones, as a distance between two clouds of features.

In flow images, which a named feature space turns into vectors; out comes the Fréchet distance between the Gaussians
fitted to two such clouds (Dowson & Landau 1982), the form of Heusel et al. 2017's FID, or the kernel distance, which
fits nothing, the form of Bińkowski et al. 2018's KID. With the Inception network's features they would be the FID and
the KID; here the features are `PCAFeatures`, which need no downloaded weights. A distance means something only next to
another in the same feature space, fitted on the same data, and the Fréchet distance only over as many images.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.floating[Any]]

PCA_IMAGES = 10_000  # more add nothing to the leading components
PCA_VALUES = 2**27  # pixel values fitted on at most: 512 MiB as float32
SUBSET = 1000  # images of either kind that are compared at a time: 24 MiB of kernels
FEWEST_SUBSETS = 10  # fewer have hardly a standard error
CHUNK = 512  # images turned into features at a time: 192 MiB for 128x128 RGB


def frechet_distance(features_a: Features, features_b: Features) -> float:
    """‖μ_a - μ_b‖² + tr(Σ_a + Σ_b - 2 (Σ_a Σ_b)^½), Dowson & Landau 1982; 0 is best.

    The squared 2-Wasserstein distance between the Gaussians with the features' means and covariances, in the square of
    the features' unit. It sees nothing beyond those two moments. The estimate is biased upwards, the
    more the fewer the images: compare numbers from equally many only; two halves of the real images give its floor.

    tr (Σ_a Σ_b)^½ is computed as the sum of the singular values of Σ_a^½ Σ_b^½, with symmetric roots: exact also for
    singular covariances (fewer images than features, constant pixels), where a general matrix root needs a fudge term.

    Args:
        features_a: (images, features), at least two images.
        features_b: (other images, features), at least two images.

    Returns:
        The distance in float64, at least 0.

    Raises:
        ValueError: not two-dimensional, different numbers of features, fewer than two images, or values not finite.
    """
    check_features(features_a, features_b)
    mean_a, covariance_a = _moments(features_a)
    mean_b, covariance_b = _moments(features_b)
    overlap = np.linalg.svd(_root(covariance_a) @ _root(covariance_b), compute_uv=False).sum()
    distance = np.square(mean_a - mean_b).sum() + np.trace(covariance_a) + np.trace(covariance_b) - 2 * overlap
    return max(0.0, float(distance))  # equal clouds may round below


@dataclass(frozen=True)
class KernelDistance:
    """An estimate and how far it can be trusted.

    Attributes:
        value: The squared distance; 0 is best, and equal clouds fall below it half of the time.
        error: Its standard error.
    """

    value: float
    error: float


def kernel_distance(features_a: Features, features_b: Features, *, seed: int = 0) -> KernelDistance:
    """The squared maximum mean discrepancy under (⟨x, y⟩ / d + 1)³, Bińkowski et al. 2018, equation 4; 0 is best.

    With k that kernel and d the number of features, E k(a, a') + E k(b, b') - 2 E k(a, b) over different points: how
    far the clouds' moments up to the third are apart. The estimate is unbiased (Gretton et al. 2012), so that numbers
    from few and from many images compare, where the Fréchet distance needs equally many. Traps: it is not scaled; the
    kernel weighs moments by the features' unit, so only numbers of one feature space compare, and an origin that is
    moved changes them. Small numbers are nothing to worry over or to be glad of: look at the error.

    Both clouds are dealt, in random order, into as many subsets as hold 1000 images each, or into ten if that would be
    fewer; the value is the mean over pairs of subsets and the error is their deviation over the root of their number.
    Implementations of the KID mostly draw 100 subsets of 1000 anew from all images and report the deviation of their
    values, which is the error of a single subset, not of the mean; nor is it that over a root, as such subsets overlap.

    Args:
        features_a: (images, features), at least 20 images.
        features_b: (other images, features), at least 20; of the larger cloud, as many as the smaller has are taken.
        seed: Of the dealing.

    Raises:
        ValueError: as `frechet_distance`, or fewer than 20 images.
    """
    check_features(features_a, features_b)
    count = min(len(features_a), len(features_b))
    if count < 2 * FEWEST_SUBSETS:
        raise ValueError(f"{count} images are too few: {2 * FEWEST_SUBSETS} are needed for {FEWEST_SUBSETS} subsets")
    subsets = max(FEWEST_SUBSETS, count // SUBSET)
    size, random = count // subsets, np.random.default_rng(seed)
    dealt = [random.permutation(len(features))[: subsets * size] for features in (features_a, features_b)]
    values = [
        _discrepancy(features_a[rows_a].astype(np.float64), features_b[rows_b].astype(np.float64))
        for rows_a, rows_b in zip(*(np.split(rows, subsets) for rows in dealt), strict=True)
    ]
    return KernelDistance(float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(subsets)))


@dataclass(frozen=True, eq=False)
class PCAFeatures:
    """The feature space of the leading principal components of real images' pixels, e.g. ``pca64``.

    What it sees: the coarse statistics of pixels, i.e. where strokes and masses lie, how bright, and which of these go
    together, hence missing modes and wrong proportions. What it does not see: sharpness, texture and anything else
    beyond the leading components, nor whether an image means something; a blurred set can score well. It is no
    substitute for FID, and its numbers compare only with those of the same space (same training images, same number
    of components), never across data sets.

    Attributes:
        mean: (channels, height, width), of the training images, 0 to 1.
        basis: (channels * height * width, components), orthonormal columns, the leading one first.
    """

    mean: NDArray[np.float64]
    basis: NDArray[np.float64]

    @classmethod
    def fit(cls, images: NDArray[np.uint8], components: int = 64) -> "PCAFeatures":
        """Finds the components of *training* images; the same images give the same space.

        At most 10,000 images, evenly spaced in the set, are looked at, fewer where they are large (2**27 pixel values
        in all). Small images are decomposed exactly, large ones by a randomised method with a fixed seed (Halko et al.
        2011).

        Args:
            images: uint8 (images, channels, height, width).
            components: How many; as many as the images have where that is fewer, and ``name`` tells.

        Raises:
            ValueError: not of that shape, or fewer than two images.
        """
        from sklearn.decomposition import PCA

        if images.ndim != 4 or len(images) < 2:
            raise ValueError(f"images of shape {images.shape}: two or more, as (images, channels, height, width)")
        size = images[0].size
        count = min(len(images), PCA_IMAGES, max(PCA_VALUES // size, components + 1))
        chosen = images[np.arange(count) * len(images) // count]
        pixels = chosen.reshape(count, size).astype(np.float32) / 255
        pca = PCA(min(components, size, count - 1), random_state=0, copy=False).fit(pixels)
        return cls(pca.mean_.astype(np.float64).reshape(images.shape[1:]), pca.components_.T.astype(np.float64))

    @property
    def name(self) -> str:
        """What the distances are reported under, e.g. ``"pca64"``."""
        return f"pca{self.basis.shape[1]}"

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """The images' coordinates along the components, in the unit of a pixel's full range; not whitened.

        Args:
            images: uint8 (images, channels, height, width), as those fitted on.

        Returns:
            (images, components).

        Raises:
            ValueError: images of another shape than those fitted on.
        """
        if images.shape[1:] != self.mean.shape:
            raise ValueError(f"images of shape {images.shape[1:]}: {self.name} was fitted on {self.mean.shape}")
        features = np.empty((len(images), self.basis.shape[1]))
        for start in range(0, len(images), CHUNK):
            centred = images[start : start + CHUNK] / 255 - self.mean
            features[start : start + CHUNK] = centred.reshape(len(centred), -1) @ self.basis
        return features


def _discrepancy(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """The unbiased squared discrepancy of two clouds of equally many points."""
    count, features = a.shape
    within = [((points @ points.T / features + 1) ** 3) for points in (a, b)]
    # A point against itself is no pair: it would bias the estimate upwards.
    pairs = [(kernel.sum() - np.trace(kernel)) / (count * (count - 1)) for kernel in within]
    return float(pairs[0] + pairs[1] - 2 * np.mean((a @ b.T / features + 1) ** 3))


def _moments(features: Features) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values = features.astype(np.float64)
    return values.mean(axis=0), np.atleast_2d(np.cov(values, rowvar=False))


def _root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    # The symmetric square root. Eigenvalues that are zero may round below.
    values, vectors = np.linalg.eigh(covariance)
    root: NDArray[np.float64] = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    return root


def check_features(features_a: Features, features_b: Features) -> None:
    """Raises ValueError where two clouds can not be compared, as `frechet_distance` says."""
    for features in (features_a, features_b):
        if features.ndim != 2 or len(features) < 2:
            raise ValueError(f"features of shape {features.shape}: two or more images, as (images, features)")
        if not np.isfinite(features).all():
            raise ValueError("features that are not finite: nothing is near or far")
    if features_a.shape[1] != features_b.shape[1]:
        raise ValueError(f"{features_a.shape[1]} features against {features_b.shape[1]}: the spaces differ")
