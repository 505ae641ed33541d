"""Whether single codes stand for single factors of variation that are known.

In flow the codes of images, one real number each, and the factors they show, one integer each (factors as dSprites
knows them: shape, size, angle, place). Out come the scores of the field. They ask different questions: modularity, IRS
and DCI's disentanglement whether a code heeds one factor only; MIG, SAP and DCI's completeness whether a factor is in
one code only; the scores of BetaVAE and FactorVAE and explicitness whether factors can be told from codes at all.
A representation can be perfect by one and poor by another. Labels are for evaluation only.

*Sampling.* The scores of BetaVAE and FactorVAE hold one factor and vary the others. Their papers ask a generator of
data for such images. Here they are found among those given: other samples are drawn that have the same value of the
factor. No generator is needed, and on a full grid of factors it is the same; where the given factors depend on one
another, those that should vary do so only as far as they do given the one held.

*A category* is one column here, its number: fine where codes are binned (MIG, modularity: as long as there are at most
as many categories as bins), but numbers are in no order, which lines (SAP, explicitness, lasso) and deviations
(FactorVAE, BetaVAE, IRS) need. Give those its indicator columns, and expect MIG, SAP and completeness to fall for it.

*Conventions.* Implementations disagree, mostly silently. Each function says where, and what disentanglement_lib
(Locatello et al. 2019), from which most published numbers come, does.
"""

from collections.abc import Sequence
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

TRAINED_ON, TESTED_ON = 10_000, 5_000  # samples that classifiers get at most, as in disentanglement_lib
TREES = 10
LEAF = 20  # samples of 10,000 in a leaf at least; fewer of fewer
CHANCE = 4  # standard errors: what is lost without a code must exceed them, over some sixty codes and factors
CHUNK = 2**22  # code values gathered at a time: 32 MiB


def disentanglement(codes: Codes, factors: Factors, *, nominal: Sequence[int] = (), seed: int = 0) -> dict[str, float]:
    """All scores, with each function's defaults; all of them are in [0, 1] and 1 is best.

    Args:
        codes: (samples, codes).
        factors: (samples, factors), integers.
        nominal: Columns of factors whose values are in no order, e.g. dSprites' shape.
        seed: Of all that is random.

    Returns:
        ``betavae``, ``factorvae``, ``mig``, ``dci_disentanglement``, ``dci_completeness``, ``dci_informativeness``,
        ``sap``, ``modularity``, ``explicitness``, ``irs``.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, or a factor with a single value.
    """
    with threadpool_limits(1, user_api="blas"):  # hundreds of small fits, in which threads wait for one another
        return _all(codes, factors, nominal, seed)


def _all(codes: Codes, factors: Factors, nominal: Sequence[int], seed: int) -> dict[str, float]:
    explained = dci(codes, factors, nominal=nominal, seed=seed)
    return {
        "betavae": betavae_score(codes, factors, seed=seed),
        "factorvae": factorvae_score(codes, factors, seed=seed),
        "mig": mig(codes, factors),
        "dci_disentanglement": explained.disentanglement,
        "dci_completeness": explained.completeness,
        "dci_informativeness": explained.informativeness,
        "sap": sap(codes, factors, nominal=nominal, seed=seed),
        "modularity": modularity(codes, factors),
        "explicitness": explicitness(codes, factors, seed=seed),
        "irs": irs(codes, factors),
    }


def betavae_score(
    codes: Codes, factors: Factors, *, points: int = 10_000, pairs: int = 64, test_points: int = 5_000, seed: int = 0
) -> float:
    """How well a linear classifier tells which factor two samples share, from how far their codes are apart.

    Higgins et al. 2017, section 3: a point is the mean of |c - c'| over pairs that agree in one factor, and the class
    is that factor. In [0, 1], 1 is best; chance is 1 / factors.

    Traps: generous. A rotation that spreads each factor over all codes can still score high, since the classifier
    weighs codes together; many published models are at 1. Codes are brought to unit deviation here, so that their
    units do not matter; disentanglement_lib leaves them as they are.

    Args:
        codes: (samples, codes).
        factors: (samples, factors).
        points: Points that the classifier learns from.
        pairs: Pairs a point.
        test_points: Points that the score is of.
        seed: Of the pairs.

    Raises:
        ValueError: as `disentanglement`, or no two samples share a value of some factor.
    """
    from sklearn.linear_model import LogisticRegression

    values, numbered = _checked(codes, factors)
    values, random = _standardised(values), np.random.default_rng(seed)
    held = random.integers(numbered.shape[1], size=points + test_points)
    apart = np.empty((len(held), values.shape[1]))
    for factor in range(numbered.shape[1]):
        groups = _Groups(numbered[:, factor], factor)
        for rows in _chunks(np.flatnonzero(held == factor), pairs * values.shape[1]):
            first, second = groups.pairs((len(rows), pairs), random)
            apart[rows] = np.abs(values[first] - values[second]).mean(axis=1)
    classifier = LogisticRegression(max_iter=2000).fit(apart[:points], held[:points])
    return float(classifier.score(apart[points:], held[points:]))


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
    """How often the code that varies least tells which factor was held, by majority vote.

    Kim & Mnih 2018, section 4: a vote is the code of least variance within a group that agrees in one factor, relative
    to its variance over all samples; each code then stands for the factor that most of its votes came from. In [0, 1],
    1 is best; chance is 1 / factors.

    Traps: several codes may stand for one factor, and a code of two factors is not punished if another has either.
    A code without variance would win every vote, so dead codes take no part. Which codes are dead is where
    implementations differ: Kim & Mnih drop codes that the encoder leaves at its prior (they have a KL to look at),
    disentanglement_lib has a threshold for the deviation that is 0 by default and then drops none; here constant codes
    are always dropped, and with ``dead`` those that hardly move. Without any living code the score is 0. The votes that
    choose a code's factor are not those that are counted, as in disentanglement_lib; others count the same, which
    flatters with few votes.

    Args:
        codes: (samples, codes).
        factors: (samples, factors).
        votes: Votes that choose each code's factor.
        group: Samples a vote.
        test_votes: Votes that the score is of.
        dead: Codes of no more than this deviation, in their own unit, take no part.
        seed: Of the groups.

    Raises:
        ValueError: as `betavae_score`.
    """
    values, numbered = _checked(codes, factors)
    living = _varying(values) & (values.std(axis=0) > dead)
    if not living.any():
        return 0.0
    values, random = _standardised(values[:, living]), np.random.default_rng(seed)
    held = random.integers(numbered.shape[1], size=votes + test_votes)
    least = np.empty(len(held), dtype=np.int64)
    for factor in range(numbered.shape[1]):
        groups = _Groups(numbered[:, factor], factor)
        for rows in _chunks(np.flatnonzero(held == factor), group * values.shape[1]):
            least[rows] = values[groups.members((len(rows), group), random)].var(axis=1).argmin(axis=1)
    table = np.zeros((values.shape[1], numbered.shape[1]), dtype=np.int64)
    np.add.at(table, (least[:votes], held[:votes]), 1)
    return float(np.mean(table.argmax(axis=1)[least[votes:]] == held[votes:]))


def information_matrix(codes: Codes, factors: Factors, *, bins: int = 20, by: Bins = "width") -> Matrix:
    """The plug-in mutual information of each binned code and each factor, in nats; (codes, factors).

    Bins change the numbers that are made of it, and papers rarely name theirs. 20 bins of equal width between the least
    and the largest value are those of disentanglement_lib. One outlier widens all of them and can leave most samples in
    one; bins of equal mass do not mind outliers, and are finer where samples are dense. Estimates are biased upwards by
    about (bins - 1)(values - 1) / 2N nats.

    Args:
        codes: (samples, codes).
        factors: (samples, factors).
        bins: How many a code.
        by: ``width``, of equal width; or ``mass``, of equally many samples (equal values are not parted).

    Raises:
        ValueError: as `disentanglement`, or fewer than two bins.
    """
    values, numbered = _checked(codes, factors)
    if bins < 2:
        raise ValueError(f"{bins} bins: with fewer than two, every code is constant")
    matrix = np.empty((values.shape[1], numbered.shape[1]))
    for row, column in enumerate(values.T):
        if by == "width":
            edges = np.linspace(column.min(), column.max(), bins + 1)[1:-1]
        else:
            edges = np.unique(np.quantile(column, np.arange(1, bins) / bins))
        binned = np.searchsorted(edges, column, "right")
        matrix[row] = [categorical_information(binned, factor, corrected=False) for factor in numbered.T]
    return matrix


def mig(codes: Codes, factors: Factors, *, bins: int = 20, by: Bins = "width") -> float:
    """Mutual information gap: how much more one code tells of a factor than any other does.

    Chen et al. 2018 (β-TCVAE), equation 6: the mean over factors of (I₁ - I₂) / H, with the largest and the second
    largest information of any code in the factor, and the factor's entropy. In [0, 1], 1 is best.

    Traps: a factor that two codes share (sine and cosine of an angle) scores 0, however well it is found; a code
    of two factors is not punished. Chen et al. estimate I from the encoder's density; with a deterministic code it is
    binned, as in disentanglement_lib, and the number depends on `information_matrix`'s bins.

    Args:
        codes: (samples, codes); of a single code the second largest information is 0.
        factors: (samples, factors).
        bins: As `information_matrix`.
        by: As `information_matrix`.

    Raises:
        ValueError: as `information_matrix`.
    """
    ordered = np.sort(np.pad(information_matrix(codes, factors, bins=bins, by=by), [(1, 0), (0, 0)]), axis=0)
    _, numbered = _checked(codes, factors)
    entropies = [categorical_information(factor, factor, corrected=False) for factor in numbered.T]
    return float(np.mean((ordered[-1] - ordered[-2]) / entropies))


def modularity(codes: Codes, factors: Factors, *, bins: int = 20, by: Bins = "width") -> float:
    """Whether each code tells of one factor only.

    Ridgeway & Mozer 2018, section 3: the mean over codes of 1 - Σ_{f ≠ f*} I_f² / (I_f*² (F - 1)), with the code's
    information I_f in each of F factors and the factor f* it tells most of. In [0, 1], 1 is best; several codes may
    tell of one factor.

    Traps: a code of pure noise is judged by the bias of its few bits and gets an arbitrary score; one that two of ten
    factors share alike still has 8/9. Constant codes, which tell of nothing, take no part here; disentanglement_lib
    counts them as 0. Without any code that varies the score is 0.

    Args:
        codes: (samples, codes).
        factors: (samples, factors); of a single factor every code is modular.
        bins: As `information_matrix`.
        by: As `information_matrix`.

    Raises:
        ValueError: as `information_matrix`.
    """
    squares = np.square(information_matrix(codes, factors, bins=bins, by=by))
    largest = squares.max(axis=1)
    telling = largest > 0
    if not telling.any():
        return 0.0
    others = (squares.sum(axis=1) - largest)[telling] / largest[telling]
    return float(1 - np.mean(others) / max(1, factors.shape[1] - 1))


def explicitness(codes: Codes, factors: Factors, *, seed: int = 0) -> float:
    """How well a linear reading of all codes tells each value of each factor from the others.

    Ridgeway & Mozer 2018, section 3: the area under the ROC curve of a logistic regression of one value against the
    rest, averaged over values and then over factors. In [0, 1], 1 is best; chance is 0.5, not 0.

    Traps: it asks nothing of disentanglement, any rotation of the codes scores the same. A line tells the first and the
    last value of an ordered factor from the rest, but not those between: a code that *is* the factor scores well below
    1. The regression here is of one value against the rest, as the paper has it; that of disentanglement_lib weighs all
    values' scores against one another, with which values between can be told.

    Args:
        codes: (samples, codes).
        factors: (samples, factors).
        seed: Of which samples, at most 10,000 and 5,000, train and test the regressions.

    Raises:
        ValueError: as `disentanglement`, or too few samples to find each factor with two values in both halves.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    values, numbered = _checked(codes, factors)
    values = _standardised(values)
    train, test = _split(len(values), seed)
    scores = []
    for factor in numbered.T:
        areas = []
        for value in np.intersect1d(factor[train], factor[test]):
            is_it, is_it_too = factor[train] == value, factor[test] == value
            if is_it.all() or is_it_too.all():
                continue
            regression = LogisticRegression(solver="newton-cholesky").fit(values[train], is_it)
            areas.append(roc_auc_score(is_it_too, regression.decision_function(values[test])))
        if not areas:
            raise ValueError(f"{len(values)} samples are too few to train and test a reading of each factor")
        scores.append(np.mean(areas))
    return float(np.mean(scores))


def sap(codes: Codes, factors: Factors, *, nominal: Sequence[int] = (), seed: int = 0) -> float:
    """Separated attribute predictability: how much better one code alone predicts a factor than any other alone.

    Kumar et al. 2018, section 3: the mean over factors of the gap between the best and the second best code. Of an
    ordered factor a code's score is R² of a line; of a nominal one, the balanced accuracy, on other samples, of
    thresholds on the code (a tree with as many leaves as values). In [0, 1], 1 is best.

    Traps: a code that follows a factor in a curve scores low, and an angle, which comes round, can not follow a line.
    For a nominal factor chance is taken off with the gap, so the score can not reach 1 (1 - 1 / values at most).
    disentanglement_lib takes every factor as nominal unless told otherwise, and predicts with a linear support vector
    machine, which can not tell values in the middle: its numbers are lower.

    Args:
        codes: (samples, codes); of a single code the second best scores 0.
        factors: (samples, factors).
        nominal: Columns of factors whose values are in no order.
        seed: Of which samples train and test the thresholds.

    Raises:
        ValueError: as `disentanglement`, or a nominal column that there is not.
    """
    values, numbered = _checked(codes, factors)
    _check_nominal(nominal, numbered)
    scores = np.square(_correlations(values, numbered))
    for factor in nominal:
        scores[:, factor] = [_thresholds_score(column, numbered[:, factor], seed) for column in values.T]
    ordered = np.sort(np.pad(scores, [(1, 0), (0, 0)]), axis=0)
    return float(np.mean(ordered[-1] - ordered[-2]))


class DCI(NamedTuple):
    """The three scores of Eastwood & Williams 2018, each in [0, 1], 1 is best.

    Attributes:
        disentanglement: Whether a code matters to one factor only.
        completeness: Whether one code only matters to a factor.
        informativeness: How well the factors are predicted: accuracy, or R² with ``lasso``.
    """

    disentanglement: float
    completeness: float
    informativeness: float


def dci(
    codes: Codes,
    factors: Factors,
    *,
    regressor: Regressor = "forest",
    nominal: Sequence[int] = (),
    seed: int = 0,
) -> DCI:
    """Disentanglement, completeness and informativeness, from how much each code matters to predict each factor.

    Eastwood & Williams 2018, section 2. With importances R (codes, factors), each factor's summing to 1: a code's
    disentanglement is 1 - H, H the entropy of its row, to the base of the number of factors; codes count by their share
    of all importance. A factor's completeness is the same of its column; factors count alike, and one that no code
    matters to has 0. Informativeness is on samples that the predictor has not seen.

    The predictor decides what importance is, and the numbers of different ones do not compare:

    - ``forest`` (default): ten bagged trees; a code matters by how much accuracy is lost, on samples not seen, once its
      values are shuffled (Breiman 2001), if that is more than chance takes. The usual importance of a forest, how far
      splits on a code sort the samples learned from, credits noise with what deep trees learn by heart.
    - ``boosting``: gradient boosting of small trees and that usual importance, which small trees distort less; as in
      disentanglement_lib and most publications. A tree for each value and round: minutes instead of seconds.
    - ``lasso``: linear, with the sizes of coefficients of standardised codes, as in the paper; a penalty chosen by
      cross-validation. Blind to what is not linear (an angle), and codes that say the same share or not by chance. An
      ordered factor is predicted as its number, a nominal one as the indicator of each value.

    Traps: the first two scores are about shares of importance, however little there is in all. Coefficients that
    ``lasso`` has by chance can make a perfect score: look at informativeness first. With a few hundred samples chance
    takes much, and ``forest`` finds no importance in codes that do matter a little.

    Args:
        codes: (samples, codes).
        factors: (samples, factors).
        regressor: The predictor.
        nominal: Columns of factors whose values are in no order; heeded by ``lasso``, trees take every factor so.
        seed: Of the trees, and of which samples, at most 10,000 and 5,000, train and test.

    Raises:
        ValueError: as `sap`.
    """
    values, numbered = _checked(codes, factors)
    _check_nominal(nominal, numbered)
    values = _standardised(values)
    train, test = _split(len(values), seed)
    importance = np.empty((values.shape[1], numbered.shape[1]))
    predicted = np.empty(numbered.shape[1])
    for column, factor in enumerate(numbered.T):
        if regressor == "lasso":
            found = _lasso(values, factor, train, test, column in nominal)
        else:
            found = (_forest if regressor == "forest" else _boosting)(values, factor, train, test, seed)
        importance[:, column], predicted[column] = found
    sums = importance.sum(axis=0)
    shares = importance / np.where(sums > 0, sums, 1)
    by_code = np.array([1 - _evenness(row) for row in shares])
    by_factor = np.array([1 - _evenness(column) for column in shares.T])
    of_codes = shares.sum(axis=1) / max(1, np.count_nonzero(sums))
    return DCI(float(by_code @ of_codes), float(by_factor.mean()), float(predicted.mean()))


def irs(codes: Codes, factors: Factors, *, quantile: float = 0.99) -> float:
    """Interventional robustness: whether a code stays where it is as all but one factor change.

    Suter et al. 2019, section 4: for a code and a factor, the farthest that the code is from its mean while the factor
    has one value, averaged over values, relative to the farthest it ever is from its mean. One less that is the code's
    robustness; each code takes the factor for which it is largest. In [0, 1], 1 is best.

    Conventions as in the authors' code: "farthest" is a quantile within a value, against single samples that lie far
    out, but the largest in all; and codes are weighted by the latter, so that one of larger scale counts more. Traps:
    for that reason noise with wide tails scores well above 0 (normal noise about 0.4 on 50,000 samples), and codes
    should have one unit. Several codes may stand for one factor. Constant codes take no part; without others, 0.

    Args:
        codes: (samples, codes).
        factors: (samples, factors), crossed: the paper assumes that factors are independent.
        quantile: 1 = the paper's maximum.

    Raises:
        ValueError: as `disentanglement`, or a quantile outside (0, 1].
    """
    values, numbered = _checked(codes, factors)
    if not 0 < quantile <= 1:
        raise ValueError(f"quantile {quantile}: allowed are numbers above 0 and up to 1")
    values = values[:, _varying(values)]
    if values.shape[1] == 0:
        return 0.0
    farthest = np.abs(values - values.mean(axis=0)).max(axis=0)
    robustness = np.empty((values.shape[1], numbered.shape[1]))
    for column, factor in enumerate(numbered.T):
        moved = np.zeros(values.shape[1])
        for value in range(factor.max() + 1):
            same = values[factor == value]
            moved += np.quantile(np.abs(same - same.mean(axis=0)), quantile, axis=0)
        robustness[:, column] = 1 - moved / (factor.max() + 1) / farthest
    # An extreme value moves its group's mean too, so the largest deviation within can exceed that in all.
    return float(np.average(np.clip(robustness.max(axis=1), 0, 1), weights=farthest))


class _Groups:
    """Samples by the value of one factor; those alone with their value belong to no group."""

    def __init__(self, values: Indices, factor: int) -> None:
        counts = np.bincount(values)
        self.order = np.argsort(values, kind="stable")
        ordered = values[self.order]
        self.start, self.count = (np.cumsum(counts) - counts)[ordered], counts[ordered]
        self.eligible = np.flatnonzero(self.count > 1)
        if len(self.eligible) == 0:
            raise ValueError(f"no two samples share a value of factor {factor}: it can not be held")

    def pairs(self, shape: tuple[int, int], random: np.random.Generator) -> tuple[Indices, Indices]:
        """Two different samples of one value each; a sample beside itself would share every factor."""
        place = self.eligible[random.integers(len(self.eligible), size=shape)]
        start, count = self.start[place], self.count[place]
        other = start + (place - start + random.integers(1, count)) % count
        return self.order[place], self.order[other]

    def members(self, shape: tuple[int, int], random: np.random.Generator) -> Indices:
        """In each row samples of one value, which is as frequent as it is among the samples."""
        place = self.eligible[random.integers(len(self.eligible), size=(shape[0], 1))]
        count = self.count[place]
        chosen: Indices = self.order[self.start[place] + random.integers(count, size=shape)]
        return chosen


def _chunks(rows: Indices, values_a_row: int) -> list[Indices]:
    return np.array_split(rows, 1 + len(rows) * values_a_row // CHUNK)


def _split(count: int, seed: int) -> tuple[Indices, Indices]:
    # Two thirds train, one third tests, both up to a limit.
    order = np.random.default_rng(seed).permutation(count)
    edge = min(TRAINED_ON, -(-2 * count // 3))
    return order[:edge], order[edge : edge + TESTED_ON]


def _forest(values: Matrix, factor: Indices, train: Indices, test: Indices, seed: int) -> tuple[Matrix, float]:
    """What shuffling each code costs, where it is more than chance, and the accuracy."""
    from sklearn.ensemble import RandomForestClassifier

    random = np.random.default_rng(seed)
    leaf = min(LEAF, 1 + len(train) * LEAF // TRAINED_ON)
    # All codes compete at every split: with a few at random, noise is split on where the right code is not among them.
    forest = RandomForestClassifier(TREES, max_features=None, min_samples_leaf=leaf, random_state=seed)
    forest.fit(values[train], factor[train])
    hits = (forest.predict(values[test]) == factor[test]).astype(np.float64)
    importance = np.zeros(values.shape[1])
    for code in np.flatnonzero(_varying(values)):
        shuffled = values[test]
        shuffled[:, code] = random.permutation(shuffled[:, code])
        lost = hits - (forest.predict(shuffled) == factor[test])
        if lost.mean() > CHANCE * lost.std() / np.sqrt(len(lost)):
            importance[code] = lost.mean()
    return importance, float(hits.mean())


def _boosting(values: Matrix, factor: Indices, train: Indices, test: Indices, seed: int) -> tuple[Matrix, float]:
    """How far splits on each code sort the training samples, and the accuracy."""
    from sklearn.ensemble import GradientBoostingClassifier

    model = GradientBoostingClassifier(random_state=seed).fit(values[train], factor[train])
    return model.feature_importances_, float(model.score(values[test], factor[test]))


def _lasso(values: Matrix, factor: Indices, train: Indices, test: Indices, nominal: bool) -> tuple[Matrix, float]:
    """The importance of each code, and R² at least 0, averaged over what is predicted."""
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


def _correlations(values: Matrix, factors: Indices) -> Matrix:
    """Of each code with each factor; 0 for constant codes."""
    return _standardised(values).T @ _standardised(factors.astype(np.float64)) / len(values)


def _evenness(weights: Matrix) -> float:
    """The entropy of a distribution relative to the largest it could have: 0 = all in one, 1 = even."""
    if len(weights) == 1:
        return 0.0
    if weights.sum() == 0:
        return 1.0
    shares = weights[weights > 0] / weights.sum()
    return float(-(shares * np.log(shares)).sum() / np.log(len(weights)))


def _varying(values: Matrix) -> NDArray[np.bool_]:
    # Of a constant the largest less the least is exactly 0, while its deviation may round to something else.
    varying: NDArray[np.bool_] = np.ptp(values, axis=0) > 0
    return varying


def _standardised(values: Matrix) -> Matrix:
    """Zero mean and unit deviation of each column; constant ones are 0."""
    deviations = np.where(_varying(values), values.std(axis=0), np.inf)
    standardised: Matrix = (values - values.mean(axis=0)) / deviations
    return standardised


def _checked(codes: Codes, factors: Factors) -> tuple[Matrix, Indices]:
    """Codes in float64, and factors whose values are 0, 1, 2, ... without gaps."""
    if codes.ndim != 2 or factors.ndim != 2 or len(codes) != len(factors) or 0 in (*codes.shape, *factors.shape):
        raise ValueError(
            f"codes of shape {codes.shape} and factors of shape {factors.shape}: "
            "(samples, codes) and (samples, factors) of the same samples are needed"
        )
    if not np.isfinite(codes).all():
        raise ValueError("codes that are not finite tell of no factor")
    numbered = np.stack([np.unique(factor, return_inverse=True)[1] for factor in factors.T], axis=1).astype(np.int64)
    for column in np.flatnonzero(numbered.max(axis=0) == 0):
        raise ValueError(f"factor {column} has a single value: there is nothing to find of it")
    return codes.astype(np.float64), numbered


def _check_nominal(nominal: Sequence[int], factors: Indices) -> None:
    for column in nominal:
        if not 0 <= column < factors.shape[1]:
            raise ValueError(f"nominal factor {column}: allowed are 0 to {factors.shape[1] - 1}")
