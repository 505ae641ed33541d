"""The vectors of a run's images, from a pretrained encoder or a file."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from infogan.config.load import to_plain
from infogan.config.schema import Config, DataSettings
from infogan.data import ImageSet, Progress, some_indices, streamed
from infogan.data.batches import to_network
from infogan.data.preprocess import ImageSpec
from infogan.data.readers.arrays import convert
from infogan.data.readers.in_memory import is_path, stream_object
from infogan.data.stream import Stream
from infogan.features import (
    FeatureExtractor,
    NamedVectors,
    embed,
    is_at_hand,
    is_vector_file,
    open_extractor,
    read_vectors,
)
from infogan.features.extractor import check_vectors
from infogan.training.feature_head import compare_spaces, fit_space, project
from infogan.training.first_stage import train_first_stage
from infogan.training.run_dir import RunFolder
from infogan.training.teacher import TEACHER, load_refined, load_teacher
from infogan.utils import distributed

AUTO = "auto"  # as the source of features: those of a pretrained encoder or the run's own, whichever are better
TRIED = 3_000  # images on which they are compared
USUAL_CATEGORIES = 10  # that are looked for if their number is not known


def load_vectors(
    config: Config, images: ImageSet, device: str, run: Path | None, progress: Progress | None
) -> NamedVectors | None:
    """Return the vectors of the training images; None without a pretrained encoder, or if the run has its teacher.

    Raises:
        UserError: They cannot be read or computed, or do not belong to these images.
    """
    source, is_known = config.features.source, run is not None and (run / TEACHER).is_file()
    if not source or distributed.any_rank(is_known):
        return None
    with distributed.all_or_none():
        if is_vector_file(source):
            return read_vectors(Path(source)).of(images.names, source)
        extractor = open_extractor(source, size=config.features.size, device=device)
    with streamed(config.data.source, size=extractor.size, **config.data.reading_for_encoder) as stream:
        vectors = embed(stream, extractor, strict=config.data.strict, progress=progress)
    return vectors.of(images.names, f"the features {extractor.name}")


@dataclass(frozen=True)
class Choice:
    """Which features a run uses.

    Attributes:
        source: The pretrained encoder; empty = the run's own features.
        note: The scores, as a sentence.
    """

    source: str
    note: str


def choose_features(
    config: Config, images: ImageSet, device: str, run: Path | None, progress: Progress | None
) -> Choice:
    """Choose between a run's own features and those of a pretrained encoder, without labels.

    Both are tried on up to ``TRIED`` images; see `training.feature_head.compare_spaces`.

    Args:
        config: With ``auto`` or ``auto:SOURCE`` as ``features.source``, and the stages of a run with own features.
        images: The training images.
        device: The device to compute on.
        run: A run folder that may exist; such a run keeps its choice.
        progress: Called with the number of images whose vectors are known.

    Raises:
        UserError: As `load_vectors`.
    """
    if run is not None and (run / "config.json").is_file():
        return Choice(RunFolder(run).read_config().features.source, "")
    source = config.features.source.removeprefix(AUTO).removeprefix(":") or "lite0"
    with distributed.all_or_none():
        extractor = open_extractor(source, size=config.features.size, device=device)
    rows = some_indices(len(images), TRIED)
    tried = images.subset(rows)
    with streamed(config.data.source, size=extractor.size, **config.data.reading_for_encoder) as stream:
        # If some images are unusable, their numbers do not agree: all are read.
        drawn = stream.select(rows) if stream.count == len(images) else stream
        vectors = embed(drawn, extractor, progress=progress)
    encoder = train_first_stage(config, images, device)

    def choose() -> Choice:
        pixels = to_network(torch.from_numpy(np.ascontiguousarray(tried.images)).to(device))
        of_images = vectors.of(tried.names, f"the features {extractor.name}")
        space = project(of_images.values, *fit_space(of_images.values, of_images.views))
        groups = config.category_sizes[0] if config.category_sizes[0] > 2 else USUAL_CATEGORIES
        own, pretrained = compare_spaces(
            encoder.features_in_batches(pixels).cpu().numpy(), space, groups, seed=config.train.seed
        )
        name = source if pretrained > own else "the run's own"
        note = f"features: {name} ({source} scores {pretrained:.2f}, the run's own {own:.2f})"
        return Choice(source if pretrained > own else "", note)

    return distributed.broadcast_from_rank0(choose)


def vectors_of(images: ImageSet, features: Any, device: str) -> NamedVectors:
    """Return the vectors of images in memory, in their order.

    Args:
        images: The images, at a size of their own.
        features: As for `infogan.fit`.
        device: The device to compute on.

    Raises:
        UserError: As `load_vectors`.
    """
    if isinstance(features, str) and is_vector_file(features):
        return read_vectors(Path(features)).of(images.names, features)
    if not isinstance(features, str) and not callable(features):
        return given_vectors(features, len(images))
    extractor = open_extractor(features, device=device)
    spec = ImageSpec(extractor.size, 3, for_encoder=True)
    unconverted = Stream.from_images(images, images.digest())
    stream = replace(unconverted, read=lambda first, last: convert(unconverted.read(first, last), spec))
    return embed(stream, extractor, strict=True).of(images.names, f"the features {extractor.name}")


def filed_by_features(run: RunFolder, digest: str) -> NDArray[np.float32] | None:
    """Return the probability of each category of a run's training images, (images, categories), from its features.

    None if `infogan encode` files them by the model alone: the run is not refined, and has no pretrained features, or
    the encoder is not on this machine.

    Args:
        run: The run.
        digest: Of the weights of its model.

    Raises:
        UserError: The run is damaged.
    """
    teacher, refined = load_teacher(run), load_refined(run, digest)
    if teacher is not None and not is_at_hand(run.read_config().features.source):
        return None
    found = refined or teacher
    return None if found is None else found.probabilities


def given_vectors(features: Any, count: int) -> NamedVectors:
    """Return an array of vectors; raise UserError unless there is one of finite numbers for each of the images."""
    values = np.asarray(to_plain(features) if isinstance(features, list) else features)
    check_vectors(values, count, "the given features")
    return NamedVectors(np.asarray(values, np.float32))


def embed_data(data: Any, settings: DataSettings, extractor: FeatureExtractor) -> NamedVectors:
    """Return the vectors of the images that `infogan.fit` takes."""
    options: dict[str, Any] = {"size": extractor.size, **settings.reading_for_encoder}
    opened: AbstractContextManager[Stream]
    opened = streamed(str(data), **options) if is_path(data) else nullcontext(stream_object(data, ImageSpec(**options)))
    with opened as stream:
        return embed(stream, extractor, strict=settings.strict)
