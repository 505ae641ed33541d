"""Evidence on pictures: whether generated images are varied, faithful and steered by their codes, without labels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infogan.evaluation.metrics.fidelity import Features
from infogan.evaluation.metrics.neighbours import density_coverage, nearest_distances, precision_recall

Labels = NDArray[np.int64]

MIN_IMAGES = 20  # of a category, from which on its spread is measured
UNIFORM = 0.15  # of the spread of the real images, below which a category shows one picture
COPIED = 0.01  # quantile of the distances of unseen real images, below which a generated image is a copy


@dataclass(frozen=True)
class PictureEvidence:
    """Measurements of generated images. Shares are in [0, 1].

    Attributes:
        read_back: Share of generated images whose category is recognised as intended.
        diversity: Median over the categories of the spread of the images generated with it, relative to the spread of
            the real images filed there; None if there are too few images.
        uniform: Categories with almost one picture, see ``UNIFORM``.
        precision: Share of generated images among real ones, see `metrics.neighbours`; None like ``diversity``.
        recall: Share of real images among generated ones.
        coverage: Share of real images with a generated one nearby.
        copies: Share of generated images closer to a training image than 99 % of unseen real images are; 0.01 is
            expected.
        ignored: Codes that the generator ignores.
        ignored_share: Share of the codes that these are.
    """

    read_back: float
    diversity: float | None = None
    uniform: tuple[int, ...] = ()
    precision: float | None = None
    recall: float | None = None
    coverage: float | None = None
    copies: float | None = None
    ignored: tuple[str, ...] = ()
    ignored_share: float = 0.0


def picture_evidence(
    generated: Features, intended: Labels, recognised: Labels, real: Features, filed: Labels, train: Features | None
) -> PictureEvidence:
    """Measure generated images, without what concerns the codes other than the category.

    Args:
        generated: (images, features), of generated images.
        intended: (images,), the category of their codes.
        recognised: (images,), the category that the model reads in them.
        real: (images, features), of real images.
        filed: (images,), the category that the model reads in these.
        train: (images, features), of training images; None if the real ones are training images.
    """
    spreads = category_spreads(generated, intended, real, filed)
    neighbours = precision_recall(real, generated)
    return PictureEvidence(
        read_back=float((recognised == intended).mean()),
        diversity=float(np.median([*spreads.values()])) if spreads else None,
        uniform=tuple(category for category, spread in spreads.items() if spread < UNIFORM),
        precision=neighbours.precision,
        recall=neighbours.recall,
        coverage=density_coverage(real, generated).coverage,
        copies=share_of_copies(generated, real, train),
    )


def category_spreads(generated: Features, intended: Labels, real: Features, filed: Labels) -> dict[int, float]:
    """Return, by category, the spread of generated images relative to that of the real images filed there.

    The spread is the mean squared distance to the mean. Categories with fewer than ``MIN_IMAGES`` are left out.
    """
    spreads = {}
    for category in range(int(max(intended.max(), filed.max())) + 1):
        drawn, seen = generated[intended == category], real[filed == category]
        if min(len(drawn), len(seen)) >= MIN_IMAGES:
            spreads[category] = float(drawn.var(axis=0).sum() / max(seen.var(axis=0).sum(), 1e-12))
    return spreads


def share_of_copies(generated: Features, real: Features, train: Features | None) -> float:
    """Return the share of generated images that are closer to a training image than unseen real images are.

    Without images that were not trained on, each training image is compared with the others.
    """
    if train is None:
        reference, unseen = real, nearest_distances(real, real, itself=True)
    else:
        reference, unseen = train, nearest_distances(real, train)
    return float((nearest_distances(generated, reference) < np.quantile(unseen, COPIED)).mean())
