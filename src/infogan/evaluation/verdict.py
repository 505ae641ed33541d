"""Is this run one to trust? An answer from images alone: no label takes part in it.

A run fails in few ways, and each leaves a trace. What was declared not to matter hardly changes an image, so that
nothing says what makes two of them the same kind; a value of the code dies, because two kinds of images share another;
the categories follow what was declared not to matter, and change with it; real images are not like the fakes that the
codes were learned on, and nobody is sure of them; the generator ignores the code, or the recognizer can not read it.
`judge` measures each trace, and the first that is beyond its limit is the reason not to trust.
"""

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from infogan.data.augment import augment
from infogan.data.batches import to_network, to_pixels
from infogan.models.infogan import InfoGAN
from infogan.training import clustering
from infogan.utils.matching import nmi

LOOKED_AT = 4_000  # real images, and as many fakes
SPREAD_OF = 1_000  # real images whose views are compared
VIEWS = 3  # one more than a flip has
PART = 0.25  # of a kind, and of a value's images: from there on the one belongs to the other


@dataclass(frozen=True)
class Evidence:
    """What a run is judged by.

    Attributes:
        views_apart: How far apart the two closest of three transformed views of a real image are, as a multiple of the
            distance of images to their 10th neighbour; the median. Learning from views rests on those of different
            images meeting (HaoChen et al. 2021, arXiv:2106.04156).
        view_agreement: Share of real images of which two transformed views are filed under one value.
        sureness: Mean probability of the value that a real image is filed under.
        smallest_class: Mass of the rarest value among real images, relative to an equal share.
        read_back: Share of fakes in which the value that was put in is read.
        neighbours: NMI of the categories with a clustering of the encoder's features that knows nothing of them; None
            without an encoder.
        kinds: How many kinds of image the features showed before the classes began; None where that was not clear.
        kinds_met: The smaller of ``kinds`` and the number of values, over the larger; None like ``kinds``.
        merged: Values that began with several of these kinds.
        split: Values that began with a part each of one kind.
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


@dataclass(frozen=True)
class Threshold:
    """How little of a trace is still to be trusted, and what less of it means."""

    minimum: float
    problem: str


THRESHOLDS = {
    "views_apart": Threshold(
        0.3,
        "what was declared not to matter hardly changes an image ({found:.2f} of the distance to its neighbours), so "
        "nothing says which images are of one {code}",
    ),
    "kinds_met": Threshold(0.75, "{kinds} kinds of image stand apart, which is not how many values {code} has"),
    "smallest_class": Threshold(0.1, "a value of {code} is all but unused ({found:.2f} of an equal share)"),
    "view_agreement": Threshold(0.7, "transforms that do not matter change the {code} ({found:.0%} of images keep it)"),
    "sureness": Threshold(0.7, "the {code} of real images is unsure (mean probability {found:.2f})"),
    "read_back": Threshold(0.9, "the {code} put into an image is not read back ({found:.0%} are)"),
    "neighbours": Threshold(0.6, "like images are filed under different values of {code} (NMI {found:.2f})"),
}


def collect_evidence(
    model: InfoGAN, images: NDArray[np.uint8], invariances: Mapping[str, float], seed: int
) -> Evidence:
    """Measures a model that has a categorical code on real images and on its own.

    Args:
        model: With somebody to read codes.
        images: Real ones, uint8 (count, channels, height, width).
        invariances: What was declared not to matter, with strengths.
        seed: Of the images looked at, the transforms and the fakes.
    """
    code = model.first_categorical()
    random = np.random.default_rng(seed)
    chosen = images[np.sort(random.choice(len(images), min(LOOKED_AT, len(images)), replace=False))]
    probabilities = model.encode(chosen).probabilities[code.name]
    found = probabilities.argmax(axis=1)
    draws = torch.Generator().manual_seed(seed)
    first, second = (_views_filed(model, chosen, invariances, draws) for _ in range(2))
    fakes = model.sample(LOOKED_AT, seed=seed)
    neighbours, kinds = None, np.zeros((code.size, 0))
    if model.networks.encoder is not None:
        features = model.features(chosen)
        neighbours = nmi(clustering.cluster(features, code.size, seed=seed % 2**31).labels, found)
        kinds = model.networks.encoder.kinds.cpu().numpy()
        kinds = kinds[:, kinds.sum(axis=0) > 0]
    count = kinds.shape[1]
    merged, split = merged_and_split(kinds)
    return Evidence(
        views_apart=_views_apart(model, chosen, invariances, draws),
        view_agreement=float((first == second).mean()),
        sureness=float(probabilities.max(axis=1).mean()),
        smallest_class=float(np.bincount(found, minlength=code.size).min() / len(found) * code.size),
        read_back=float((_filed(model, fakes.images) == fakes.codes[code.name]).mean()),
        neighbours=neighbours,
        kinds=count or None,
        kinds_met=min(count, code.size) / max(count, code.size) if count else None,
        merged=merged,
        split=split,
    )


def merged_and_split(kinds: NDArray[Any]) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """Values that hold several kinds, and groups of values that share one.

    Args:
        kinds: (values, kinds), how many images, or what share of them, each value and kind have in common.
    """
    belongs = kinds >= PART * np.maximum(kinds.sum(axis=0), kinds.sum(axis=1, keepdims=True))
    belongs &= kinds > 0
    merged = tuple(np.flatnonzero(belongs.sum(axis=1) > 1).tolist())
    shared = np.flatnonzero(belongs.sum(axis=0) > 1)
    return merged, tuple(tuple(np.flatnonzero(belongs[:, kind]).tolist()) for kind in shared)


def judge(traces: Evidence, code: str) -> tuple[bool, str]:
    """Whether to trust, and why or why not, in a sentence.

    Args:
        traces: From `measure`.
        code: The name of the code, for the sentence.
    """
    measured, groups = asdict(traces), _groups(traces, code)
    for name, limit in THRESHOLDS.items():
        found = measured[name]
        if found is not None and found < limit.minimum:
            return False, f"do not trust: {limit.problem.format(code=code, found=found, kinds=traces.kinds)}{groups}"
    return True, (
        f"trust: {traces.view_agreement:.0%} of images keep their {code} under what does not matter, "
        f"{traces.read_back:.1%} of generated ones are read as meant, and no value is unused{groups}"
    )


def _groups(traces: Evidence, code: str) -> str:
    """Which values look merged or split, as the end of a sentence."""
    said = ""
    if traces.merged:
        values = ", ".join(map(str, traces.merged))
        said += f"; several kinds seem to be merged in {code} {values}"
    if traces.split:
        groups = ", ".join(" and ".join(map(str, group)) for group in traces.split)
        said += f"; one kind seems to be split into {code} {groups}"
    return said


def _filed(model: InfoGAN, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    found: NDArray[np.int64] = model.encode(images).codes[model.first_categorical().name]
    return found


def _views_apart(
    model: InfoGAN, images: NDArray[np.uint8], invariances: Mapping[str, float], draws: torch.Generator
) -> float:
    """`Traces.views_apart` of images, in their pixels at the size at which the encoder, if there is one, reads."""
    batch = to_network(torch.from_numpy(np.ascontiguousarray(images)))
    if model.networks.encoder is not None:
        batch = model.networks.encoder.resize(batch)
    between = clustering.neighbour_distance(batch.flatten(1).numpy())
    some = batch[:: -(-len(batch) // SPREAD_OF)]
    views = [augment(some, invariances, draws).flatten(1) for _ in range(VIEWS)]
    pairs = [(one - other).norm(dim=1) for one, other in itertools.combinations(views, 2)]
    closest = torch.stack(pairs).amin(dim=0)
    return float(closest.median()) / max(between, 1e-12)


def _views_filed(
    model: InfoGAN, images: NDArray[np.uint8], invariances: Mapping[str, float], draws: torch.Generator
) -> NDArray[np.int64]:
    """What transformed images are filed under; transformed at the size at which the encoder, if there is one, reads."""
    found = []
    for part in torch.split(torch.from_numpy(np.ascontiguousarray(images)), 500):
        batch = to_network(part)
        if model.networks.encoder is None:
            found.append(_filed(model, to_pixels(augment(batch, invariances, draws))))
        else:
            with torch.inference_mode():
                views = augment(model.networks.encoder.resize(batch), invariances, draws)
                found.append(model.networks.encoder(views.to(model.device)).argmax(dim=1).cpu().numpy())
    return np.concatenate(found)
