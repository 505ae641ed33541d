"""What files images for a run: the features that it was trained with, and the corrections that a person has made."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from infogan.data.labels import labels_by_name
from infogan.data.stream import Stream
from infogan.features import FeatureExtractor, is_at_hand, is_vector_file, open_extractor
from infogan.features.outliers import unit_vectors
from infogan.models.infogan import InfoGAN
from infogan.training.feature_head import FeatureHead
from infogan.training.run_dir import RunFolder
from infogan.training.teacher import load_refined, load_teacher
from infogan.utils.errors import UserError


@dataclass(frozen=True)
class FiledByFeatures:
    """What files images instead of a model, and the images that are encoded.

    Attributes:
        extractor: Turns images into vectors.
        head: Turns vectors into categories.
        stream: The images at the extractor's size.
        is_own: As for `Filing`.
    """

    extractor: FeatureExtractor
    head: FeatureHead
    stream: Stream
    is_own: bool = False

    @cached_property
    def identity(self) -> str:
        """Another string for every other encoder or head."""
        content = b"".join(array.tobytes() for array in self.head.arrays().values())
        return f"{self.extractor.identity} {sha256(content).hexdigest()}"

    def probabilities(self, first: int, last: int, names: Sequence[str]) -> NDArray[np.float32]:
        """Return the probability of each category of the images from a first one to below a last one.

        Raises:
            UserError: They are not those of these names.
        """
        images = self.stream.read(first, last)
        if list(images.names) != list(names):
            raise UserError(f"{self.stream.source} changed while it was encoded: run the same command again")
        return self.head.probabilities(self.extractor(images.images))


def corrections_of_run(model: InfoGAN, source: str, split: str | None = None) -> dict[str, str]:
    """Return the labels that a person has given to a run's training images, by their names.

    Args:
        model: The model; that of a run folder knows its run.
        source: The images that are encoded, as `infogan.data.resolve_source` returns it. Labels belong to the training
            images of the run alone; for others there are none.
        split: Their split.

    Raises:
        UserError: The file of labels is malformed.
    """
    run = RunFolder(model.run_path) if model.run_path is not None else None
    if run is None or not run.labels.is_file() or split not in (None, "train"):
        return {}
    if source != run.read_config().data.source:
        return {}
    return labels_by_name(run.labels)


class Filing(NamedTuple):
    """What files images for a run instead of the head of its model.

    Attributes:
        extractor: Turns images into vectors.
        head: Turns vectors into categories.
        is_own: Whether the vectors are the features of the model's own encoder, from images at the model's size.
        is_refined: Whether the head follows a person's corrections.
    """

    extractor: FeatureExtractor
    head: FeatureHead
    is_own: bool
    is_refined: bool


def own_extractor(model: InfoGAN) -> FeatureExtractor:
    """Return the encoder of a model as an extractor of the features of images at its size."""
    return FeatureExtractor("the model's own encoder", model.config.size, model.features, identity=model.digest())


def own_head(model: InfoGAN) -> FeatureHead:
    """Return the head of a model's encoder, which has the same probabilities; the space is that of its features."""
    encoder = model.networks.encoder
    assert encoder is not None
    directions = unit_vectors(encoder.directions.detach().cpu().numpy())
    size = directions.shape[1]
    weights, biases = directions / encoder.TEMPERATURE, np.zeros(len(directions))
    arrays = (np.zeros(size), np.eye(size), weights, biases)
    return FeatureHead(*(array.astype(np.float32) for array in arrays))


def open_filing(model: InfoGAN, source: str | None = None, device: str = "cpu") -> Filing | None:
    """Return what files images for a run instead of its model: pretrained features, or a head that was refined.

    Args:
        model: The model; that of a run folder knows its run.
        source: The pretrained encoder; ``none`` = file with the model alone; None = that of the run, if it is on this
            machine.
        device: The device to compute on.

    Raises:
        UserError: ``source`` is given, but the run was trained without such features, or it cannot be opened.
    """
    run = RunFolder(model.run_path) if model.run_path is not None else None
    if run is None or source == "none":
        if source not in (None, "none"):
            raise _no_features(source)
        return None
    teacher, refined = load_teacher(run), load_refined(run, model.digest())
    if teacher is None:
        if source is not None:
            raise _no_features(source)
        return None if refined is None else Filing(own_extractor(model), refined.head, is_own=True, is_refined=True)
    settings = run.read_config().features
    if source is None and not is_at_hand(settings.source):
        return None
    source = source or settings.source
    if is_vector_file(source):
        raise UserError(f"--features {source} has vectors of other images: name the pretrained encoder that made them")
    extractor = open_extractor(source, size=settings.size, device=device)
    return Filing(extractor, (refined or teacher).head, is_own=False, is_refined=refined is not None)


def _no_features(source: str) -> UserError:
    return UserError(f"--features {source}: only a run that was trained with --features can file by them")
