"""The teacher: categories of a run's images from pretrained features, which the run's own encoder learns.

It is kept with the run, so that a run resumes and is judged without the pretrained encoder.
"""

from dataclasses import dataclass

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


@dataclass(frozen=True, eq=False)
class Teacher:
    """What pretrained features say of the training images.

    Attributes:
        head: Turns vectors into categories.
        probabilities: (images, categories), of the training images.
        space: (images, dimensions), the training images in the space in which the categories were found.
    """

    head: FeatureHead
    probabilities: Float32[np.ndarray, "image category"]
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
    arrays: dict[str, NDArray[np.floating]] = {f"head.{name}": array for name, array in teacher.head.arrays().items()}
    arrays |= {"probabilities": teacher.probabilities, "space": teacher.space.astype(np.float16)}
    write_bytes(run.path / TEACHER, safetensors.numpy.save({k: np.ascontiguousarray(v) for k, v in arrays.items()}))


def load_teacher(run: RunFolder) -> Teacher | None:
    """Return the teacher of a run; None if it has none.

    Raises:
        UserError: The file is damaged.
    """
    path = run.path / TEACHER
    if not path.is_file():
        return None
    try:
        arrays = safetensors.numpy.load(path.read_bytes())
        head = FeatureHead(**{name[5:]: array for name, array in arrays.items() if name.startswith("head.")})
        return Teacher(head, arrays["probabilities"], arrays["space"].astype(np.float32))
    except (OSError, LookupError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise UserError(f"{path} is damaged; without this file, the categories are found again") from error
