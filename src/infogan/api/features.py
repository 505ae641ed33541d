"""The vectors of a run's images, from a pretrained encoder or a file."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from infogan.config.load import to_plain
from infogan.config.schema import Config, DataSettings
from infogan.data import ImageSet, Progress, streamed
from infogan.data.preprocess import LARGEST, ImageSpec
from infogan.data.readers.arrays import convert
from infogan.data.readers.in_memory import is_path, stream_object
from infogan.data.stream import Stream
from infogan.features import (
    FeatureExtractor,
    NamedVectors,
    embed,
    is_vector_file,
    open_extractor,
    read_vectors,
)
from infogan.features.extractor import check_vectors
from infogan.training.teacher import TEACHER
from infogan.utils import distributed


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
    options = {**config.data.reading, "size": extractor.size, "channels": 3, "largest": LARGEST}
    strict = options.pop("strict")
    with streamed(config.data.source, **options) as stream:
        vectors = embed(stream, extractor, strict=strict, progress=progress)
    return vectors.of(images.names, f"the features {extractor.name}")


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
    spec = ImageSpec(extractor.size, 3, largest=LARGEST)
    unconverted = Stream.from_images(images, images.digest())
    stream = replace(unconverted, read=lambda first, last: convert(unconverted.read(first, last), spec))
    return embed(stream, extractor, strict=True).of(images.names, f"the features {extractor.name}")


def given_vectors(features: Any, count: int) -> NamedVectors:
    """Return an array of vectors; raise UserError unless there is one of finite numbers for each of the images."""
    values = np.asarray(to_plain(features) if isinstance(features, list) else features)
    check_vectors(values, count, "the given features")
    return NamedVectors(np.asarray(values, np.float32))


def embed_data(data: Any, settings: DataSettings, extractor: FeatureExtractor) -> NamedVectors:
    """Return the vectors of the images that `infogan.fit` takes."""
    reading = settings.reading
    strict = reading.pop("strict")
    form: dict[str, Any] = {"size": extractor.size, "channels": 3, "largest": LARGEST}
    opened: AbstractContextManager[Stream]
    if is_path(data):
        opened = streamed(str(data), **form, **reading)
    else:
        opened = nullcontext(stream_object(data, ImageSpec(**form, **reading)))
    with opened as stream:
        return embed(stream, extractor, strict=strict)
