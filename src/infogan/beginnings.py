"""What is done once at the beginning of a stage, by name: a `config.Stage.begin` lists them.

Each changes buffers or weights of the encoder and is a function of the weights, the images and the seed alone, so that
a run that resumes at the beginning of a stage does it again to the last bit.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from infogan import partition
from infogan.data.batches import stream_seed, to_network
from infogan.networks import Encoder

Pixels = UInt8[Tensor, "image channel height width"]

CLUSTERED = 5_000  # images that the classes begin from
COUNTED = 20_000  # images that a prior is learned from
RADIUS = 0.75  # of `terms.smoothness`, in distances between neighbouring images
SMOOTHED = 0.05  # share of a learned prior that is uniform, so that no value dies out


def cluster(encoder: Encoder, pixels: Pixels, seed: int) -> None:
    """Puts the encoder's directions where clusters of its features are, and sets the radius of its smoothness."""
    images = to_network(_some(pixels, CLUSTERED, seed))
    features = encoder.features_of_many(images).cpu().numpy()
    classes = len(encoder.directions)
    labels = partition.cluster(features, classes, seed=seed % 2**31)
    directions = partition.directions(features, labels, classes)
    masses = np.bincount(labels, minlength=classes) / len(labels)
    distance = partition.neighbour_distance(encoder.enlarged(images).flatten(1).cpu().numpy())
    with torch.no_grad():
        encoder.directions.copy_(torch.from_numpy(directions))
        encoder.marginal.copy_(torch.from_numpy(masses))
        encoder.radius.fill_(RADIUS * distance)


def learn_prior(encoder: Encoder, pixels: Pixels, seed: int) -> None:
    """Sets the encoder's prior to how often it finds each value in the images."""
    features = encoder.features_of_many(to_network(_some(pixels, COUNTED, seed)))
    with torch.no_grad():
        found = encoder.logits(features).argmax(dim=1)
        frequencies = torch.bincount(found, minlength=len(encoder.directions)) / len(found)
        encoder.prior.copy_((1 - SMOOTHED) * frequencies + SMOOTHED / len(frequencies))


BEGINNINGS: dict[str, Callable[[Encoder, Pixels, int], None]] = {"cluster": cluster, "prior": learn_prior}


def _some(pixels: Pixels, count: int, seed: int) -> Pixels:
    """Up to so many of the images, by chance."""
    random = np.random.default_rng(stream_seed(seed, count))
    chosen = np.sort(random.choice(len(pixels), min(count, len(pixels)), replace=False))
    return pixels[torch.from_numpy(chosen).to(pixels.device)]
