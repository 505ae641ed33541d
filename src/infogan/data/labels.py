"""A few labels that a person gives by hand: a CSV file with the columns ``image`` and ``label``."""

import csv
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infogan.data.dataset import ImageSet
from infogan.utils.errors import UserError


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


@dataclass(frozen=True)
class LabelTable:
    """A file of labels as it stands.

    Attributes:
        columns: What its first line says.
        rows: The cells of each line that has any, and the number of the line.
    """

    columns: tuple[str, ...] = ("image", "label")
    rows: tuple[tuple[int, tuple[str, ...]], ...] = ()

    @classmethod
    def read(cls, content: bytes, where: str) -> "LabelTable":
        """The sheet in a file's content; ``where`` names it for the error.

        Raises:
            UserError: it can not be read, or lacks a column.
        """
        text = content.decode("utf-8-sig", "surrogateescape")
        try:
            reader = csv.reader(io.StringIO(text, newline=""))
            lines = [(reader.line_num, tuple(cells)) for cells in reader if cells]
        except csv.Error as error:
            raise UserError(f"the labels in {where} can not be read: {error}") from None
        columns = lines[0][1] if lines else ()
        missing = {"image", "label"} - set(columns)
        if missing:
            named = " and no column ".join(sorted(missing))
            raise UserError(f"{where} has no column {named}: its first line names them")
        return cls(columns, tuple(lines[1:]))

    def cell(self, row: tuple[str, ...], column: str) -> str:
        """What a row says under ``image`` or ``label``, without space around a label; "" where it ends before."""
        at = self.columns.index(column)
        text = row[at] if at < len(row) else ""
        return text.strip() if column == "label" else text

    def make_row(self, image: str, label: str, row: tuple[str, ...] = ()) -> tuple[str, ...]:
        """A row that says so, with what ``row`` has in other columns."""
        said = {self.columns.index("image"): image, self.columns.index("label"): label}
        width = max(len(self.columns), len(row))
        return tuple(said.get(at, row[at] if at < len(row) else "") for at in range(width))


def read_labels(path: Path, images: ImageSet) -> FewLabels:
    """Reads a file of labels; an image may be named once, as `infogan encode` writes it. Other columns are ignored.

    Raises:
        UserError: the file can not be read, lacks a column, or names an image that is not there, or one twice.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"the labels in {path} can not be read: {error}") from None
    sheet = LabelTable.read(content, str(path))
    places = {name: place for place, name in enumerate(images.names)}
    found: dict[int, str] = {}
    for number, row in sheet.rows:
        image, label = sheet.cell(row, "image"), sheet.cell(row, "label")
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
