"""The verdict: whether to trust a run, judged from images alone, without labels.

A run can fail in a few ways, and each leaves evidence: augmentation hardly changes the images; a category is unused;
the category changes under augmentation; the recognizer is uncertain about real images, which differ from the generated
ones; the generator ignores the code; the categories do not follow the structure of the encoder's features.
`collect_evidence` measures each, and `judge` compares it with its threshold.
"""

import itertools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from infogan.data.augment import augment
from infogan.data.batches import to_network, to_pixels
from infogan.models.infogan import InfoGAN
from infogan.models.results import Answer, Verdict
from infogan.training import clustering
from infogan.utils.matching import nmi

SAMPLES = 4_000  # real images, and as many generated ones
DISTANCE_SAMPLES = 1_000  # real images whose augmented views are compared
VIEWS = 3  # augmented views per image; a flip has only two different ones
BELONGS = 0.25  # share of a kind, and of the images of a category, from which on they belong together
BATCH = 500


@dataclass(frozen=True)
class Evidence:
    """Measurements that the verdict is based on.

    Attributes:
        views_apart: Median over real images of the distance between the two closest of three augmented views, relative
            to the mean distance to the 10th neighbour. Learning from views requires that views of different images
            overlap (HaoChen et al. 2021, arXiv:2106.04156).
        view_agreement: Share of real images of which two augmented views have the same category.
        sureness: Mean probability of the category of a real image.
        smallest_class: Share of real images in the rarest category, relative to an equal share.
        read_back: Share of generated images whose category is recognised as intended.
        neighbours: NMI of the categories with an independent clustering of the encoder's features; None without an
            encoder.
        kinds: Number of clusters that the features had before the categories formed; None if it was not clear.
        kinds_met: The smaller of ``kinds`` and the number of categories over the larger; None like ``kinds``.
        merged: Categories that started with several of these clusters.
        split: Groups of categories that started with parts of the same cluster.
    """

    views_apart: float | None
    view_agreement: float
    sureness: float
    smallest_class: float
    read_back: float
    neighbours: float | None
    kinds: int | None
    kinds_met: float | None
    merged: tuple[int, ...] = ()
    split: tuple[tuple[int, ...], ...] = ()


# By name of a field of `Evidence`.
THRESHOLDS: dict[str, dict[str, Any]] = tomllib.loads(
    Path(__file__).with_name("thresholds.toml").read_text(encoding="utf-8")
)


def collect_evidence(
    model: InfoGAN,
    images: NDArray[np.uint8],
    augmentations: Mapping[str, float],
    seed: int,
    *,
    samples: int = SAMPLES,
) -> Evidence:
    """Measure a model that has a categorical code and a recognizer, on real and on generated images.

    Args:
        model: The model.
        images: Real images, uint8 (count, channels, height, width).
        augmentations: Strength of each augmentation that the categories should ignore.
        seed: Random seed of the selected images, the augmentation and the generated images.
        samples: Number of real and of generated images, at most.
    """
    code = model.first_categorical()
    random = np.random.default_rng(seed)
    selected = images[np.sort(random.choice(len(images), min(samples, len(images)), replace=False))]
    probabilities = model.encode(selected).probabilities[code.name]
    categories = probabilities.argmax(axis=1)
    generator = torch.Generator().manual_seed(seed)
    first, second = (_categories_of_views(model, selected, augmentations, generator) for _ in range(2))
    generated = model.sample(samples, seed=seed)
    recognised = model.encode(generated.images).codes[code.name]
    neighbours, kinds = None, np.zeros((code.size, 0))
    if model.networks.encoder is not None:
        clusters = clustering.cluster(model.features(selected), code.size, seed=seed % 2**31).labels
        neighbours = nmi(clusters, categories)
        kinds = model.networks.encoder.kinds.cpu().numpy()
        kinds = kinds[:, kinds.sum(axis=0) > 0]
    count = kinds.shape[1]
    merged, split = merged_and_split(kinds)
    return Evidence(
        views_apart=_view_distance(model, selected, augmentations, generator),
        view_agreement=float((first == second).mean()),
        sureness=float(probabilities.max(axis=1).mean()),
        smallest_class=float(np.bincount(categories, minlength=code.size).min() / len(categories) * code.size),
        read_back=float((recognised == generated.codes[code.name]).mean()),
        neighbours=neighbours,
        kinds=count or None,
        kinds_met=min(count, code.size) / max(count, code.size) if count else None,
        merged=merged,
        split=split,
    )


def merged_and_split(kinds: NDArray[Any]) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """Return the categories that contain several kinds of image, and the groups of categories that share a kind.

    Args:
        kinds: (categories, kinds), number or share of the images that each category and kind have in common.
    """
    belongs = kinds >= BELONGS * np.maximum(kinds.sum(axis=0), kinds.sum(axis=1, keepdims=True))
    belongs &= kinds > 0
    merged = tuple(np.flatnonzero(belongs.sum(axis=1) > 1).tolist())
    shared = np.flatnonzero(belongs.sum(axis=0) > 1)
    return merged, tuple(tuple(np.flatnonzero(belongs[:, kind]).tolist()) for kind in shared)


def judge(evidence: Evidence, code: str) -> Verdict:
    """Return the verdict on a run, whose reason is the first measurement below its threshold.

    Args:
        evidence: From `collect_evidence`.
        code: Name of the categorical code.
    """
    values = {name: getattr(evidence, name) for name in THRESHOLDS}
    failed = [name for name, value in values.items() if value is not None and value < THRESHOLDS[name]["minimum"]]
    concerned = {THRESHOLDS[name]["concerns"] for name in failed}
    groups: Answer = "no" if "groups" in concerned else "yes"
    pictures: Answer = "no" if "pictures" in concerned else "yes"
    if failed:
        name = failed[0]
        problem = THRESHOLDS[name]["problem"].format(code=code, value=values[name], kinds=evidence.kinds)
        return Verdict(groups, pictures, f"not trusted: {problem}{_describe_groups(evidence, code)}")
    reason = (
        f"trusted: {evidence.view_agreement:.0%} of images keep their {code} under augmentation, "
        f"{evidence.read_back:.1%} of generated images are recognised as intended, every {code} is used"
    )
    return Verdict(groups, pictures, reason + _describe_groups(evidence, code))


def _describe_groups(evidence: Evidence, code: str) -> str:
    """Return which categories seem to be merged or split, as the end of a sentence."""
    text = ""
    if evidence.merged:
        values = ", ".join(map(str, evidence.merged))
        text += f"; several kinds seem to be merged in {code} {values}"
    if evidence.split:
        groups = ", ".join(" and ".join(map(str, group)) for group in evidence.split)
        text += f"; one kind seems to be split into {code} {groups}"
    return text


def _view_distance(
    model: InfoGAN, images: NDArray[np.uint8], augmentations: Mapping[str, float], generator: torch.Generator
) -> float:
    """Return `Evidence.views_apart` in pixels, at the encoder's resolution if the model has an encoder."""
    batch = to_network(torch.from_numpy(np.ascontiguousarray(images)))
    if model.networks.encoder is not None:
        batch = model.networks.encoder.resize(batch)
    neighbour_distance = clustering.neighbour_distance(batch.flatten(1).numpy())
    selected = batch[:: -(-len(batch) // DISTANCE_SAMPLES)]
    views = [augment(selected, augmentations, generator).flatten(1) for _ in range(VIEWS)]
    distances = [(a - b).norm(dim=1) for a, b in itertools.combinations(views, 2)]
    closest = torch.stack(distances).amin(dim=0)
    return float(closest.median()) / max(neighbour_distance, 1e-12)


def _categories_of_views(
    model: InfoGAN, images: NDArray[np.uint8], augmentations: Mapping[str, float], generator: torch.Generator
) -> NDArray[np.int64]:
    """Return the category of an augmented view of each image, at the encoder's resolution if there is an encoder."""
    encoder, categories = model.networks.encoder, []
    for start in range(0, len(images), BATCH):
        batch = to_network(torch.from_numpy(np.ascontiguousarray(images[start : start + BATCH])))
        if encoder is None:
            pixels = to_pixels(augment(batch, augmentations, generator))
            categories.append(model.encode(pixels).codes[model.first_categorical().name])
        else:
            with torch.inference_mode():
                views = augment(encoder.resize(batch), augmentations, generator)
                categories.append(encoder(views.to(model.device)).argmax(dim=1).cpu().numpy())
    return np.concatenate(categories)
