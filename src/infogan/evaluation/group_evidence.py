"""Evidence on groups: whether the categories of real images can be relied on, measured without labels.

The categories are judged in features that their formation did not change: those that the encoder had at the end of its
first stage, when it knew nothing of categories.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from infogan.evaluation.reference_features import references
from infogan.training import clustering
from infogan.training.clustering import Features, Labels
from infogan.training.separation import (
    Merge,
    agreement_of_halves,
    groups_alike,
    groups_of_several,
    groups_with_two_modes,
    merge_tree,
    predictability,
)
from infogan.utils.matching import matched_share

SIMILAR = 5  # neighbours that are almost the same
UNUSED = 0.1  # share of an equal share, below which a category is unused


@dataclass(frozen=True)
class GroupEvidence:
    """Measurements of the categories of real images. Shares are in [0, 1].

    Attributes:
        views_apart: Median over images of the distance between the two closest of three augmented views, relative to
            the mean distance to the 10th neighbour. Learning from views requires that views of different images overlap
            (HaoChen et al. 2021, arXiv:2106.04156). None if the features come from a pretrained encoder.
        view_agreement: Share of images of which two augmented views have the same category.
        sureness: Mean probability of an image's category.
        unused: Categories with less than ``UNUSED`` of an equal share of the images.
        structure: How the categories lie in the features of the first stage; None if these are not known.
    """

    views_apart: float | None
    view_agreement: float
    sureness: float
    unused: tuple[int, ...] = ()
    structure: "Structure | None" = None


@dataclass(frozen=True)
class Structure:
    """How categories lie in features that know nothing of them. Shares are in [0, 1].

    Attributes:
        predictable: How well the neighbours of an image predict its category: 0 = as the most frequent category does,
            1 = always.
        agreement: Share of images on which the categories agree with a clustering of the features, matched one to one.
        halves: The same for two clusterings, each of one half of the images.
        seeds: The same for two clusterings of all images that differ in their random start alone.
        several: Categories that contain several kinds of image.
        several_share: Share of the images that these have.
        alike: Pairs of categories that nothing separates.
        alike_share: Share of the images that would move if each of these pairs became one category.
        follows: What the categories follow: by name of a reference, how well it alone predicts them, relative to the
            features.
        example: Two images of one category that are almost the same in the reference that it follows most, and differ
            most in the features; None if there are no such.
        tree: How the categories become fewer: each time those with the shallowest valley between them merge.
    """

    predictable: float
    agreement: float
    halves: float
    seeds: float
    several: tuple[int, ...] = ()
    several_share: float = 0.0
    alike: tuple[tuple[int, int], ...] = ()
    alike_share: float = 0.0
    follows: Mapping[str, float] = field(default_factory=dict)
    example: tuple[int, int] | None = None
    tree: tuple[Merge, ...] = ()


def unused_categories(categories: Labels, count: int) -> tuple[int, ...]:
    """Return the categories with less than ``UNUSED`` of an equal share of the images."""
    sizes = np.bincount(categories, minlength=count)
    return tuple(np.flatnonzero(sizes < UNUSED * len(categories) / count).tolist())


def measure_structure(
    features: Features, images: NDArray[np.uint8], categories: Labels, count: int, *, seed: int
) -> Structure:
    """Measure how categories lie in features.

    Args:
        features: (images, features), unit vectors of the first stage.
        images: uint8 (images, channels, height, width).
        categories: (images,), the category of each image.
        count: Number of categories.
        seed: Seed of the clusterings.
    """
    sizes = np.bincount(categories, minlength=count)
    several = tuple(
        sorted(
            {
                *groups_of_several(features, categories, count, seed=seed),
                *groups_with_two_modes(features, categories, count),
            }
        )
    )
    alike = tuple(groups_alike(features, categories, count, seed=seed))
    predictable = predictability(features, categories)
    used = max(2, count - len(unused_categories(categories, count)))
    clusters, others = (clustering.cluster(features, used, seed=start).labels for start in (seed, seed + 1))
    moved = sum(min(sizes[first], sizes[second]) for first, second in alike)
    known = references(images)
    follows = {
        name: float(np.clip(predictability(values, categories) / max(predictable, 1e-9), 0, 1))
        for name, values in known.items()
    }
    return Structure(
        predictable=predictable,
        agreement=matched_share(clusters, categories, count),
        halves=agreement_of_halves(features, used, seed=seed),
        seeds=matched_share(clusters, others, used),
        several=several,
        several_share=float(sizes[[*several]].sum() / len(images)),
        alike=alike,
        alike_share=min(1.0, float(moved / len(images))),
        follows=follows,
        example=differing_pair(known[max(follows, key=lambda name: follows[name])], features, categories),
        tree=tuple(merge_tree(features, categories, count, seed=seed)),
    )


def differing_pair(reference: NDArray[np.float32], features: Features, categories: Labels) -> tuple[int, int] | None:
    """Return two images of one category that are neighbours in a reference and differ most in the features.

    Args:
        reference: (images, values), such as a histogram of colours.
        features: (images, features), unit vectors.
        categories: (images,), the category of each image.
    """
    nearest = clustering.nearest_neighbours(reference, min(SIMILAR, len(reference) - 1))
    cosines = np.einsum("if,inf->in", features, features[nearest])
    cosines[categories[nearest] != categories[:, np.newaxis]] = np.inf
    image, column = np.unravel_index(int(cosines.argmin()), cosines.shape)
    return (int(image), int(nearest[image, column])) if np.isfinite(cosines[image, column]) else None
