"""The number of categories in images: a range, found in the features that the encoder learns first.

Too few categories are noticed because some contain several kinds of image, too many because nothing separates some of
them. Both are measured for every number, on several draws of the images.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from infogan.config.schema import Config
from infogan.data.batches import to_network
from infogan.data.dataset import ImageSet
from infogan.features import NamedVectors
from infogan.training import clustering
from infogan.training.clustering import Features
from infogan.training.feature_head import fit_space, project
from infogan.training.first_stage import train_first_stage
from infogan.training.separation import MIN_MEMBERS, Merge, groups_alike, groups_of_several, merge_tree
from infogan.training.stage_hooks import CLUSTERED_IMAGES, sample_pixels
from infogan.utils import distributed
from infogan.utils.errors import UserError

MAX_CATEGORIES = 30  # that are looked for
DRAWS, DRAWN, DRAWN_SHARE = 3, 2_500, 0.7  # draws of images: their number, and how many, at most
TOLERANCE = 0.05  # misfit that divides the probability of a number by e
MINOR = 0.04  # share of the images in categories of several kinds, up to which a number is large enough
HOPELESS = 0.4  # misfit above the smallest one, from which on larger numbers are not tried
CLEAR = 0.15  # misfit, up to which the images show groups
TAIL = 0.05  # probability below the range, and above it


@dataclass(frozen=True)
class CategoryRange:
    """How many categories images have.

    Attributes:
        low: The smallest number that is likely.
        best: The most probable number.
        high: The largest number that is likely.
        is_clear: Whether the images show groups at all; otherwise the numbers say little.
        counts: The numbers that were tried, from 2.
        probabilities: The probability of each.
        several: Share of the images in categories of several kinds, for each number.
        alike: Share of the images in categories that nothing separates from another one.
        tree: How categories become fewer, from ``high`` on.
    """

    low: int
    best: int
    high: int
    is_clear: bool
    counts: list[int]
    probabilities: list[float]
    several: list[float]
    alike: list[float]
    tree: list[Merge]

    @property
    def summary(self) -> str:
        """The range in words."""
        span = f"{self.low} to {self.high}" if self.low < self.high else f"{self.low}"
        text = f"{span} categories, most probably {self.best}"
        return text if self.is_clear else f"these images show no clear groups: perhaps {text}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "tree": [merge._asdict() for merge in self.tree]}


def count_categories(
    config: Config, images: ImageSet, device: torch.device | str = "cpu", vectors: NamedVectors | None = None
) -> CategoryRange:
    """Count the categories of images from the features that the first stages of a run learn.

    Args:
        config: With stages that train the encoder before its categories start; the size of the code is ignored.
        images: The training images.
        device: The device to compute on.
        vectors: Of the images, from a pretrained encoder, to count in instead.

    Raises:
        UserError: The configuration has no such stages, or there are too few images.
    """
    seed = config.train.seed
    if vectors is not None:
        points = project(vectors.values, *fit_space(vectors.values, vectors.views))
        return distributed.broadcast_from_rank0(lambda: count_groups(points, seed=seed % 2**31))
    encoder = train_first_stage(config, images, device)

    def count() -> CategoryRange:
        pixels = sample_pixels(torch.from_numpy(np.ascontiguousarray(images.images)), CLUSTERED_IMAGES, seed)
        parts = (encoder.features_in_batches(to_network(part.to(device))) for part in torch.split(pixels, 500))
        return count_groups(torch.cat(list(parts)).cpu().numpy(), seed=seed % 2**31)

    return distributed.broadcast_from_rank0(count)


def count_groups(features: Features, *, seed: int, max_count: int = MAX_CATEGORIES) -> CategoryRange:
    """Count groups of points.

    For each draw of points and each number of groups, the *misfit* is the share of the points in groups of several
    kinds, for this number or any larger one, plus the share in groups that nothing separates, for this number or any
    smaller one that is large enough. The probability of a number falls with its misfit.

    Args:
        features: (points, features), unit vectors.
        seed: Seed of the draws.
        max_count: The largest number to try.

    Raises:
        UserError: There are fewer points than two groups need.
    """
    drawn = min(DRAWN, int(DRAWN_SHARE * len(features)))
    largest = min(max_count, drawn // MIN_MEMBERS)
    if largest < 2:
        needed = int(np.ceil(2 * MIN_MEMBERS / DRAWN_SHARE))
        raise UserError(
            f"{len(features)} images are too few to count categories; at least {needed} are needed: give their number"
        )
    random = np.random.default_rng(seed)
    draws = [features[random.choice(len(features), drawn, replace=False)] for _ in range(DRAWS)]
    curves = np.stack([_misfits(draw, largest, seed) for draw in draws])  # (draws, 2, numbers)
    misfits = curves.sum(axis=1)
    smallest = misfits.min(axis=1, keepdims=True)
    likelihoods = np.exp(-(misfits - smallest) / (TOLERANCE + smallest))
    probabilities = (likelihoods / likelihoods.sum(axis=1, keepdims=True)).mean(axis=0)
    low, best, high = likely_range(probabilities)
    labels = clustering.cluster(draws[0], high + 2, seed=seed).labels
    return CategoryRange(
        low=low + 2,
        best=best + 2,
        high=high + 2,
        is_clear=bool(misfits.mean(axis=0).min() <= CLEAR),
        counts=[*range(2, largest + 1)],
        probabilities=[round(float(value), 4) for value in probabilities],
        several=[round(float(value), 4) for value in curves[:, 0].mean(axis=0)],
        alike=[round(float(value), 4) for value in curves[:, 1].mean(axis=0)],
        tree=merge_tree(draws[0], labels, high + 2, seed=seed),
    )


def likely_range(probabilities: NDArray[np.float64]) -> tuple[int, int, int]:
    """Return the indices of the smallest likely number, of the most probable one and of the largest likely one.

    Example:
        >>> likely_range(np.array([0.02, 0.2, 0.5, 0.25, 0.03]))
        (1, 2, 3)
    """
    below, best = np.cumsum(probabilities), int(probabilities.argmax())
    low, high = np.searchsorted(below, [TAIL, 1 - TAIL]).tolist()
    return min(low, best), best, max(best, high)


def _misfits(features: Features, largest: int, seed: int) -> NDArray[np.float64]:
    """Return the two parts of the misfit of each number of groups from 2, (2, numbers); 1 where it was not tried."""
    several, alike = np.ones(largest - 1), np.ones(largest - 1)
    modes = clustering.modes(features)
    for number in range(largest - 1):
        count = number + 2
        labels = clustering.cluster(features, count, seed=seed, density_modes=modes).labels
        sizes = np.bincount(labels, minlength=count)
        several[number] = sizes[[*groups_of_several(features, labels, count, seed=seed)]].sum() / len(features)
        pairs = groups_alike(features, labels, count, seed=seed)
        alike[number] = min(1.0, sum(min(sizes[first], sizes[second]) for first, second in pairs) / len(features))
        tried = several[: number + 1] + alike[: number + 1]
        if several[number] == 0 and alike[number] > tried.min() + HOPELESS:
            break
    several[number + 1 :] = 0.0
    several = np.maximum.accumulate(several[::-1])[::-1]
    enough = int(np.argmin(several > MINOR)) if (several <= MINOR).any() else 0
    alike[enough:] = np.maximum.accumulate(alike[enough:])
    return np.stack([several, alike])
