"""Selection among trained models without labels: the model that agrees most with all others is preferred.

Most models find the same structure in the images, but each makes its own mistakes. The scores rank the models of one
sweep; they do not measure quality, and a mistake that most models share is not noticed. Categories are compared by how
two models sort the same images (`category_agreement`); continuous codes by ModelCentrality (Lin et al. 2020), which
scores one model with the codes of another as ground truth (`factor_agreement`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infogan.config.schema import CategoricalCode
from infogan.evaluation.metrics.disentanglement import factorvae_score
from infogan.models.infogan import InfoGAN
from infogan.utils.matching import nmi

Matrix = NDArray[np.float64]

LEVELS = 10  # values of a continuous code in ground truth
TRUST_ORDER = {True: 0, None: 1, False: 2}  # by verdict
SAMPLES = 10_000  # images on which models are compared


@dataclass(frozen=True, eq=False)
class Candidate:
    """A model that may be selected.

    Attributes:
        name: Name of its run.
        model: The model.
        images: Real images in the model's shape, uint8 (images, channels, height, width), the same for all candidates.
        trusted: The verdict; None = there is none.
        frechet: Fréchet distance of generated and real images in a feature space common to all; None = unknown.
    """

    name: str
    model: InfoGAN
    images: NDArray[np.uint8]
    trusted: bool | None = None
    frechet: float | None = None


@dataclass(frozen=True)
class RankedRun:
    """A run in a ranking.

    Attributes:
        name: Name of the run.
        trusted: The verdict; None = there is none.
        scores: Score by its name in `Ranking.scores`; None = unknown.
    """

    name: str
    trusted: bool | None
    scores: dict[str, float | None]


@dataclass(frozen=True)
class Ranking:
    """Runs in order of preference.

    Attributes:
        criterion: What the runs are ordered by, in words.
        scores: Names of the scores; the first one determines the order.
        places: The runs, best first.
    """

    criterion: str
    scores: tuple[str, ...]
    places: tuple[RankedRun, ...]


def rank_candidates(candidates: Sequence[Candidate]) -> Ranking:
    """Rank models without labels: trusted ones first, then by agreement with the others.

    Models with a categorical code are compared by `category_agreement`, models with at least two codes by
    ModelCentrality (`factor_agreement`), and others by the Fréchet distance of their images. Equal candidates keep
    their order.

    Args:
        candidates: At least one.

    Raises:
        ValueError: no candidates.
    """
    if not candidates:
        raise ValueError("there are no candidates to rank")
    models = [candidate.model for candidate in candidates]
    read_codes = len(candidates) > 1 and all(model.networks.reads_codes for model in models)
    same_shape = len({model.shape for model in models}) == 1
    scores: list[float | None]
    if read_codes and all(model.layout.categorical for model in models):
        score, criterion = "agreement", "agreement with the other runs on the category of each image (mean NMI)"
        scores = mean_agreement(category_agreement([_categories(candidate) for candidate in candidates])).tolist()
    elif read_codes and same_shape and all(len(model.layout.codes) > 1 for model in models):
        score, criterion = "centrality", "ModelCentrality, the agreement with the other runs on the codes of each image"
        scores = mean_agreement(factor_agreement(models)).tolist()
    else:
        score, criterion = "frechet", "Fréchet distance of generated and real images"
        # Feature spaces of images of different shapes are not comparable.
        scores = [candidate.frechet if same_shape else None for candidate in candidates]
    sign = 1 if score == "frechet" else -1
    places = [
        RankedRun(candidate.name, candidate.trusted, {score: value})
        for candidate, value in zip(candidates, scores, strict=True)
    ]

    def sort_key(run: RankedRun) -> tuple[int, float]:
        value = run.scores[score]
        return TRUST_ORDER[run.trusted], np.inf if value is None else sign * value

    return Ranking(f"trusted runs first, then by {criterion}", (score,), tuple(sorted(places, key=sort_key)))


def mean_agreement(agreement: Matrix) -> Matrix:
    """Return how well each model agrees with the others on average (Lin et al. 2020, section 4).

    Args:
        agreement: (models, models), how well the second agrees with the first; both directions are averaged and the
            diagonal is ignored.

    Returns:
        (models,).

    Raises:
        ValueError: not a square matrix of at least two models.
    """
    count = len(agreement)
    if agreement.shape != (count, count) or count < 2:
        raise ValueError(f"agreement has shape {agreement.shape}; expected a square of at least two models")
    symmetric = (agreement + agreement.T) / 2
    return np.asarray((symmetric.sum(axis=1) - np.diag(symmetric)) / (count - 1))


def category_agreement(categories: Sequence[NDArray[np.int64]]) -> Matrix:
    """Return the normalised mutual information of the categories of each two models, (models, models).

    A model that puts all images into one category agrees with no model, not even with another one that does the same.

    Args:
        categories: For each model (images,), the category of each image.

    Raises:
        ValueError: as `infogan.metrics.clustering.nmi`.
    """
    informative = [len(np.unique(values)) > 1 for values in categories]
    return np.array(
        [
            [nmi(a, b) if informative[row] and informative[column] else 0.0 for column, b in enumerate(categories)]
            for row, a in enumerate(categories)
        ]
    )


def factor_agreement(models: Sequence[InfoGAN], *, samples: int = SAMPLES, seed: int = 0) -> Matrix:
    """Return FactorVAE scores of each model (column) on images of each model (row) with their codes as ground truth.

    Lin et al. 2020, section 4 and algorithm 1. Continuous codes of the images take ten values each.

    Args:
        models: Models of one image shape, each with a recognizer and at least two codes.
        samples: Images of each model.
        seed: Random seed of codes, noise and scores.

    Returns:
        (models, models), in [0, 1].

    Raises:
        UserError: as `InfoGAN.encode`.
    """
    agreement = np.zeros((len(models), len(models)))
    for row, generator in enumerate(models):
        factors, images = _labelled_samples(generator, samples, seed)
        for column, recognizer in enumerate(models):
            agreement[row, column] = factorvae_score(recognizer.encode(images).to_array(), factors, seed=seed)
    return agreement


def _categories(candidate: Candidate) -> NDArray[np.int64]:
    model = candidate.model
    return model.encode(candidate.images).codes[model.first_categorical().name]


def _labelled_samples(model: InfoGAN, samples: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Return the level of each code in generated images, (samples, codes), and these images."""
    random = np.random.default_rng(seed)
    factors, codes = [], {}
    for name, code in model.layout.codes.items():
        values = np.arange(code.size) if isinstance(code, CategoricalCode) else np.linspace(-1, 1, LEVELS)
        indices = random.integers(len(values), size=samples)
        factors.append(indices)
        codes[name] = values[indices].tolist()
    return np.stack(factors, axis=1), model.generate(model.noise(samples, seed=seed), codes)
