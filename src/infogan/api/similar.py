"""Images of a collection compared by their features: those unlike all others, and those similar to a given one."""

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from infogan.api.evaluate_run import data_of_run
from infogan.api.filing import open_filing
from infogan.config.schema import DataSettings
from infogan.data import Progress, ValueRange, describe_skipped, resolve_source, streamed
from infogan.data.preprocess import ImageSpec
from infogan.data.readers.in_memory import is_path, read_object
from infogan.features import FeatureExtractor, NamedVectors, embed, open_extractor
from infogan.features.outliers import outlier_scores, unit_vectors
from infogan.models.infogan import InfoGAN
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import DataWarning, UserError

DEFAULT_FEATURES = "lite0"
BLOCK = 500  # images


class Outlier(NamedTuple):
    """How unlike all others an image is.

    Attributes:
        image: Name of the image.
        score: Its distance to the others, relative to the median of all images; 1 is usual.
    """

    image: str
    score: float


class SimilarImage(NamedTuple):
    """An image that is similar to a given one.

    Attributes:
        image: Its name.
        similarity: Cosine of the angle between the features of both, 1 at most.
    """

    image: str
    similarity: float


@dataclass(frozen=True, eq=False)
class Comparer:
    """The encoder by whose features images are compared: a pretrained one, or the own one of a run.

    Attributes:
        extractor: The pretrained encoder; None = that of the model.
        model: The model of a run; None if there is no run.
    """

    extractor: FeatureExtractor | None
    model: InfoGAN | None

    @classmethod
    def open(cls, run: str | Path | None, features: str | None, device: str = "cpu") -> "Comparer":
        """Open an encoder.

        Args:
            run: A run folder or model folder; None = there is none.
            features: A pretrained encoder; None = that of the run, or ``DEFAULT_FEATURES`` without a run.
            device: The device to compute on.

        Raises:
            UserError: It cannot be opened, or the run has none.
        """
        model = None if run is None else InfoGAN.load(run).to(device)
        if features is not None or model is None:
            return cls(open_extractor(features or DEFAULT_FEATURES, device=device), model)
        filing = open_filing(model, None, device)
        if filing is None and model.networks.encoder is None:
            raise UserError(f"{run} has no encoder to compare images by: name a pretrained one (--features)")
        return cls(None if filing is None or filing.is_own else filing.extractor, model)

    def compare(self, data: DataSettings, split: str | None = None, progress: Progress | None = None) -> NamedVectors:
        """Return the unit vectors of images, with their names.

        Raises:
            UserError: As `infogan.data.streamed`, or no image can be used.

        Warns:
            DataWarning: Some images cannot be used.
        """
        vectors = self._embed(data, split, progress)
        if vectors.skipped:
            left_out = (
                f"{len(vectors.skipped)} files of {data.source} are left out: {describe_skipped(vectors.skipped)}"
            )
            warnings.warn(left_out, DataWarning, stacklevel=3)
        return replace(vectors, values=unit_vectors(vectors.values))

    def _embed(self, data: DataSettings, split: str | None, progress: Progress | None) -> NamedVectors:
        if self.extractor is not None:
            form = data.reading_for_encoder
            if self.model is not None:
                form["bands"] = self.model.config.reading.bands
            with streamed(data.source, size=self.extractor.size, split=split, **form) as stream:
                return embed(stream, self.extractor, progress=progress)
        assert self.model is not None
        size, channels = self.model.config.size, self.model.config.channels
        form = {name: value for name, value in data.reading.items() if name != "strict"}
        parts, names = [], list[str]()
        with streamed(data.source, size=size, channels=channels, split=split, progress=progress, **form) as stream:
            skipped = [*stream.skipped]
            for start in range(0, stream.count, BLOCK):
                images = stream.read(start, start + BLOCK)
                skipped += images.skipped
                if len(images):
                    parts.append(self.model.features(images.images))
                    names += images.names
                if progress is not None:
                    progress(f"features of {stream.source}", min(start + BLOCK, stream.count), stream.count)
        if not parts:
            raise UserError(f"{data.source} has no usable image")
        return NamedVectors(np.concatenate(parts), names, skipped=tuple(skipped))

    def vector(self, image: Any, data: DataSettings) -> NDArray[np.float32]:
        """Return the vector of one image, (features,).

        Args:
            image: The path of an image file, a Pillow image or an array.
            data: How images are read.

        Raises:
            UserError: It is no image.
        """
        if is_path(image) and not Path(image).is_file():
            raise UserError(f"{image} is not a file: name an image file")
        form: dict[str, Any] = {"shape": data.shape, "value_range": data.value_range}
        if self.extractor is not None:
            pixels = read_object([image], ImageSpec(self.extractor.size, 3, for_encoder=True, **form))
            return np.asarray(unit_vectors(self.extractor(pixels))[0])
        assert self.model is not None
        pixels = read_object([image], ImageSpec(self.model.config.size, self.model.config.channels, **form))
        return np.asarray(unit_vectors(self.model.features(pixels))[0])


def find_outliers(
    source: str | Path,
    *,
    run: str | Path | None = None,
    features: str | None = None,
    split: str | None = None,
    shape: str | None = None,
    value_range: ValueRange | None = None,
    follow_links: bool = False,
    device: str = "cpu",
    progress: Progress | None = None,
) -> list[Outlier]:
    """Rank images by how unlike all others they are; see `infogan.features.outliers`.

    Args:
        source: A folder, file or named data set, as for `infogan.data.load`.
        run: A run by whose features images are compared: its own, or those that it was trained with.
        features: A pretrained encoder, as for ``infogan embed``; None = that of the run, or ``lite0`` without a run.
        split: As for `infogan.data.load`.
        shape: As for `infogan.data.load`; None = that of the run, or ``"crop"``.
        value_range: As for `infogan.data.load`; None = that of the run, if it has one.
        follow_links: As for `infogan.data.load`.
        device: The device to compute on.
        progress: Called with the number of images whose features are known.

    Returns:
        All usable images, the most unusual one first.

    Raises:
        UserError: As `infogan.data.load`, an encoder cannot be opened, or there are too few images.

    Example:
        >>> infogan.find_outliers("photos")[0]
        Outlier(image='receipt.jpg', score=1.83)
    """
    comparer = Comparer.open(run, features, device)
    known = DataSettings() if comparer.model is None else comparer.model.config.reading
    reading: dict[str, Any] = {"shape": shape or known.shape, "value_range": value_range or known.value_range}
    # Not validated, because `streamed` checks them.
    data = DataSettings.model_construct(source=resolve_source(source), follow_links=follow_links, **reading)
    vectors = comparer.compare(data, split, progress)
    names, scores = [*(vectors.names or ())], outlier_scores(vectors.values)
    return [Outlier(names[row], round(float(scores[row]), 4)) for row in np.argsort(-scores, kind="stable").tolist()]


def find_similar(
    run: str | Path,
    image: Any,
    *,
    count: int = 10,
    data: str | Path | None = None,
    features: str | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> list[SimilarImage]:
    """Find the training images of a run that are most similar to an image.

    Args:
        run: A run folder.
        image: The path of an image file, a Pillow image or an array.
        count: Number of images to find.
        data: Where the training images are now; None = where they were.
        features: As for `find_outliers`.
        device: The device to compute on.
        progress: Called with the number of images whose features are known.

    Returns:
        The most similar images, the most similar one first.

    Raises:
        UserError: The image cannot be read, the run's images are gone, or an encoder cannot be opened.

    Example:
        >>> infogan.find_similar("runs/00000-photos", "new.jpg", count=1)
        [SimilarImage(image='cats/7.jpg', similarity=0.91)]
    """
    if count < 1:
        raise UserError(f"count is {count}; ask for one image or more")
    settings = data_of_run(RunFolder.existing(Path(run)), None if data is None else str(data))
    comparer = Comparer.open(run, features, device)
    query = comparer.vector(image, settings)
    vectors = comparer.compare(settings, progress=progress)
    names, similarities = [*(vectors.names or ())], vectors.values @ query
    rows = np.argsort(-similarities, kind="stable")[:count].tolist()
    return [SimilarImage(names[row], round(float(similarities[row]), 4)) for row in rows]
