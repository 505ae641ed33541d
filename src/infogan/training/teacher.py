"""The teacher: categories of a run's images from pretrained features, which the run's own encoder learns.

It is kept with the run, so that a run resumes and is judged without the pretrained encoder.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy
from jaxtyping import Float32
from numpy.typing import NDArray

from infogan.features.vectors import NamedVectors
from infogan.training.feature_head import FeatureHead, fit_head
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError
from infogan.utils.files import write_bytes

TEACHER = "teacher.safetensors"
REFINED = "refined.safetensors"  # after a person's corrections


@dataclass(frozen=True, eq=False)
class FiledImages:
    """A head, and how it files the training images.

    Attributes:
        head: Turns vectors into categories.
        probabilities: (images, categories), of the training images.
    """

    head: FeatureHead
    probabilities: Float32[np.ndarray, "image category"]


@dataclass(frozen=True, eq=False)
class Teacher(FiledImages):
    """What pretrained features say of the training images.

    Attributes:
        space: (images, dimensions), the training images in the space in which the categories were found.
    """

    space: Float32[np.ndarray, "image dimension"]


def fit_teacher(vectors: NamedVectors, categories: int, seed: int) -> Teacher:
    """Find categories in the vectors of the training images.

    Raises:
        UserError: There are too few images for so many categories.
    """
    head = fit_head(vectors.values, categories, seed=seed, views=vectors.views)
    return Teacher(head, head.probabilities(vectors.values), head.space(vectors.values))


def save_teacher(run: RunFolder, teacher: Teacher) -> None:
    """Keep a teacher in the run folder; raise UserError if it cannot be written."""
    _save(run.path / TEACHER, teacher, {"space": teacher.space.astype(np.float16)}, {})


def load_teacher(run: RunFolder) -> Teacher | None:
    """Return the teacher of a run; None if it has none.

    Raises:
        UserError: The file is damaged.
    """
    with _reading(path := run.path / TEACHER, "without this file, the categories are found again"):
        if not path.is_file():
            return None
        filed, arrays, _ = _load(path)
        return Teacher(filed.head, filed.probabilities, arrays["space"].astype(np.float32))


def save_refined(run: RunFolder, refined: FiledImages, digest: str) -> None:
    """Keep what files images after a person's corrections; raise UserError if it cannot be written.

    Args:
        run: The run.
        refined: The head, and what it says of the training images.
        digest: Of the weights of the model that was refined.
    """
    _save(run.path / REFINED, refined, {}, {"model": digest})


def load_refined(run: RunFolder, digest: str) -> FiledImages | None:
    """Return what files images after a person's corrections, see `api.refine`; None if this model is not refined.

    Args:
        run: The run.
        digest: Of the weights of its model.

    Raises:
        UserError: The file is damaged.
    """
    with _reading(path := run.path / REFINED, "without this file, the model files the images again"):
        if not path.is_file():
            return None
        filed, _, metadata = _load(path)
        return filed if metadata.get("model") == digest else None


def _save(path: Path, filed: FiledImages, further: dict[str, NDArray[np.floating]], metadata: dict[str, str]) -> None:
    arrays: dict[str, NDArray[np.floating]] = {f"head.{name}": array for name, array in filed.head.arrays().items()}
    arrays |= {"probabilities": filed.probabilities, **further}
    content = safetensors.numpy.save({key: np.ascontiguousarray(array) for key, array in arrays.items()}, metadata)
    write_bytes(path, content)


def _load(path: Path) -> tuple[FiledImages, dict[str, NDArray[np.floating]], dict[str, str]]:
    """Return what a file says of the images, all of its arrays, and its metadata."""
    with safetensors.safe_open(path, "np") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata() or {}
    head = FeatureHead(**{name[5:]: array for name, array in arrays.items() if name.startswith("head.")})
    return FiledImages(head, arrays["probabilities"]), arrays, metadata


@contextmanager
def _reading(path: Path, remedy: str) -> Iterator[None]:
    """Report a damaged file, and what happens without it."""
    try:
        yield
    except (OSError, LookupError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise UserError(f"{path} is damaged; {remedy}") from error
