"""The verdict: whether to rely on a run, judged from images alone, without labels.

It has two parts. *Groups*: is the category of a real image to be relied on? *Pictures*: are generated images varied,
faithful, and as their codes say? `collect_group_evidence` and `picture_evidence` measure what each is judged by, and
`judge` compares every measurement with its limits.
"""

import itertools
import math
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from infogan.data.augment import augment
from infogan.data.batches import to_network, to_pixels
from infogan.evaluation.group_evidence import GroupEvidence, measure_structure, unused_categories
from infogan.evaluation.picture_evidence import PictureEvidence
from infogan.models.encoder import Encoder
from infogan.models.infogan import InfoGAN
from infogan.models.results import Answer, Part, Trace, Verdict
from infogan.training import clustering

SAMPLES = 4_000  # real images that groups are judged by
DISTANCE_SAMPLES = 1_000  # real images whose augmented views are compared
VIEWS = 3  # augmented views per image; a flip has only two different ones
BATCH = 500
NOT_JUDGED = "the features that the encoder had before its categories formed are not known"

# By name of a measurement.
THRESHOLDS: dict[str, dict[str, Any]] = tomllib.loads(
    Path(__file__).with_name("thresholds.toml").read_text(encoding="utf-8")
)
# The logarithm of the odds that groups are right: an intercept, and weights of measurements. Fitted on many runs by
# `benchmarks.verdicts`.
PROBABILITY: dict[str, Any] = tomllib.loads(Path(__file__).with_name("probability.toml").read_text(encoding="utf-8"))
Measurement = tuple[float | None, Mapping[str, Any]]  # a value, and what its sentence contains


def collect_group_evidence(
    model: InfoGAN,
    images: NDArray[np.uint8],
    augmentations: Mapping[str, float],
    seed: int,
    first_stage: Encoder | None = None,
    space: NDArray[np.float32] | None = None,
    *,
    samples: int = SAMPLES,
) -> GroupEvidence:
    """Measure the categories of real images, for a model that has a categorical code and a recognizer.

    Args:
        model: The model.
        images: Real images, uint8 (count, channels, height, width).
        augmentations: Strength of each augmentation that the categories should ignore.
        seed: Random seed of the selected images, the augmentation and the clusterings.
        first_stage: The encoder as it was before its categories formed, from `training.checkpoint.load_first_stage`.
        space: (images, features), features of a pretrained encoder, to judge the categories in instead.
        samples: Number of images, at most.
    """
    code = model.first_categorical()
    random = np.random.default_rng(seed)
    rows = np.sort(random.choice(len(images), min(samples, len(images)), replace=False))
    selected = images[rows]
    probabilities = model.encode(selected).probabilities[code.name]
    categories = probabilities.argmax(axis=1)
    generator = torch.Generator().manual_seed(seed)
    first, second = (_categories_of_views(model, selected, augmentations, generator) for _ in range(2))
    structure = None
    features = None
    if space is not None:
        features = space[rows]
    elif first_stage is not None:
        features = _features(first_stage, selected)
    if features is not None and len(selected) > 2 * code.size:
        structure = measure_structure(features, selected, categories, code.size, seed=seed % 2**31)
        if structure.example is not None:
            first_image, second_image = rows[[*structure.example]].tolist()
            structure = replace(structure, example=(first_image, second_image))
    return GroupEvidence(
        views_apart=view_distance(_as_seen(model, selected), augmentations, generator) if space is None else None,
        view_agreement=float((first == second).mean()),
        sureness=float(probabilities.max(axis=1).mean()),
        unused=unused_categories(categories, code.size),
        structure=structure,
    )


def judge(groups: GroupEvidence, pictures: PictureEvidence, code: str, size: int) -> Verdict:
    """Return the verdict on a run.

    Args:
        groups: From `collect_group_evidence`.
        pictures: From `picture_evidence`.
        code: Name of the categorical code.
        size: Its number of values.
    """
    measurements = _group_measurements(groups) | _picture_measurements(pictures)
    traces: list[Trace] = []
    problems: dict[Part, list[tuple[Answer, str, str]]] = {"groups": [], "pictures": []}
    for name, threshold in THRESHOLDS.items():
        value, texts = measurements[name]
        if value is None:
            continue
        limits, answer = _compare(value, threshold)
        part: Part = threshold["concerns"]
        traces.append(Trace(name, part, value, limits[0], answer, threshold["meaning"]))
        if answer != "yes":
            problem = threshold["problem"].format(code=code, value=value, all=size, **texts)
            problems[part].append((answer, problem, threshold["advice"]))
    if groups.structure is None:
        problems["groups"].append(("with care", NOT_JUDGED, ""))
    for found in problems.values():
        found.sort(key=lambda problem: problem[0] != "no")  # stable: in the order of the limits otherwise
    answers: dict[Part, Answer] = {part: found[0][0] if found else "yes" for part, found in problems.items()}
    ranked = sorted(itertools.chain(*problems.values()), key=lambda problem: problem[0] != "no")
    return Verdict(
        answers["groups"],
        answers["pictures"],
        "; ".join(_clause(part, answers[part], found) for part, found in problems.items()),
        reasons=tuple(problem for _, problem, _ in ranked),
        evidence=tuple(traces),
        advice=next((advice for _, _, advice in ranked if advice), ""),
        probability=_probability(measurements) if groups.structure is not None else None,
    )


def _probability(measurements: Mapping[str, Measurement]) -> float:
    """Return the probability of right groups."""
    odds = float(PROBABILITY["intercept"])
    for name, weight in PROBABILITY["weights"].items():
        odds += weight * (measurements[name][0] or 0.0)
    return 1 / (1 + math.exp(-odds))


def _compare(value: float, threshold: Mapping[str, Any]) -> tuple[tuple[float, float], Answer]:
    """Return the two limits of a measurement, and the best answer that it allows."""
    sign = 1 if "minimum" in threshold else -1
    care, no = threshold["minimum"] if sign > 0 else threshold["maximum"]
    if sign * value < sign * no:
        return (care, no), "no"
    return (care, no), "with care" if sign * value < sign * care else "yes"


def _clause(part: Part, answer: Answer, problems: list[tuple[Answer, str, str]]) -> str:
    return f"{part}: {answer}" + (f", because {problems[0][1]}" if problems else "")


def _group_measurements(evidence: GroupEvidence) -> dict[str, Measurement]:
    structure = evidence.structure
    measurements: dict[str, Measurement] = {
        name: (getattr(evidence, name), {}) for name in ("views_apart", "view_agreement", "sureness")
    }
    for name in ("several_share", "halves", "seeds", "agreement", "alike_share", "predictable"):
        measurements[name] = None if structure is None else getattr(structure, name), {}
    measurements["follows"] = None, {}
    if structure is not None:
        several, alike = structure.several, structure.alike
        texts = {"count": len(several), "values": _listed(several)}
        measurements["several_share"] = structure.several_share, texts
        pairs = _listed(f"{first} and {second}" for first, second in alike)
        measurements["alike_share"] = structure.alike_share, {"count": len(alike), "values": pairs}
        if structure.follows:
            reference = max(structure.follows, key=lambda name: structure.follows[name])
            measurements["follows"] = structure.follows[reference], {"values": reference}
    return measurements


def _picture_measurements(evidence: PictureEvidence) -> dict[str, Measurement]:
    names = ("read_back", "recall", "coverage", "precision", "copies")
    measurements: dict[str, Measurement] = {name: (getattr(evidence, name), {}) for name in names}
    uniform = {"count": len(evidence.uniform), "values": _listed(evidence.uniform)}
    measurements["diversity"] = evidence.diversity, uniform
    measurements["ignored"] = evidence.ignored_share, {"values": _listed(evidence.ignored)}
    return measurements


def _listed(values: Any) -> str:
    return ", ".join(map(str, values))


def _features(encoder: Encoder, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the features of images in an encoder, (images, features)."""
    parts = []
    for start in range(0, len(images), BATCH):
        batch = to_network(torch.from_numpy(np.ascontiguousarray(images[start : start + BATCH])))
        parts.append(encoder.features_in_batches(batch.to(encoder.directions.device)).cpu().numpy())
    return np.concatenate(parts)


def view_distance(batch: torch.Tensor, augmentations: Mapping[str, float], generator: torch.Generator) -> float:
    """Return `GroupEvidence.views_apart` of images, (images, channels, height, width), in pixels."""
    neighbour_distance = clustering.neighbour_distance(batch.flatten(1).numpy())
    selected = batch[:: -(-len(batch) // DISTANCE_SAMPLES)]
    views = [augment(selected, augmentations, generator).flatten(1) for _ in range(VIEWS)]
    distances = [(a - b).norm(dim=1) for a, b in itertools.combinations(views, 2)]
    closest = torch.stack(distances).amin(dim=0)
    return float(closest.median()) / max(neighbour_distance, 1e-12)


def _as_seen(model: InfoGAN, images: NDArray[np.uint8]) -> torch.Tensor:
    """Return images for a network, at the encoder's resolution if the model has an encoder."""
    batch = to_network(torch.from_numpy(np.ascontiguousarray(images)))
    return batch if model.networks.encoder is None else model.networks.encoder.resize(batch)


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
