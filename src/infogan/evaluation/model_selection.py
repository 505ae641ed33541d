"""Choosing among trained models without a label.

What is in the images most models find alike; what is an accident each has in a way of its own. So the model to take is
the one that agrees most with all others. In flow models, or what they read in the same images; out comes a number for
each model, higher is better. The scores rank models of one sweep, no more: they are no measure of quality, and where
most models are wrong in the same way, that way wins.

Three kinds of agreement: of categories by how they file real images (`filing_agreement`); of continuous codes by
ModelCentrality (Lin et al. 2020), which takes one model's codes for the truth and scores another by them
(`factor_agreement`); and by UDR (Duan et al. 2020), which compares what two models read in the same images, code by
code (`udr`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from infogan.config.schema import CategoricalCode
from infogan.evaluation.metrics.disentanglement import factorvae_score
from infogan.models.infogan import InfoGAN
from infogan.utils.matching import nmi

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A model that may be chosen.

    Attributes:
        name: Of its run.
        model: The model.
        images: uint8 (images, channels, height, width): real ones in the model's shape, for all candidates the same.
        trusted: What the verdict says; None = there is none.
        frechet: Fréchet distance of its samples to real images, in a feature space common to all; None = unknown.
    """

    name: str
    model: InfoGAN
    images: NDArray[np.uint8]
    trusted: bool | None = None
    frechet: float | None = None


@dataclass(frozen=True)
class RankedRun:
    """A candidate's place in a ranking.

    Attributes:
        name: Of its run.
        trusted: What the verdict says; None = there is none.
        scores: By what they are called, those of `Ranking.scores`; None = unknown.
    """

    name: str
    trusted: bool | None
    scores: dict[str, float | None]


@dataclass(frozen=True)
class Ranking:
    """Candidates in the order in which they are to be preferred.

    Attributes:
        criterion: What the order is by, in words.
        scores: What each candidate was given; the order is by the first.
        places: The candidates, best first.
    """

    criterion: str
    scores: tuple[str, ...]
    places: tuple[RankedRun, ...]


LEVELS = 10  # values of a continuous code that stand for the truth
TRUST = {True: 0, None: 1, False: 2}  # places of what verdicts say
SAMPLES = 10_000  # that models are compared on


def mean_agreement(agreement: Matrix) -> Matrix:
    """How well each model agrees with the others on average: Lin et al. 2020, section 4.

    Args:
        agreement: (models, models), how well the second agrees with the first; both directions are averaged, and the
            diagonal plays no part.

    Returns:
        (models,).

    Raises:
        ValueError: not a square of two models or more.
    """
    count = len(agreement)
    if agreement.shape != (count, count) or count < 2:
        raise ValueError(f"agreement of shape {agreement.shape}: a square of two models or more is needed")
    both = (agreement + agreement.T) / 2
    result: Matrix = (both.sum(axis=1) - np.diag(both)) / (count - 1)
    return result


def category_agreement(filings: Sequence[NDArray[np.int64]]) -> Matrix:
    """The normalised mutual information of how each two models file the same images, (models, models).

    A model that files all images under one value agrees with nobody, not even with another that does the same.

    Args:
        filings: For each model (images,), the category it files each image under.

    Raises:
        ValueError: as `metrics.clustering.nmi`.
    """
    says = [len(np.unique(filing)) > 1 for filing in filings]
    return np.array(
        [
            [nmi(one, other) if says[row] and says[column] else 0.0 for column, other in enumerate(filings)]
            for row, one in enumerate(filings)
        ]
    )


def factor_agreement(models: Sequence[InfoGAN], *, samples: int = SAMPLES, seed: int = 0) -> Matrix:
    """FactorVAE scores of each model (column) on images of each other (row), whose codes are taken for the truth.

    Lin et al. 2020, section 4 and algorithm 1. Continuous codes of the images take ``LEVELS`` values each.

    Args:
        models: Of one image shape, each with a recognizer and two codes or more.
        samples: Images of each model.
        seed: Of codes and noise, and of the score.

    Returns:
        (models, models), in [0, 1].

    Raises:
        UserError: as `InfoGAN.encode`.
    """
    agreement = np.zeros((len(models), len(models)))
    for row, maker in enumerate(models):
        factors, images = _drawn(maker, samples, seed)
        for column, reader in enumerate(models):
            agreement[row, column] = factorvae_score(reader.encode(images).to_array(), factors, seed=seed)
    return agreement


def rank_candidates(candidates: Sequence[Candidate]) -> Ranking:
    """Orders models by what needs no labels: by what verdicts say, if anything, and then by agreement.

    Models with a categorical code by how alike they and the others file real images (`filing_agreement`); else those
    with two continuous codes or more by ModelCentrality (`factor_agreement`); others, which read nothing that could be
    compared, by the Fréchet distance of what they draw. Candidates that are equal keep their order.

    Args:
        candidates: At least one.

    Raises:
        ValueError: no candidates.
    """
    if not candidates:
        raise ValueError("nothing to rank: there are no candidates")
    models = [candidate.model for candidate in candidates]
    alike = len({model.shape for model in models}) == 1
    several = len(candidates) > 1
    values: list[float | None] = [None] * len(candidates)
    if several and all(model.networks.reads_codes and model.layout.categorical for model in models):
        called, criterion = "agreement", "how alike a run and the others file the same images (mean NMI)"
        values = mean_agreement(category_agreement([_filing(candidate) for candidate in candidates])).tolist()
    elif several and alike and all(model.networks.reads_codes and len(model.layout.codes) > 1 for model in models):
        called, criterion = "centrality", "ModelCentrality: how alike a run and the others take images apart into codes"
        values = mean_agreement(factor_agreement(models)).tolist()
    else:
        called, criterion = "frechet", "the distance of what a run draws to real images"
        # Spaces of images of different shapes have nothing in common.
        values = [candidate.frechet if alike else None for candidate in candidates]
    sign = 1 if called == "frechet" else -1

    def order(at: int) -> tuple[int, float]:
        value = values[at]
        return TRUST[candidates[at].trusted], np.inf if value is None else sign * value

    places = [
        RankedRun(candidates[at].name, candidates[at].trusted, {called: values[at]})
        for at in sorted(range(len(candidates)), key=order)
    ]
    return Ranking(f"runs that are trusted first; then {criterion}", (called,), tuple(places))


def _filing(candidate: Candidate) -> NDArray[np.int64]:
    model = candidate.model
    return model.encode(candidate.images).codes[model.first_categorical().name]


def udr(
    read: Sequence[Matrix],
    *,
    informative: Sequence[NDArray[np.bool_]] | None = None,
    similarity: Literal["spearman", "lasso"] = "lasso",
    seed: int = 0,
) -> Matrix:
    """Unsupervised disentanglement ranking: Duan et al. 2020, equation 3.

    For two models a matrix R says how alike each two of their codes are. A pair scores high where each code of the one
    is like one code of the other and like no more: Σ_b r(b)² / Σ_a R(a, b), r(b) the largest of its column, and the
    same of the rows, over the number of informative codes of both. A model's score is its median over all others.

    Args:
        read: For each model (images, codes): what it reads in the same images.
        informative: For each model (codes,), which codes carry anything; None = all.
        similarity: ``spearman``, the absolute rank correlation; or ``lasso``, the absolute weight of one code in a
            sparse linear prediction of the other, which tells codes that take part from those that merely correlate.
        seed: Of the images that ``lasso`` learns from.

    Returns:
        (models,), in [0, 1] for ``spearman``.

    Raises:
        ValueError: fewer than two models, or readings of different numbers of images.
    """
    if len(read) < 2 or len({len(of_model) for of_model in read}) > 1:
        raise ValueError(f"readings of {len(read)} models: two or more are needed, of the same images")
    known = informative or [np.ones(of_model.shape[1], dtype=bool) for of_model in read]
    scores: list[list[float]] = [[] for _ in read]
    for one in range(len(read)):
        for other in range(one + 1, len(read)):
            alike = SIMILARITIES[similarity](read[one], read[other], seed)
            score = _pair_score(alike, known[one], known[other])
            scores[one].append(score)
            scores[other].append(score)
    return np.array([np.median(of_model) for of_model in scores])


def _pair_score(alike: Matrix, ours: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> float:
    def half(matrix: Matrix, counted: NDArray[np.bool_]) -> float:
        """Of each column that counts, the square of its largest over its sum."""
        total = matrix.sum(axis=0)
        shares = np.divide(matrix.max(axis=0) ** 2, total, out=np.zeros(len(total)), where=total > 0)
        return float(shares[counted].sum())

    codes = int(ours.sum() + theirs.sum())
    return (half(alike, theirs) + half(alike.T, ours)) / codes if codes else 0.0


def _spearman(one: Matrix, other: Matrix, seed: int) -> Matrix:
    from scipy.stats import rankdata

    ranks = [_standardised(rankdata(values, axis=0)) for values in (one, other)]
    result: Matrix = np.abs(ranks[0].T @ ranks[1]) / len(one)
    return result


def _lasso(one: Matrix, other: Matrix, seed: int) -> Matrix:
    """(codes of one, codes of the other): the mean over both directions of prediction."""
    from sklearn.linear_model import Lasso

    chosen = np.random.default_rng(seed).permutation(len(one))[:1000]  # as many as in the paper

    def weights(source: Matrix, target: Matrix) -> Matrix:
        model = Lasso(alpha=0.1).fit(source[chosen], target[chosen])
        found: Matrix = np.abs(np.atleast_2d(model.coef_))  # (codes of the target, codes of the source)
        return found

    scaled = [_standardised(values) for values in (one, other)]
    result: Matrix = (weights(scaled[0], scaled[1]).T + weights(scaled[1], scaled[0])) / 2
    return result


SIMILARITIES = {"spearman": _spearman, "lasso": _lasso}


def _standardised(values: Matrix) -> Matrix:
    spread = values.std(axis=0)
    result: Matrix = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1)
    return result


def _drawn(model: InfoGAN, samples: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """The numbers of the codes' values that images were made from, (samples, codes), and those images."""
    random = np.random.default_rng(seed)
    factors, codes = [], {}
    for name, code in model.layout.codes.items():
        levels = code.size if isinstance(code, CategoricalCode) else LEVELS
        chosen = random.integers(levels, size=samples)
        factors.append(chosen)
        codes[name] = chosen if isinstance(code, CategoricalCode) else np.linspace(-1, 1, LEVELS)[chosen]
    values = {name: chosen.tolist() for name, chosen in codes.items()}
    return np.stack(factors, axis=1), model.generate(model.noise(samples, seed=seed), values)
