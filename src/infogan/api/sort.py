"""Folders of images that infogan writes: images sorted by category, and the hidden file that marks such folders."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infogan.data.folder_layout import OUTPUT_MARKER, has_image_extension
from infogan.models.infogan import InfoGAN
from infogan.reports.figures import pixels_extension, save_pixels
from infogan.utils.errors import UserError
from infogan.utils.files import make_output_folder, write_bytes
from infogan.utils.names import FileNames

FINISHED = "infogan wrote the images in this folder. It does not read them with the images of a folder around this one."
UNFINISHED = "infogan encode --sort-into has not sorted all images into this folder. The same command finishes it."


def mark_output_folder(folder: Path) -> None:
    """Create a folder and mark it as one whose images infogan writes, unless it holds other files already.

    Raises:
        UserError: It cannot be read or written.
    """
    if _is_unused(folder):
        make_output_folder(folder)
        _write_marker(folder, FINISHED)


def is_output_folder(folder: Path) -> bool:
    """Return whether a folder is missing, empty, or marked as one whose images infogan writes.

    Raises:
        UserError: It cannot be read.
    """
    return _is_unused(folder) or _read_marker(folder).startswith(FINISHED)


class Sorter:
    """Sorts images into one folder per value of the first categorical code.

    Images that are files are copied or linked; those of an array, a zip or a named data set are written as PNG. Values
    with the same name share a folder. A folder inside that of the images is marked, so that it is not read with them.

    Args:
        model: The model, whose names of categories name the folders.
        folder: The folder to write to, which is created if it is missing.
        root: The folder that the images' names are relative to; None if the images are not files of their own.
        link: Whether to link files instead of copying them.
        labels: Labels that are not names of categories; each has a folder, too.

    Attributes:
        folders: The folders of the values, which are created by `sort`.

    Raises:
        UserError: The model has no categorical code, ``folder`` is not empty, or it cannot be read.

    Example:
        >>> sorter = Sorter(model, Path("sorted"), Path("photos"), link=False)
        >>> with infogan.data.streamed("photos", size=32, channels=3) as stream:
        ...     encode_dataset(model, stream, Path("codes.csv"), sort=sorter)
    """

    def __init__(
        self, model: InfoGAN, folder: Path, root: Path | None, *, link: bool, labels: Iterable[str] = ()
    ) -> None:
        code = model.first_categorical()
        value_names = [model.value_name(code.name, value) for value in range(code.size)]
        names = FileNames()
        folder_names = dict.fromkeys([*value_names, *sorted(set(labels))])
        self._folder_of = {name: folder / names.add(name, stem=name) for name in folder_names}
        self.folders = [*self._folder_of.values()]
        self._plan = [self._folder_of[name].name for name in value_names] + [path.name for path in self.folders]
        self._file_names = {path: FileNames() for path in self.folders}
        self._folder, self._root, self._link = folder, root, link
        if not _is_unused(folder) and not _read_marker(folder).startswith(UNFINISHED):
            raise self._not_empty()

    def _not_empty(self) -> UserError:
        return UserError(f"{self._folder} is not empty: choose another folder to sort the images into")

    def begin(self, job: str) -> None:
        """Mark the folder as unfinished; an unfinished folder of the same job is completed.

        Args:
            job: A text that differs between models and between sets of images.

        Raises:
            UserError: The folder holds something else, or it cannot be written.
        """
        what = f"{job} {self._link} {self._plan}"
        marker = f"{UNFINISHED}\n{hashlib.sha256(what.encode('utf-8', 'backslashreplace')).hexdigest()}"
        if _is_unused(self._folder):
            make_output_folder(self._folder)
            _write_marker(self._folder, marker)
        elif _read_marker(self._folder) != marker:
            raise self._not_empty()

    def sort(self, categories: Sequence[str], names: Sequence[str], images: Callable[[], NDArray[np.uint8]]) -> None:
        """Sort some images; the order of the calls decides which of two names that agree gets a hash.

        Args:
            categories: The name of each image's category, or its label.
            names: The names of the images.
            images: Called for the images as uint8 (count, channels, height, width), if they are not files.

        Raises:
            UserError: The folder cannot be written.
        """
        pixels = images() if self._root is None else np.empty(0, np.uint8)
        try:
            for folder in self.folders:
                folder.mkdir(parents=True, exist_ok=True)
            for index, (category, name) in enumerate(zip(categories, names, strict=True)):
                folder = self._folder_of[category]
                # Files in two folders may have the same name, so the new name is made of the whole path.
                if self._root is None:
                    stem = os.path.splitext(name)[0] if has_image_extension(name) else name
                    extension = pixels_extension(len(pixels[index]))
                    save_pixels(pixels[index], folder / self._file_names[folder].add(name, stem, extension))
                else:
                    self._add_file(self._root / name, folder / self._file_names[folder].add(name))
        except OSError as error:
            raise UserError(f"cannot sort images into {self._folder}: {error.strerror or error}") from error

    def _add_file(self, source: Path, path: Path) -> None:
        path.unlink(missing_ok=True)  # of the same command, which was stopped
        if self._link:
            os.symlink(source.resolve(), path)
        else:
            shutil.copyfile(source, path)

    def end(self) -> None:
        """Mark the folder as finished if it is inside that of the images; raise UserError if it cannot be written."""
        if self._root is not None and self._folder.resolve().is_relative_to(self._root.resolve()):
            _write_marker(self._folder, FINISHED)
        else:
            (self._folder / OUTPUT_MARKER).unlink(missing_ok=True)


def _is_unused(folder: Path) -> bool:
    """Return whether a folder is missing, or holds nothing but the marker; raise UserError if it cannot be read."""
    try:
        return {entry.name for entry in folder.iterdir()} <= {OUTPUT_MARKER}
    except FileNotFoundError:
        return True
    except OSError as error:
        raise UserError(f"cannot read the folder {folder}: {error.strerror or error}") from error


def _read_marker(folder: Path) -> str:
    try:
        return (folder / OUTPUT_MARKER).read_text("utf-8", "replace").rstrip("\n")
    except OSError:
        return ""


def _write_marker(folder: Path, text: str) -> None:
    write_bytes(folder / OUTPUT_MARKER, f"{text}\n".encode())
