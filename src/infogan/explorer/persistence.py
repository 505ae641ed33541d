"""The files that keep changes, which other programs may write too: another explorer, `infogan name`, an editor.

Each file is compared with its last known content before it is written. If it differs, the new content is loaded and the
change is refused.
"""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from infogan.data.dataset import ImageSet
from infogan.data.labels import LabelTable, indices_by_name
from infogan.utils.errors import UserError, encodable
from infogan.utils.files import write_bytes
from infogan.utils.names import KEEP_BYTES


class SaveError(Exception):
    """A change could not be written and was undone."""


class ConflictError(Exception):
    """A change was refused because another program changed the same files."""


class SharedFile:
    """A file that other programs may write, with its last known content.

    Args:
        path: The file; it may be missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._content: bytes | None = None

    def reload(self, load: Callable[[bytes], bool]) -> bool:
        """Load the content if it differs from the last known one.

        Args:
            load: Receives the content and returns whether anything changed. If it raises an error, the content is
                loaded again next time.

        Returns:
            Whether anything changed; False if the file cannot be read.
        """
        if not self.path.is_file():  # reading a pipe would never end
            return False
        try:
            content = self.path.read_bytes()
        except OSError:
            return False
        if content == self._content:
            return False
        changed = load(content)
        self._content = content
        return changed

    def write(self, content: bytes) -> None:
        """Write the file atomically; raises UserError if that fails."""
        write_bytes(self.path, content)
        self._content = content


class LabelFile:
    """Labels of images as a file holds them, including extra columns and rows of images that are not loaded.

    Args:
        images: The loaded images.
    """

    def __init__(self, images: ImageSet) -> None:
        self._images = images
        self._indices = indices_by_name(images)
        self._sheet = LabelTable()
        self._rows: dict[int, tuple[str, ...]] = {}
        self._unloaded: tuple[tuple[str, ...], ...] = ()

    @property
    def unloaded(self) -> int:
        """Number of labels whose images are not loaded."""
        return sum(bool(self._sheet.cell(row, "label")) for row in self._unloaded)

    def parse(self, content: bytes, path: str) -> dict[int, str]:
        """Load the content of a label file.

        Args:
            content: The file's bytes.
            path: Its name in errors.

        Returns:
            Label of each labelled image, by index.

        Raises:
            UserError: the file is malformed or names an image twice.
        """
        sheet = LabelTable.read(content, path) if content.strip() else LabelTable()
        rows: dict[int, tuple[str, ...]] = {}
        unloaded = []
        for number, row in sheet.rows:
            image = sheet.cell(row, "image")
            index = self._indices.get(image)
            if index is None:
                unloaded.append(row)
            elif sheet.cell(row, "label"):  # an empty label means not labelled yet
                if index in rows:
                    raise UserError(f"line {number} of {path} labels {image!r} a second time")
                rows[index] = row
        self._sheet, self._rows, self._unloaded = sheet, rows, tuple(unloaded)
        return {index: encodable(sheet.cell(row, "label")) for index, row in rows.items()}

    def content(self, labels: Mapping[int, str]) -> bytes:
        """Return the file's content for these labels, in the order of the images, then the unloaded ones."""
        rows = [self._sheet.columns]
        for index, label in sorted(labels.items()):
            row = self._rows.get(index, ())
            if row and label == encodable(self._sheet.cell(row, "label")):
                label = self._sheet.cell(row, "label")  # with bytes that are not UTF-8
            rows.append(self._sheet.make_row(self._images.names[index], label, row))
        return csv_bytes([*rows, *self._unloaded])


def csv_bytes(rows: Iterable[Sequence[str]]) -> bytes:
    """Return rows as the content of a CSV file; names that are not UTF-8 keep their bytes."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", KEEP_BYTES)
