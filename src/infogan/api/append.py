"""Filing new images into groups that exist: rows that are added to a file of codes, and images that fit no group."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infogan.api.evaluate_run import data_of_run, load_images
from infogan.api.filing import FiledByFeatures
from infogan.data import some_indices
from infogan.data.stream import Stream
from infogan.features.outliers import outlier_scores, unit_vectors
from infogan.models.infogan import InfoGAN
from infogan.training.run_dir import RunFolder
from infogan.training.teacher import load_teacher
from infogan.utils.errors import UserError
from infogan.utils.names import KEEP_BYTES

COMPARED = 5_000  # training images that new ones are compared with
USUAL_SHARE = 0.99  # of the training images, beyond whose distances an image fits no group
BLOCK = 500


@dataclass(frozen=True)
class EarlierCodes:
    """A CSV file of codes that rows are added to.

    Attributes:
        path: The file.
        text: Its content, which ends with a line break.
        columns: Its columns.
        images: The names of its images.
    """

    path: Path
    text: str
    columns: tuple[str, ...]
    images: frozenset[str]

    @property
    def has_probabilities(self) -> bool:
        """Whether it has the probability of every category."""
        return any(column.endswith("_number_0") for column in self.columns)

    def new_rows(self, stream: Stream) -> NDArray[np.int64]:
        """Return the numbers of the images that are not in the file."""
        return np.array([row for row, name in enumerate(stream.names) if name not in self.images], np.int64)

    def check(self, columns: tuple[str, ...]) -> None:
        """Raise UserError unless the columns of new rows are those of the file."""
        if columns != self.columns:
            raise UserError(
                f"{self.path} has other columns ({', '.join(self.columns)}) than this model writes "
                f"({', '.join(columns)}): write a new file with --out"
            )


def read_codes(path: Path) -> EarlierCodes:
    """Read a file of codes that `infogan encode` wrote.

    Raises:
        UserError: There is no such CSV file.
    """
    try:
        with path.open(encoding="utf-8", errors=KEEP_BYTES, newline="") as file:
            text = file.read()
        rows = list(csv.reader(io.StringIO(text)))
    except (OSError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read {path}: {reason}; --append needs a CSV file that encode wrote") from error
    if not rows or rows[0][:1] != ["image"] or any(len(row) != len(rows[0]) for row in rows):
        raise UserError(f"{path} is no file of codes: --append needs a CSV file that encode wrote")
    text += "" if text.endswith("\n") else "\n"
    return EarlierCodes(path, text, tuple(rows[0]), frozenset(row[0] for row in rows[1:]))


def images_of_no_group(model: InfoGAN, stream: Stream, features: FiledByFeatures | None) -> list[str]:
    """Return the names of images that are more unlike the training images than 99 % of these are unlike one another.

    Args:
        model: The model of a run.
        stream: The images at the model's size.
        features: The pretrained features that file the images, and the same images at their size; None = the model's.

    Raises:
        UserError: The training images are needed and gone, or the model has no encoder.
    """
    if model.run_path is None:
        raise UserError("a model folder does not know the training images: name the run folder")
    run = RunFolder(model.run_path)
    by_features = None if features is None or features.is_own else features
    if by_features is not None:
        teacher = load_teacher(run)
        assert teacher is not None
        known, source = teacher.space[some_indices(len(teacher.space), COMPARED)], by_features.stream
    else:
        images = load_images(model, data_of_run(run))
        known = model.features(images.images[some_indices(len(images), COMPARED)])
        source = stream
    names, parts = list[str](), []
    for start in range(0, source.count, BLOCK):
        block = source.read(start, start + BLOCK)
        if len(block):
            names += block.names
            vectors = by_features.extractor(block.images) if by_features is not None else model.features(block.images)
            parts.append(by_features.head.space(vectors) if by_features is not None else vectors)
    if not parts:
        return []
    known = unit_vectors(known)
    limit = np.quantile(outlier_scores(known), USUAL_SHARE)
    scores = outlier_scores(unit_vectors(np.concatenate(parts)), known)
    return [name for name, score in zip(names, scores, strict=True) if score > limit]
