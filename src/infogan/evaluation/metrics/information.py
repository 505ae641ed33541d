"""Model-free estimates of the mutual information of codes and their predictions.

Inputs are the codes that images were generated from and the codes predicted for these images, one number per image. The
bound that is trained, E log Q(c|x) + H(c) (Chen et al. 2016, equation 5), relies on Q: a recognizer that predicts the
code well but misjudges its certainty has a low bound. These estimates use only the joint distribution of code and
prediction.

A prediction r = r(x) is a function of the image, so I(c; r) ≤ I(c; x) by the data processing inequality. The bound is
below I(c; x), too. Both are lower bounds of the same number; for a good recognizer they agree. An estimate well above
the bound shows that Q is miscalibrated, a bound well above the estimate that Q's probabilities contain more than the
single predicted number.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from infogan.utils.matching import nonzero_contingency

Values = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]

# In standard deviations: separates equal numbers, as Kraskov et al. 2004 advise, without changing the order of others.
JITTER = 1e-10


def categorical_information(code: Integers, reading: Integers, *, corrected: bool = True) -> float:
    """Return I(c; r) of two discrete variables in nats, from their contingency table.

    The plug-in estimate Σ p(c, r) log [p(c, r) / (p(c) p(r))] is biased upwards, by about (cells that occur - codes
    that occur - readings that occur + 1) / 2N, which the correction of Miller (1955) subtracts. It is of first order:
    with fewer images than cells, neither value means much.

    Args:
        code: (images,), the code that each image was generated from, 0 or more.
        reading: (images,), the predicted code, 0 or more; may be numbered differently.
        corrected: Whether to subtract the bias; the result may then be negative by about as much.

    Returns:
        Nats; higher is better. At most the entropy of the code, apart from the correction.

    Raises:
        ValueError: no images, unequal lengths, not one-dimensional, or a negative number.
    """
    joint_counts = nonzero_contingency(code, reading)
    code_counts, reading_counts = (np.unique(values, return_counts=True)[1] for values in (code, reading))
    information = _entropy(code_counts) + _entropy(reading_counts) - _entropy(joint_counts)
    if not corrected:
        return max(0.0, information)  # a difference of entropies may round to a negative number
    cells, codes, readings = (int(np.count_nonzero(counts)) for counts in (joint_counts, code_counts, reading_counts))
    return information + (codes + readings - cells - 1) / (2 * len(code))


def continuous_information(code: Values, reading: Values, *, neighbours: int = 3, seed: int = 0) -> float:
    """Return I(c; r) of two real variables in nats, from the distances between nearest neighbours.

    The first estimator of Kraskov, Stögbauer & Grassberger 2004 (equation 8): ψ(k) + ψ(N) - ⟨ψ(n_c + 1) + ψ(n_r + 1)⟩,
    where n_c and n_r count the images whose code, or reading, is strictly nearer than the k-th neighbour in the plane
    of both, in the maximum norm. It needs no bins and no densities. The bias is small unless the information is large:
    a reading that is a function of the code has infinite information, of which N images show about log N. More
    neighbours reduce the variance and increase the bias.

    Both variables are scaled to unit deviation, and equal numbers are separated by negligible noise. Use
    `categorical_information` for categories.

    Args:
        code: (images,), the code that each image was generated from.
        reading: (images,), the predicted code; any scale and either sign.
        neighbours: k, at least 1.
        seed: Random seed of the noise that separates equal numbers.

    Returns:
        Nats; higher is better. May be negative by the error of the estimate; 0 if a variable is constant.

    Raises:
        ValueError: not more images than neighbours, unequal lengths, not one-dimensional, or values not finite.
    """
    from scipy.spatial import cKDTree
    from scipy.special import digamma

    if code.ndim != 1 or code.shape != reading.shape:
        raise ValueError(f"codes have shape {code.shape} and readings {reading.shape}; both must be (images,)")
    if not 1 <= neighbours < len(code):
        raise ValueError(f"neighbours is {neighbours}; with {len(code)} images use 1 to {len(code) - 1}")
    if not (np.isfinite(code).all() and np.isfinite(reading).all()):
        raise ValueError("codes or readings contain NaN or infinity; they must be finite")
    if np.ptp(code) == 0 or np.ptp(reading) == 0:
        return 0.0
    random = np.random.default_rng(seed)
    points = np.stack([code, reading], axis=1).astype(np.float64)
    points = (points - points.mean(axis=0)) / points.std(axis=0)
    points += JITTER * random.normal(size=points.shape)
    distances, _ = cKDTree(points).query(points, k=neighbours + 1, p=np.inf)  # the nearest is the point itself
    radii = distances[:, -1] * (1 - 1e-10)  # strictly nearer, despite rounding in the sums below
    digamma_sums = np.zeros(len(points))
    for values in points.T:
        ordered = np.sort(values)
        within = np.searchsorted(ordered, values + radii, "right") - np.searchsorted(ordered, values - radii, "left")
        digamma_sums += digamma(within)  # `within` includes the point itself: n + 1
    return float(digamma(neighbours) + digamma(len(points)) - digamma_sums.mean())


def _entropy(counts: NDArray[np.int64]) -> float:
    probabilities = counts[counts > 0] / counts.sum()
    return float(-(probabilities * np.log(probabilities)).sum())
