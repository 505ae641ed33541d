"""The files in which changes are kept, which others may write as well: another explorer, `infogan name`, an editor.

Who writes one must know what is in it. So each is looked at before it is written, and where it says something else than
when it was last read or written here, that is taken up and the change is not made.
"""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from infogan.data.dataset import ImageSet
from infogan.data.labels import LabelSheet
from infogan.utils.errors import UserError
from infogan.utils.files import write_bytes


class Unsaved(Exception):
    """A change that could not be written, and was taken back."""


class Outdated(Exception):
    """A change to what is not so any more, because others changed it; it was not made."""


class SharedFile:
    """A file that others may write, and its content when it was last read or written here.

    Args:
        path: Of the file, which need not be there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: bytes | None = None

    def news(self) -> bytes | None:
        """The content where it is not known here; None where it is, or where there is no file to lose."""
        try:
            content = self.path.read_bytes()
        except OSError:
            return None
        return None if content == self._known else content

    def know(self, content: bytes) -> None:
        """Says that the content is known here."""
        self._known = content

    def write(self, content: bytes) -> None:
        """Writes the file all or nothing; raises UserError where it can not."""
        write_bytes(self.path, content)
        self._known = content


class LabelBook:
    """Labels of images as a file holds them: with those of images that are not here, and with all of its columns.

    Args:
        images: Those that are here.
    """

    def __init__(self, images: ImageSet) -> None:
        self._images = images
        self._places = {name: place for place, name in enumerate(images.names)}
        self._sheet = LabelSheet()
        self._rows: dict[int, tuple[str, ...]] = {}
        self._beside: tuple[tuple[str, ...], ...] = ()

    @property
    def beside(self) -> int:
        """How many labels are of images that are not here."""
        return sum(bool(self._sheet.cell(row, "label")) for row in self._beside)

    def take(self, content: bytes, where: str) -> dict[int, str]:
        """Takes up a file's content; ``where`` names it for errors.

        Returns:
            By place of the image, what it is labelled.

        Raises:
            UserError: it is no file of labels, or names an image twice.
        """
        sheet = LabelSheet.read(content, where) if content.strip() else LabelSheet()
        rows: dict[int, tuple[str, ...]] = {}
        beside = []
        for number, row in sheet.rows:
            image = sheet.cell(row, "image")
            place = self._places.get(image)
            if place is None:
                beside.append(row)
            elif sheet.cell(row, "label"):  # else it is not labelled yet
                if place in rows:
                    raise UserError(f"line {number} of {where} labels {image!r} a second time")
                rows[place] = row
        self._sheet, self._rows, self._beside = sheet, rows, tuple(beside)
        return {place: sheet.cell(row, "label") for place, row in rows.items()}

    def content(self, labels: Mapping[int, str]) -> bytes:
        """A file of these labels, in the order of the images, and after them of those that are not here."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self._sheet.columns)
        for place, label in sorted(labels.items()):
            writer.writerow(self._sheet.of(self._images.names[place], label, self._rows.get(place, ())))
        writer.writerows(self._beside)
        return text.getvalue().encode("utf-8", "surrogateescape")
