"""A few labels that a person gives by hand: a CSV file with the columns ``image`` and ``label``."""

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infogan.data.imageset import ImageSet
from infogan.errors import UserError


@dataclass(frozen=True)
class FewLabels:
    """Which images carry which label.

    Attributes:
        indices: int64 (labelled,), places in the image set.
        values: int64 (labelled,), indices into ``names``.
        names: The labels that occur, in alphabetical order.
    """

    indices: NDArray[np.int64]
    values: NDArray[np.int64]
    names: tuple[str, ...]

    def digest(self) -> str:
        """SHA-256 of what it says."""
        return hashlib.sha256(repr((self.indices.tolist(), self.values.tolist(), self.names)).encode()).hexdigest()


def read_labels(path: Path, images: ImageSet) -> FewLabels:
    """Reads a file of labels; an image may be named once, as `infogan encode` writes it. Other columns are ignored.

    Raises:
        UserError: the file can not be read, lacks a column, or names an image that is not there, or one twice.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            reader = csv.DictReader(file)
            missing = {"image", "label"} - set(reader.fieldnames or ())
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, csv.Error) as error:
        raise UserError(f"the labels in {path} can not be read: {error}") from None
    if missing:
        raise UserError(f"{path} has no column {' and no column '.join(sorted(missing))}: its first line names them")
    places = {name: place for place, name in enumerate(images.names)}
    found: dict[int, str] = {}
    for number, row in rows:
        image, label = row["image"], (row["label"] or "").strip()
        if not label:  # not labelled yet
            continue
        if image not in places:
            raise UserError(f"line {number} of {path} labels {image!r}, which is no image of {images.source}")
        if places[image] in found:
            raise UserError(f"line {number} of {path} labels {image!r} a second time")
        found[places[image]] = label
    if not found:
        raise UserError(f"{path} labels no image")
    names = tuple(sorted(set(found.values())))
    indices = np.array(sorted(found), np.int64)
    return FewLabels(indices, np.array([names.index(found[i]) for i in indices.tolist()], np.int64), names)
