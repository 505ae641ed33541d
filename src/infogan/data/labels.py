"""Labels of a few images, from a table with the columns ``image`` and ``label``.

It is CSV as programs write it, or as Excel does: with semicolons or tabs, in UTF-16, with backslashes in paths.
"""

import codecs
import csv
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infogan.data.dataset import ImageSet
from infogan.data.preprocess import wrap_read_errors
from infogan.utils.errors import UserError, encodable

DELIMITERS = (",", ";", "\t")
BOMS_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class FewLabels:
    """Labels of some images of a set.

    Attributes:
        indices: int64 (labelled,), indices of the labelled images in the set.
        values: int64 (labelled,), their labels as indices into ``names``.
        names: The labels that occur, in alphabetical order.
    """

    indices: NDArray[np.int64]
    values: NDArray[np.int64]
    names: tuple[str, ...]

    def digest(self) -> str:
        """Return the SHA-256 of the labels, in hex."""
        return hashlib.sha256(repr((self.indices.tolist(), self.values.tolist(), self.names)).encode()).hexdigest()


@dataclass(frozen=True)
class LabelTable:
    """The rows of a file of labels, including columns that infogan ignores.

    Attributes:
        columns: The names of the columns, from the first line.
        rows: The line number and the cells of each other line that is not empty.
    """

    columns: tuple[str, ...] = ("image", "label")
    rows: tuple[tuple[int, tuple[str, ...]], ...] = ()

    @classmethod
    def read(cls, content: bytes, path: str) -> "LabelTable":
        """Parse the content of a file; ``path`` names it in errors.

        Raises:
            UserError: It is not CSV, or lacks a column.
        """
        with wrap_read_errors(f"the labels in {path}"):
            text = content.decode("utf-16" if content[:2] in BOMS_UTF16 else "utf-8-sig", "surrogateescape")
            first_line = text.split("\n", 1)[0]
            delimiter = max(DELIMITERS, key=first_line.count)
            reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
            lines = [(reader.line_num, tuple(cells)) for cells in reader if cells]
        columns = tuple(column.strip() for column in lines[0][1]) if lines else ()
        missing = sorted({"image", "label"} - set(columns))
        if missing:
            raise UserError(
                f"{path} has no column {' and no column '.join(missing)}; its first line must name both, with a comma, "
                f"semicolon or tab between, and is {first_line[:80].strip()!r}"
            )
        return cls(columns, tuple(lines[1:]))

    def cell(self, row: tuple[str, ...], column: str) -> str:
        """Return the cell under ``image`` or ``label``; "" if the row is too short. Labels are stripped of spaces."""
        index = self.columns.index(column)
        text = row[index] if index < len(row) else ""
        return text.strip() if column == "label" else text

    def make_row(self, image: str, label: str, row: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Return a row with this image and label, and the other cells of ``row``."""
        cells = [*row, *[""] * (len(self.columns) - len(row))]
        cells[self.columns.index("image")] = image
        cells[self.columns.index("label")] = label
        return tuple(cells)


def indices_by_name(images: ImageSet) -> dict[str, int]:
    """Return the index of each image by its name, also by a path with backslashes, as Windows writes it."""
    names = {name: index for index, name in enumerate(images.names)}
    return {name.replace("/", "\\"): index for name, index in names.items() if "/" in name} | names


def labels_by_name(path: Path) -> dict[str, str]:
    """Return the labels in a file by name of the image, also by a path with slashes if it has backslashes.

    Raises:
        UserError: The file cannot be read, lacks a column, or names an image twice.
    """
    with wrap_read_errors(f"the labels in {path}"):
        content = path.read_bytes()
    table = LabelTable.read(content, str(path)) if content.strip() else LabelTable()
    labels: dict[str, str] = {}
    for line, row in table.rows:
        image, label = table.cell(row, "image"), table.cell(row, "label")
        if label and image in labels:
            raise UserError(f"line {line} of {path} labels {image!r} a second time")
        if label:
            labels[image] = encodable(label)
    return {image.replace("\\", "/"): label for image, label in labels.items()} | labels


def read_labels(path: Path, images: ImageSet) -> FewLabels:
    """Read a file of labels.

    Each image may occur once, by the name that `infogan encode` writes. Rows without a label, and columns other than
    ``image`` and ``label``, are ignored.

    Raises:
        UserError: The file cannot be read, lacks a column, has no labels, or names an image twice or an unknown one.

    Example:
        >>> read_labels(Path("labels.csv"), images).names
        ('cat', 'dog')
    """
    if path.exists() and not path.is_file():
        raise UserError(f"the labels {path} are not a file: give a CSV file")
    with wrap_read_errors(f"the labels in {path}"):
        content = path.read_bytes()
    table = LabelTable.read(content, str(path))
    index_of = indices_by_name(images)
    labels: dict[int, str] = {}
    for line, row in table.rows:
        image, label = table.cell(row, "image"), table.cell(row, "label")
        if not label:  # not labelled yet
            continue
        if image not in index_of:
            raise UserError(f"line {line} of {path} labels {image!r}, which is not an image of {images.source}")
        if index_of[image] in labels:
            raise UserError(f"line {line} of {path} labels {image!r} a second time")
        labels[index_of[image]] = label
    if not labels:
        raise UserError(f"{path} labels no image; fill in its column label")
    names = tuple(sorted(set(labels.values())))
    indices = sorted(labels)
    values = [names.index(labels[index]) for index in indices]
    return FewLabels(np.array(indices, np.int64), np.array(values, np.int64), names)
