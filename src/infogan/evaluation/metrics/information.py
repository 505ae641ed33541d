"""What a reading tells of a code, estimated without the recognizer's own probabilities.

In flow the codes that images were made from and what was read in those images, one number each per image; out comes
their mutual information in nats. The bound that is trained, E log Q(c|x) + H(c) (Chen et al. 2016, equation 5), trusts
Q: a recognizer that finds the code but misjudges how surely has a low bound, though it reads well. Here only the joint
frequencies of code and reading count.

A reading r = r(x) is computed from the image, so by the data processing inequality I(c; r) ≤ I(c; x). The bound lies
below I(c; x) as well: both are lower bounds of the same number, neither is one of the other, and for a good recognizer
they agree. An estimate well above the bound says that Q is miscalibrated; a bound well above the estimate, that more is
in Q's probabilities than in the one number that was taken as the reading.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from infogan.utils.matching import nonzero_contingency

Values = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]

JITTER = 1e-10  # in deviations: parts equal numbers, as Kraskov et al. 2004 advise, and moves no others past another


def categorical_information(code: Integers, reading: Integers, *, corrected: bool = True) -> float:
    """I(c; r) of two discrete variables in nats, from the table of how often their values meet.

    The plug-in estimate Σ p(c, r) log [p(c, r) / (p(c) p(r))] is biased upwards, by about (cells that occur - codes
    that occur - readings that occur + 1) / 2N. The correction of Miller (1955) takes that off. It is of first order:
    with fewer images than cells neither number means much.

    Args:
        code: (images,), what each image was made from, 0 or more.
        reading: (images,), what was read in it, 0 or more; may be numbered in another way than the code.
        corrected: Whether the bias is taken off; the result may then fall below 0 by about as much.

    Returns:
        Nats; higher is better. At most the entropy of the code, but for the correction.

    Raises:
        ValueError: no images, unequal lengths, not one-dimensional, or a negative number.
    """
    of_pairs = nonzero_contingency(code, reading)
    of_code, of_reading = (np.unique(values, return_counts=True)[1] for values in (code, reading))
    information = _entropy(of_code) + _entropy(of_reading) - _entropy(of_pairs)
    if not corrected:
        return max(0.0, information)  # a difference of entropies may round below
    occurring = [int(np.count_nonzero(counts)) for counts in (of_code, of_reading, of_pairs)]
    return information + (occurring[0] + occurring[1] - occurring[2] - 1) / (2 * len(code))


def continuous_information(code: Values, reading: Values, *, neighbours: int = 3, seed: int = 0) -> float:
    """I(c; r) of two real variables in nats, from the distances between neighbours.

    The first estimator of Kraskov, Stögbauer & Grassberger 2004 (equation 8): ψ(k) + ψ(N) - ⟨ψ(n_c + 1) + ψ(n_r + 1)⟩,
    where n_c and n_r count the images whose code, or reading, is strictly nearer than the k-th neighbour in the plane
    of both, by the larger of the two distances. No bins and no densities. The bias is small unless the information is
    large: a reading that is a function of the code has infinitely many nats, of which N images show about log N. More
    neighbours vary less and are biased more.

    Both are first brought to unit deviation, and numbers that are equal are parted by noise far below any distance
    that matters. A category's number is no real variable: `categorical_information` is for that.

    Args:
        code: (images,), what each image was made from.
        reading: (images,), what was read in it; any scale, and either sign.
        neighbours: k, at least 1.
        seed: Of the noise that parts equal numbers.

    Returns:
        Nats; higher is better. May fall below 0 by the estimate's error; 0 where either is constant.

    Raises:
        ValueError: not more images than neighbours, unequal lengths, not one-dimensional, or values not finite.
    """
    from scipy.spatial import cKDTree
    from scipy.special import digamma

    if code.ndim != 1 or code.shape != reading.shape:
        raise ValueError(f"codes of shape {code.shape} and readings of shape {reading.shape}: one of each per image")
    if not 1 <= neighbours < len(code):
        raise ValueError(f"{neighbours} neighbours among {len(code)} images: allowed are 1 to one less than the images")
    if not (np.isfinite(code).all() and np.isfinite(reading).all()):
        raise ValueError("codes or readings that are not finite have no neighbours")
    if np.ptp(code) == 0 or np.ptp(reading) == 0:
        return 0.0
    random = np.random.default_rng(seed)
    points = np.stack([code, reading], axis=1).astype(np.float64)
    points = (points - points.mean(axis=0)) / points.std(axis=0)
    points += JITTER * random.normal(size=points.shape)
    distances, _ = cKDTree(points).query(points, k=neighbours + 1, p=np.inf)  # the nearest is the point itself
    radii = distances[:, -1] * (1 - 1e-10)  # strictly nearer, whatever the sums below round to
    terms = np.zeros(len(points))
    for values in points.T:
        ordered = np.sort(values)
        within = np.searchsorted(ordered, values + radii, "right") - np.searchsorted(ordered, values - radii, "left")
        terms += digamma(within)  # `within` counts the point itself: n + 1
    return float(digamma(neighbours) + digamma(len(points)) - terms.mean())


def _entropy(counts: NDArray[np.int64]) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())
