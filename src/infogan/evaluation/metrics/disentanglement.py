"""Disentanglement: whether single codes represent single known factors of variation.

Inputs are the codes of images (one real number each) and their ground-truth factors (one integer each, such as shape,
size, angle and position in dSprites). The scores answer different questions: modularity, IRS and DCI disentanglement,
whether a code depends on one factor only; MIG, SAP and DCI completeness, whether a factor is in one code only; the
BetaVAE and FactorVAE scores and explicitness, whether factors can be predicted from the codes at all. A representation
can be perfect by one score and poor by another. Factors serve for evaluation only.

*Sampling.* The BetaVAE and FactorVAE scores fix one factor and vary the others. The papers generate such images; here
other samples with the same value of the factor are drawn from the given ones. On a full grid of factors this is the
same. If the given factors depend on each other, the others vary only as far as they do given the fixed one.

*Categories.* A category can be one column, its number: this suits scores that bin codes (MIG, modularity) as long as
there are at most as many categories as bins. Numbers have no meaningful order, which linear models (SAP, explicitness,
lasso) and deviations (FactorVAE, BetaVAE, IRS) need: use indicator columns for those, and expect lower MIG, SAP and
completeness.

*Conventions.* Implementations differ, mostly without documenting it. Each function documents its choice and that of
disentanglement_lib (Locatello et al. 2019), from which most published values come.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from infogan.evaluation.metrics.information import categorical_information

Codes = NDArray[np.floating[Any]]
Factors = NDArray[np.integer[Any]]
Indices = NDArray[np.int64]
Matrix = NDArray[np.float64]
Bins = Literal["width", "mass"]
Regressor = Literal["forest", "boosting", "lasso"]

TRAIN_SAMPLES, TEST_SAMPLES = 10_000, 5_000  # for classifiers, at most, as in disentanglement_lib
TREES = 10
MIN_LEAF = 20  # samples in a leaf for 10,000 training samples; proportionally fewer for fewer
CHANCE = 4  # standard errors that a loss of accuracy must exceed, for about sixty pairs of code and factor
CHUNK = 2**22  # code values in memory at a time: 32 MiB


def disentanglement(codes: Codes, factors: Factors, *, nominal: Sequence[int] = (), seed: int = 0) -> dict[str, float]:
    """Return all scores, with the default options of each function; all are in [0, 1] and 1 is best.

    Args:
        codes: (samples, codes).
        factors: (samples, factors), integers.
        nominal: Columns of factors whose values have no order, e.g. dSprites' shape.
        seed: Random seed.

    Returns:
        ``betavae``, ``factorvae``, ``mig``, ``dci_disentanglement``, ``dci_completeness``, ``dci_informativeness``,
        ``sap``, ``modularity``, ``explicitness``, ``irs``, ``infom``, ``infoe``, ``infoc``.

    Raises:
        ValueError: shapes that do not match, values that are not finite, or a factor with a single value.

    Example:
        >>> disentanglement(codes, factors, nominal=[0])["mig"]
    """
    with threadpool_limits(1, user_api="blas"):  # hundreds of small fits, for which threads cost more than they gain
        dci_scores = dci(codes, factors, nominal=nominal, seed=seed)._asdict()
        infomec_scores = infomec(codes, factors, seed=seed)
        return {
            "betavae": betavae_score(codes, factors, seed=seed),
            "factorvae": factorvae_score(codes, factors, seed=seed),
            "mig": mig(codes, factors),
            **{f"dci_{name}": score for name, score in dci_scores.items()},
            "sap": sap(codes, factors, nominal=nominal, seed=seed),
            "modularity": modularity(codes, factors),
            "explicitness": explicitness(codes, factors, seed=seed),
            "irs": irs(codes, factors),
            "infom": infomec_scores.modularity,
            "infoe": infomec_scores.explicitness,
            "infoc": infomec_scores.compactness,
        }


def betavae_score(
    codes: Codes, factors: Factors, *, points: int = 10_000, pairs: int = 64, test_points: int = 5_000, seed: int = 0
) -> float:
    """Return the accuracy of predicting which factor two samples share from the distances of their codes.

    Higgins et al. 2017, section 3: a point is the mean of |c - c'| over pairs that share one factor, and its class is
    that factor; the classifier is linear. In [0, 1], 1 is best; chance is 1 / factors.

    Traps: the score is generous. A rotation that spreads each factor over all codes can still score high, because the
    classifier combines codes; many published models have 1. Codes are scaled to unit deviation here, so that their
    units do not matter; disentanglement_lib does not scale them.

    Args:
        codes: (samples, codes).
        factors: (samples, factors).
        points: Training points of the classifier.
        pairs: Pairs per point.
        test_points: Test points.
        seed: Random seed of the pairs.

    Raises:
        ValueError: as `disentanglement`, or no two samples share a value of some factor.
    """
    from sklearn.linear_model import LogisticRegression

    values, levels = _checked(codes, factors)
    values, random = _standardise(values), np.random.default_rng(seed)
    shared = random.integers(levels.shape[1], size=points + test_points)
    distances = np.empty((len(shared), values.shape[1]))
    for rows, groups in _points_by_factor(shared, levels, pairs * values.shape[1]):
        first, second = groups.pairs((len(rows), pairs), random)
        distances[rows] = np.abs(values[first] - values[second]).mean(axis=1)
    classifier = LogisticRegression(max_iter=2000).fit(distances[:points], shared[:points])
    return float(classifier.score(distances[points:], shared[points:]))


def factorvae_score(
    codes: Codes,
    factors: Factors,
    *,
    votes: int = 10_000,
    group: int = 64,
    test_votes: int = 5_000,
    dead: float = 0.0,
    seed: int = 0,
) -> float:
    """Return how often the code that varies least predicts which factor was fixed, by majority vote.

    Kim & Mnih 2018, section 4: a vote is the code with the least variance within a group that shares one factor,
    relative to its variance over all samples; each code then stands for the factor of most of its votes. In [0, 1], 1
    is best; chance is 1 / factors.

    Traps: several codes may stand for the same factor, and a code of two factors is not penalised if another code has
    one of them. A code without variance would win every vote, so dead codes are excluded. Implementations differ in
    which codes are dead: Kim & Mnih exclude codes whose posterior equals the prior (by their KL), disentanglement_lib
    those below a threshold of the deviation, which is 0 by default and excludes none. Here constant codes are always
    excluded, and with ``dead`` those that hardly vary. Without any varying code the score is 0. The votes that assign
    factors to codes are not those that are counted, as in disentanglement_lib; counting the same votes gives higher
    values for few votes.

    Args:
        codes: (samples, codes).
        factors: (samples, factors).
        votes: Votes that assign a factor to each code.
        group: Samples per vote.
        test_votes: Votes that are counted.
        dead: Codes whose deviation is not above this, in their own unit, are excluded.
        seed: Random seed of the groups.

    Raises:
        ValueError: as `betavae_score`.
    """
    values, levels = _checked(codes, factors)
    alive = _varying(values) & (values.std(axis=0) > dead)
    if not alive.any():
        return 0.0
    values, random = _standardise(values[:, alive]), np.random.default_rng(seed)
    fixed = random.integers(levels.shape[1], size=votes + test_votes)
    stillest = np.empty(len(fixed), dtype=np.int64)
    for rows, groups in _points_by_factor(fixed, levels, group * values.shape[1]):
        stillest[rows] = values[groups.members((len(rows), group), random)].var(axis=1).argmin(axis=1)
    table = np.zeros((values.shape[1], levels.shape[1]), dtype=np.int64)
    np.add.at(table, (stillest[:votes], fixed[:votes]), 1)
    return float(np.mean(table.argmax(axis=1)[stillest[votes:]] == fixed[votes:]))


def information_matrix(codes: Codes, factors: Factors, *, bins: int = 20, by: Bins = "width") -> Matrix:
    """Return the plug-in mutual information of each binned code and each factor, in nats; (codes, factors).

    Scores based on it depend on the bins, which papers rarely specify. The default, 20 bins of equal width between the
    smallest and the largest value, is that of disentanglement_lib. A single outlier widens all of them and can leave
    most samples in one bin; bins of equal mass are robust to outliers, and finer where samples are dense. Estimates are
    biased upwards by about (bins - 1)(values - 1) / 2N nats.

    Args:
        codes: (samples, codes).
        factors: (samples, factors).
        bins: Bins per code.
        by: ``width``, equal width; or ``mass``, equally many samples (equal values stay together).

    Raises:
        ValueError: as `disentanglement`, or fewer than two bins.
    """
    values, levels = _checked(codes, factors)
    if bins < 2:
        raise ValueError(f"bins is {bins}; use at least 2")
    matrix = np.empty((values.shape[1], levels.shape[1]))
    for row, column in enumerate(values.T):
        if by == "width":
            edges = np.linspace(column.min(), column.max(), bins + 1)[1:-1]
        else:
            edges = np.unique(np.quantile(column, np.arange(1, bins) / bins))
        binned = np.searchsorted(edges, column, "right")
        matrix[row] = [categorical_information(binned, factor, corrected=False) for factor in levels.T]
    return matrix


def mig(codes: Codes, factors: Factors, *, bins: int = 20, by: Bins = "width") -> float:
    """Return the mutual information gap: how much more information one code has about a factor than any other code.

    Chen et al. 2018 (β-TCVAE), equation 6: the mean over factors of (I₁ - I₂) / H, with the largest and the second
    largest information of any code about the factor, and the factor's entropy. In [0, 1], 1 is best.

    Traps: a factor that two codes share (sine and cosine of an angle) scores 0 however well it is represented; a code
    of two factors is not penalised. Chen et al. estimate I from the encoder's density; for a deterministic code it is
    binned, as in disentanglement_lib, and the score depends on the bins of `information_matrix`.

    Args:
        codes: (samples, codes); for a single code the second largest information is 0.
        factors: (samples, factors).
        bins: As `information_matrix`.
        by: As `information_matrix`.

    Raises:
        ValueError: as `information_matrix`.
    """
    _, levels = _checked(codes, factors)
    entropies = [categorical_information(factor, factor, corrected=False) for factor in levels.T]
    return float(np.mean(_gaps(information_matrix(codes, factors, bins=bins, by=by)) / entropies))


def modularity(codes: Codes, factors: Factors, *, bins: int = 20, by: Bins = "width") -> float:
    """Return whether each code has information about one factor only.

    Ridgeway & Mozer 2018, section 3: the mean over codes of 1 - Σ_{f ≠ f*} I_f² / (I_f*² (F - 1)), with the code's
    information I_f about each of F factors and the factor f* with the most. In [0, 1], 1 is best; several codes may
    have information about the same factor.

    Traps: the score of a code of pure noise is determined by the bias of its estimates and arbitrary; a code that
    depends equally on two of ten factors still has 8/9. Constant codes, which have no information, are excluded here;
    disentanglement_lib counts them as 0. Without any varying code the score is 0.

    Args:
        codes: (samples, codes).
        factors: (samples, factors); with a single factor every code is modular.
        bins: As `information_matrix`.
        by: As `information_matrix`.

    Raises:
        ValueError: as `information_matrix`.
    """
    squares = np.square(information_matrix(codes, factors, bins=bins, by=by))
    largest = squares.max(axis=1)
    informative = largest > 0
    if not informative.any():
        return 0.0
    remainders = (squares.sum(axis=1) - largest)[informative] / largest[informative]
    return float(1 - np.mean(remainders) / max(1, factors.shape[1] - 1))


def explicitness(codes: Codes, factors: Factors, *, seed: int = 0) -> float:
    """Return how well a linear classifier predicts each value of each factor from all codes.

    Ridgeway & Mozer 2018, section 3: the area under the ROC curve of a logistic regression of one value against the
    rest, averaged over values and then over factors. In [0, 1], 1 is best; chance is 0.5, not 0.

    Traps: it does not measure disentanglement, any rotation of the codes scores the same. A linear classifier separates
    the first and the last value of an ordered factor from the rest, but not the values between: a code that *is* the
    factor scores well below 1. The regression is of one value against the rest, as in the paper; disentanglement_lib
    compares the scores of all values, which separates the values between.

    Args:
        codes: (samples, codes).
        factors: (samples, factors).
        seed: Random seed of the samples, at most 10,000 and 5,000, for training and testing the regressions.

    Raises:
        ValueError: as `disentanglement`, or too few samples for two values of each factor in both halves.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    values, levels = _checked(codes, factors)
    values = _standardise(values)
    train, test = _split(len(values), seed)
    scores = []
    for factor in levels.T:
        areas = []
        for value in np.intersect1d(factor[train], factor[test]):
            train_labels, test_labels = factor[train] == value, factor[test] == value
            if train_labels.all() or test_labels.all():
                continue
            regression = LogisticRegression(solver="newton-cholesky").fit(values[train], train_labels)
            areas.append(roc_auc_score(test_labels, regression.decision_function(values[test])))
        if not areas:
            raise ValueError(f"{len(values)} samples are too few to train and test a classifier of each factor")
        scores.append(np.mean(areas))
    return float(np.mean(scores))


def sap(codes: Codes, factors: Factors, *, nominal: Sequence[int] = (), seed: int = 0) -> float:
    """Return the separated attribute predictability: how much better one code predicts a factor than any other code.

    Kumar et al. 2018, section 3: the mean over factors of the gap between the best and the second best code. The score
    of a code is R² of a line for an ordered factor, and for a nominal one the balanced accuracy, on test samples, of
    thresholds on the code (a tree with as many leaves as values). In [0, 1], 1 is best.

    Traps: a code that depends nonlinearly on a factor scores low, and so does an angle, which is periodic. For
    a nominal factor the gap removes the accuracy of chance, so the score is at most 1 - 1 / values. disentanglement_lib
    treats every factor as nominal by default, and predicts with a linear support vector machine, which cannot separate
    values between others: its scores are lower.

    Args:
        codes: (samples, codes); for a single code the second best has 0.
        factors: (samples, factors).
        nominal: Columns of factors whose values have no order.
        seed: Random seed of the samples for training and testing the thresholds.

    Raises:
        ValueError: as `disentanglement`, or a nominal column that does not exist.
    """
    values, levels = _checked(codes, factors, nominal)
    correlations = _standardise(values).T @ _standardise(levels.astype(np.float64)) / len(values)
    scores = np.square(correlations)
    for factor in nominal:
        scores[:, factor] = [_thresholds_score(column, levels[:, factor], seed) for column in values.T]
    return float(np.mean(_gaps(scores)))


class DCI(NamedTuple):
    """The three scores of Eastwood & Williams 2018, each in [0, 1]; 1 is best.

    Attributes:
        disentanglement: Whether a code matters to one factor only.
        completeness: Whether a factor depends on one code only.
        informativeness: How well the codes predict the factors: accuracy, or R² with ``lasso``.
    """

    disentanglement: float
    completeness: float
    informativeness: float


def dci(
    codes: Codes, factors: Factors, *, regressor: Regressor = "forest", nominal: Sequence[int] = (), seed: int = 0
) -> DCI:
    """Return disentanglement, completeness and informativeness, from the importance of each code for each factor.

    Eastwood & Williams 2018, section 2. With importances R (codes, factors), those of each factor summing to 1, a
    code's disentanglement is 1 - H, with H the entropy of its row to the base of the number of factors; codes are
    weighted by their share of all importance. A factor's completeness is the same for its column; factors have equal
    weights, and one that depends on no code has 0. Informativeness is measured on test samples.

    The predictor determines the importance, and values of different predictors are not comparable:

    - ``forest`` (default): ten bagged trees. The importance of a code is the loss of accuracy on test samples after
      shuffling its values (Breiman 2001), if it exceeds chance. The usual importance of a forest, how well splits on a
      code sort the training samples, credits noise that deep trees memorise.
    - ``boosting``: gradient boosting of small trees with that usual importance, which small trees distort less; as in
      disentanglement_lib and most publications. It fits a tree per value and round: minutes instead of seconds.
    - ``lasso``: linear, with the absolute coefficients of standardised codes, as in the paper; the penalty is chosen by
      cross-validation. It ignores nonlinear dependence (an angle), and redundant codes share importance arbitrarily. An
      ordered factor is predicted as its number, a nominal one as the indicator of each value.

    Traps: the first two scores are about shares of importance, however little there is in total. Random coefficients of
    ``lasso`` can give a perfect score: look at informativeness first. For a few hundred samples chance is large, and
    ``forest`` finds no importance in codes that matter a little.

    Args:
        codes: (samples, codes).
        factors: (samples, factors).
        regressor: The predictor.
        nominal: Columns of factors whose values have no order; used by ``lasso``, trees treat every factor so.
        seed: Random seed of the trees and of the samples, at most 10,000 and 5,000, for training and testing.

    Raises:
        ValueError: as `sap`.
    """
    values, levels = _checked(codes, factors, nominal)
    values = _standardise(values)
    train, test = _split(len(values), seed)
    importance = np.empty((values.shape[1], levels.shape[1]))
    informativeness = np.empty(levels.shape[1])
    for column, factor in enumerate(levels.T):
        if regressor == "lasso":
            fit = _lasso(values, factor, train, test, column in nominal)
        else:
            fit = (_forest if regressor == "forest" else _boosting)(values, factor, train, test, seed)
        importance[:, column], informativeness[column] = fit
    sums = importance.sum(axis=0)
    shares = importance / np.where(sums > 0, sums, 1)
    by_code = np.array([1 - _evenness(row) for row in shares])
    by_factor = np.array([1 - _evenness(column) for column in shares.T])
    code_weights = shares.sum(axis=1) / max(1, np.count_nonzero(sums))
    return DCI(float(by_code @ code_weights), float(by_factor.mean()), float(informativeness.mean()))


def irs(codes: Codes, factors: Factors, *, quantile: float = 0.99) -> float:
    """Return the interventional robustness score: whether a code stays constant as all but one factor change.

    Suter et al. 2019, section 4: for a code and a factor, the largest deviation of the code from its mean while the
    factor has one value, averaged over values, relative to the largest deviation overall. The robustness of a code is
    one minus that, for the factor with the largest robustness. In [0, 1], 1 is best.

    Conventions as in the authors' code: the deviation within a value is a quantile, so that single outliers do not
    matter, but the overall one is the maximum; and codes are weighted by the latter, so that one of larger scale counts
    more. Traps: therefore noise with heavy tails scores well above 0 (normal noise about 0.4 for 50,000 samples), and
    codes should have the same unit. Several codes may stand for the same factor. Constant codes are excluded; without
    any other code the score is 0.

    Args:
        codes: (samples, codes).
        factors: (samples, factors), crossed: the paper assumes independent factors.
        quantile: 1 = the maximum, as in the paper.

    Raises:
        ValueError: as `disentanglement`, or a quantile outside (0, 1].
    """
    values, levels = _checked(codes, factors)
    if not 0 < quantile <= 1:
        raise ValueError(f"quantile is {quantile}; it must be above 0 and at most 1")
    values = values[:, _varying(values)]
    if values.shape[1] == 0:
        return 0.0
    max_deviation = np.abs(values - values.mean(axis=0)).max(axis=0)
    robustness = np.empty((values.shape[1], levels.shape[1]))
    for column, factor in enumerate(levels.T):
        deviation = np.zeros(values.shape[1])
        for value in range(factor.max() + 1):
            group = values[factor == value]
            deviation += np.quantile(np.abs(group - group.mean(axis=0)), quantile, axis=0)
        robustness[:, column] = 1 - deviation / (factor.max() + 1) / max_deviation
    # An extreme value moves the mean of its group, so the deviation within a group can exceed the overall one.
    return float(np.average(np.clip(robustness.max(axis=1), 0, 1), weights=max_deviation))


class InfoMEC(NamedTuple):
    """The three scores of Hsu et al. 2023, at most 1; 1 is best.

    Attributes:
        modularity: Whether a code has information about one factor only (InfoM).
        explicitness: How well a linear classifier predicts a factor from all codes (InfoE).
        compactness: Whether the information about a factor is in one code only (InfoC).
    """

    modularity: float
    explicitness: float
    compactness: float


def infomec(codes: Codes, factors: Factors, *, seed: int = 0) -> InfoMEC:
    """Return modularity, explicitness and compactness by information, which papers since 2023 report.

    Hsu et al. 2023 (latent quantization), section 4. With I_ij the information of code j about factor i over the
    factor's entropy, InfoM is the mean over codes of the share of the largest I_ij in the code's sum, rescaled so that
    equal shares give 0; InfoC is the same for each factor's sum over codes. InfoE is the mean over factors of the share
    of its entropy that a logistic regression on all codes removes, on the samples that it was fitted on.

    As in the authors' code, I_ij is estimated from the 10 nearest neighbours (Ross 2014), codes whose range is at most
    a twentieth of the largest one are left out of InfoM and InfoC, and the regression has no penalty and weighs all
    values of a factor equally. Unlike there, InfoM leaves out codes without any information, whose share is undefined.

    Traps: codes with different units are pruned by their units, so scale them alike. InfoE is linear: a code that is an
    ordered factor with many values scores below 1.

    Args:
        codes: (samples, codes); with a single one that varies, InfoC is 1.
        factors: (samples, factors); with a single one InfoM is 1.
        seed: Random seed of the samples, at most 10,000, and of the estimates.

    Raises:
        ValueError: as `disentanglement`.
    """
    from sklearn.feature_selection import mutual_info_classif

    values, levels = _checked(codes, factors)
    rows = np.random.default_rng(seed).permutation(len(values))[:TRAIN_SAMPLES]
    values, levels = values[rows], levels[rows]
    ranges = np.ptp(values, axis=0)
    is_active = ranges > ranges.max() / 20
    if not is_active.any():
        return InfoMEC(0.0, 0.0, 0.0)
    scaled = _standardise(values)
    estimates = [mutual_info_classif(scaled[:, is_active], f, n_neighbors=10, random_state=seed) for f in levels.T]
    information = np.array(estimates, np.float64)
    information /= [[categorical_information(factor, factor, corrected=False)] for factor in levels.T]
    explicit = np.mean([_linear_information(scaled, factor) for factor in levels.T])
    return InfoMEC(_largest_share(information.T), float(explicit), _largest_share(information))


def _largest_share(information: Matrix) -> float:
    """Return the mean over rows of the largest entry's share of the sum, from 0 (equal shares) to 1."""
    sums, columns = information.sum(axis=1), information.shape[1]
    if columns == 1:
        return 1.0
    shares = information.max(axis=1)[sums > 0] / sums[sums > 0]
    return float((shares.mean() - 1 / columns) / (1 - 1 / columns)) if len(shares) else 0.0


def _linear_information(values: Matrix, factor: Indices) -> float:
    """Return the share of the entropy of a factor with equally weighted values that logistic regression removes."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    regression = LogisticRegression(C=np.inf, class_weight="balanced", max_iter=100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes that are separable have no finite solution
        regression.fit(values, factor)
    remaining = log_loss(factor, regression.predict_proba(values))
    return 1 - float(remaining) / math.log(int(factor.max()) + 1)


class _Groups:
    """Samples grouped by the value of one factor; a sample alone with its value belongs to no group."""

    def __init__(self, values: Indices, factor: int) -> None:
        counts = np.bincount(values)
        self.order = np.argsort(values, kind="stable")
        ordered = values[self.order]
        self.start, self.count = (np.cumsum(counts) - counts)[ordered], counts[ordered]
        self.eligible = np.flatnonzero(self.count > 1)
        if len(self.eligible) == 0:
            raise ValueError(f"no two samples share a value of factor {factor}; the score needs such samples")

    def pairs(self, shape: tuple[int, int], random: np.random.Generator) -> tuple[Indices, Indices]:
        """Return two different samples of the same value; a sample paired with itself would share every factor."""
        first = self.eligible[random.integers(len(self.eligible), size=shape)]
        start, count = self.start[first], self.count[first]
        second = start + (first - start + random.integers(1, count)) % count
        return self.order[first], self.order[second]

    def members(self, shape: tuple[int, int], random: np.random.Generator) -> Indices:
        """Return rows of samples of the same value; each value is as frequent as it is among the samples."""
        first = self.eligible[random.integers(len(self.eligible), size=(shape[0], 1))]
        return np.asarray(self.order[self.start[first] + random.integers(self.count[first], size=shape)])


def _points_by_factor(fixed: Indices, levels: Indices, values_per_point: int) -> Iterator[tuple[Indices, _Groups]]:
    """Yield chunks of the points that fix the same factor, with the samples grouped by the values of that factor."""
    for factor in range(levels.shape[1]):
        groups, points = _Groups(levels[:, factor], factor), np.flatnonzero(fixed == factor)
        for rows in np.array_split(points, 1 + len(points) * values_per_point // CHUNK):
            yield rows, groups


def _split(count: int, seed: int) -> tuple[Indices, Indices]:
    # Two thirds for training, one third for testing, both up to a limit.
    order = np.random.default_rng(seed).permutation(count)
    end = min(TRAIN_SAMPLES, -(-2 * count // 3))
    return order[:end], order[end : end + TEST_SAMPLES]


def _forest(values: Matrix, factor: Indices, train: Indices, test: Indices, seed: int) -> tuple[Matrix, float]:
    """Return the loss of accuracy when each code is shuffled, if it exceeds chance, and the accuracy."""
    from sklearn.ensemble import RandomForestClassifier

    random = np.random.default_rng(seed)
    min_leaf = min(MIN_LEAF, 1 + len(train) * MIN_LEAF // TRAIN_SAMPLES)
    # All codes compete at every split: among a few random ones, noise would win if the relevant code is missing.
    forest = RandomForestClassifier(TREES, max_features=None, min_samples_leaf=min_leaf, random_state=seed)
    forest.fit(values[train], factor[train])
    hits = (forest.predict(values[test]) == factor[test]).astype(np.float64)
    importance = np.zeros(values.shape[1])
    for code in np.flatnonzero(_varying(values)):
        shuffled = values[test]
        shuffled[:, code] = random.permutation(shuffled[:, code])
        losses = hits - (forest.predict(shuffled) == factor[test])
        if losses.mean() > CHANCE * losses.std() / np.sqrt(len(losses)):
            importance[code] = losses.mean()
    return importance, float(hits.mean())


def _boosting(values: Matrix, factor: Indices, train: Indices, test: Indices, seed: int) -> tuple[Matrix, float]:
    """Return how well splits on each code sort the training samples, and the accuracy."""
    from sklearn.ensemble import GradientBoostingClassifier

    model = GradientBoostingClassifier(random_state=seed).fit(values[train], factor[train])
    return model.feature_importances_, float(model.score(values[test], factor[test]))


def _lasso(values: Matrix, factor: Indices, train: Indices, test: Indices, nominal: bool) -> tuple[Matrix, float]:
    """Return the importance of each code, and R² (at least 0), averaged over the targets."""
    from sklearn.linear_model import LassoCV

    targets = [factor == value for value in np.unique(factor[train])] if nominal else [factor]
    importance, explained = np.zeros(values.shape[1]), []
    for target in targets:
        scaled = (target - target[train].mean()) / (target[train].std() or 1)
        model = LassoCV(alphas=20, cv=3).fit(values[train], scaled[train])
        importance += np.abs(model.coef_)
        explained.append(max(0.0, model.score(values[test], scaled[test])))
    return importance, float(np.mean(explained))


def _thresholds_score(code: Matrix, factor: Indices, seed: int) -> float:
    from sklearn.metrics import recall_score
    from sklearn.tree import DecisionTreeClassifier

    train, test = _split(len(code), seed)
    leaves = len(np.unique(factor[train]))
    tree = DecisionTreeClassifier(max_leaf_nodes=max(2, leaves), class_weight="balanced", random_state=seed)
    predicted = tree.fit(code[train, None], factor[train]).predict(code[test, None])
    present = np.unique(factor[test])
    return float(recall_score(factor[test], predicted, labels=present, average="macro", zero_division=0))


def _gaps(scores: Matrix) -> Matrix:
    """Return for each factor (column) the difference of the best and the second best code; a missing one has 0."""
    ordered = np.sort(np.pad(scores, [(1, 0), (0, 0)]), axis=0)
    return np.asarray(ordered[-1] - ordered[-2])


def _evenness(weights: Matrix) -> float:
    """Return the entropy of weights relative to its maximum: 0 = all in one, 1 = even."""
    if len(weights) == 1:
        return 0.0
    if weights.sum() == 0:
        return 1.0
    shares = weights[weights > 0] / weights.sum()
    return float(-(shares * np.log(shares)).sum() / np.log(len(weights)))


def _varying(values: Matrix) -> NDArray[np.bool_]:
    # The range of a constant is exactly 0, its standard deviation may round to another number.
    return np.asarray(np.ptp(values, axis=0) > 0)


def _standardise(values: Matrix) -> Matrix:
    """Return columns with zero mean and unit deviation; constant ones become 0."""
    deviations = np.where(_varying(values), values.std(axis=0), np.inf)
    return np.asarray((values - values.mean(axis=0)) / deviations)


def _checked(codes: Codes, factors: Factors, nominal: Sequence[int] = ()) -> tuple[Matrix, Indices]:
    """Return codes in float64, and factors whose values are numbered 0, 1, 2, ... without gaps."""
    if codes.ndim != 2 or factors.ndim != 2 or len(codes) != len(factors) or 0 in (*codes.shape, *factors.shape):
        raise ValueError(
            f"codes have shape {codes.shape} and factors {factors.shape}; expected (samples, codes) and "
            "(samples, factors) of the same samples"
        )
    if not np.isfinite(codes).all():
        raise ValueError("codes contain NaN or infinity; they must be finite")
    levels = np.stack([np.unique(factor, return_inverse=True)[1] for factor in factors.T], axis=1).astype(np.int64)
    for column in np.flatnonzero(levels.max(axis=0) == 0):
        raise ValueError(f"factor {column} has a single value; remove it")
    for factor in nominal:
        if not 0 <= factor < factors.shape[1]:
            raise ValueError(f"nominal factor {factor} does not exist; use 0 to {factors.shape[1] - 1}")
    return codes.astype(np.float64), levels
