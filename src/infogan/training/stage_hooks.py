"""What is done once at the beginning of a stage, by name: a `config.Stage.begin` lists them.

Each changes buffers or weights of the encoder and is a function of the weights, the images, the few labels and the seed
alone, so that a run that resumes at the beginning of a stage does it again to the last bit.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from infogan.data.batches import stream_seed, to_network
from infogan.data.labels import FewLabels
from infogan.models.architectures import Images
from infogan.models.networks import Encoder
from infogan.training import clustering
from infogan.utils.matching import hungarian_mapping

Pixels = UInt8[Tensor, "image channel height width"]

CLUSTERED = 20_000  # images that the classes begin from
COUNTED = 20_000  # images that a prior is learned from
NEIGHBOURHOOD = 10_000  # images among which an image's neighbours are looked for
RADIUS = 0.45  # of `terms.smoothness`, in distances between neighbouring images
DIFFUSE = 0.24  # share of the scatter of all features; clusters that leave more of it are not compact
CAUTIOUS = 0.1  # pace of the encoder from clusters that are not compact
SAME_SIZE = 2.0  # the largest class over the smallest, up to which all are taken to be of one size
SMOOTHED = 0.05  # share of a learned prior that is uniform, so that no value dies out


def cluster(encoder: Encoder, pixels: Pixels, seed: int, few: FewLabels | None = None) -> None:
    """Puts the encoder's directions where clusters of its features are, and sets the radius of its smoothness.

    The prior, to which the classes are held while they form, is uniform unless the clusters are modes of density and
    differ in size beyond ``SAME_SIZE``. Sizes are known only roughly at this time: to hold classes that are about equal
    to them would keep what is still filed wrongly where it is.

    From ``DIFFUSE`` clusters the encoder goes on at a ``CAUTIOUS`` pace: there what the terms of the classes gain is
    soon gained by joining classes that touch.

    Given a few labels, the first classes are those that most of their images are in, in the labels' order.
    """
    images = _seen(encoder, some_of(pixels, CLUSTERED, seed))
    features = encoder.features_in_batches(images).cpu().numpy()
    classes = len(encoder.directions)
    clusters = clustering.cluster(features, classes, seed=seed % 2**31)
    labels, kinds = clusters.labels, clusters.kinds
    directions = clustering.directions(features, labels, classes)
    if few is not None:
        known = _seen(encoder, pixels[torch.from_numpy(few.indices).to(pixels.device)])
        nearest = (encoder.features_in_batches(known).cpu().numpy() @ directions.T).argmax(axis=1)
        mapping = hungarian_mapping(nearest, few.values, classes, len(few.names))
        order = np.argsort(np.where(mapping < 0, classes, mapping), kind="stable")  # the class of each label, the rest
        directions, labels, kinds = directions[order], np.argsort(order)[labels], kinds[order]
    masses = torch.from_numpy(np.bincount(labels, minlength=classes) / len(labels))
    whole = clustering.scatter(features, np.zeros_like(labels), 1)
    compact = clustering.scatter(features, labels, classes) <= DIFFUSE * whole
    apart = images[:: -(-len(images) // NEIGHBOURHOOD)].flatten(1).cpu().numpy()
    with torch.no_grad():
        encoder.directions.copy_(torch.from_numpy(directions))
        encoder.marginal.copy_(masses)
        encoder.pace.fill_(1.0 if compact else CAUTIOUS)
        encoder.kinds.zero_()
        if kinds.shape[1] <= encoder.MOST_KINDS:
            encoder.kinds[:, : kinds.shape[1]] = torch.from_numpy(kinds / len(labels))
        differ = clusters.are_modes and bool(masses.max() > SAME_SIZE * masses.min())
        encoder.prior.copy_(_smoothed(masses) if differ else torch.full_like(masses, 1 / classes))
        encoder.radius.fill_(RADIUS * clustering.neighbour_distance(apart))


def refine(encoder: Encoder, pixels: Pixels, seed: int, few: FewLabels | None = None) -> None:
    """Sets the encoder's pace to nothing where its clusters were not compact.

    Taught by its own readings, an encoder makes classes that are apart more so, and joins those that touch.
    """
    with torch.no_grad():
        encoder.pace.mul_(encoder.pace == 1)


def learn_prior(encoder: Encoder, pixels: Pixels, seed: int, few: FewLabels | None = None) -> None:
    """Sets the encoder's prior to how often it finds each value in the images."""
    features = encoder.features_in_batches(_seen(encoder, some_of(pixels, COUNTED, seed)))
    with torch.no_grad():
        found = encoder.logits(features).argmax(dim=1)
        frequencies = torch.bincount(found, minlength=len(encoder.directions)) / len(found)
        encoder.prior.copy_(_smoothed(frequencies))


STAGE_HOOKS: dict[str, Callable[[Encoder, Pixels, int, FewLabels | None], None]] = {
    "cluster": cluster,
    "freeze_if_diffuse": refine,
    "learn_prior": learn_prior,
}


def _smoothed(frequencies: Tensor) -> Tensor:
    return (1 - SMOOTHED) * frequencies + SMOOTHED / len(frequencies)


def _seen(encoder: Encoder, pixels: Pixels) -> Images:
    """The images as the encoder sees them, made in parts: as floats of their own size all would take much memory."""
    parts = (to_network(part.to(encoder.directions.device)) for part in torch.split(pixels, 500))
    return torch.cat([encoder.resize(part) for part in parts])


def some_of(pixels: Pixels, count: int, seed: int) -> Pixels:
    """Up to so many of the images, by chance, in their order."""
    random = np.random.default_rng(stream_seed(seed, count))
    chosen = np.sort(random.choice(len(pixels), min(count, len(pixels)), replace=False))
    return pixels[torch.from_numpy(chosen).to(pixels.device)]
