"""The image files of a folder or zip, local or remote, and the splits and classes that their paths imply.

Hidden files and files without an image extension are ignored. If the top-level folders include ``train`` and ``test``,
these are the splits; otherwise all images are "train". The next level of folders are the classes, if every image is in
one and there are at least two. Folders that contain everything else are skipped over. Images are in natural order of
their paths (2.png before 10.png).
"""

import io
import itertools
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from infogan.data.preprocess import error_reason, image_extensions
from infogan.data.readers.remote import Location, PrefetchingReader, Remote
from infogan.utils.errors import UserError
from infogan.utils.files import BoundedReader

MAX_FILE_BYTES = 256 * 2**20  # of one image file in a zip (unpacked) or on a remote file system
SMALL_FILE_BYTES = 2**18  # files up to this size are read in one go


@dataclass(frozen=True)
class Layout:
    """Splits and classes of a set of images.

    Attributes:
        splits: The names of the images of each split.
        class_of: The class of each image by name; None if it has none.
        classes: All classes, in the order of their labels, which is the same in every split.
    """

    splits: dict[str, list[str]]
    class_of: dict[str, str | None]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class ImageFiles:
    """The image files of a folder, zip or Parquet table.

    Attributes:
        names: Their POSIX paths in natural order, or their names in a table.
        open: Returns the content of an image by name. It raises UserError if the whole source cannot be read, and
            exceptions of many types if that image cannot.
        skipped: Files that were excluded: name -> reason.
        table_layout: The layout of a table. None means that the paths imply it.
    """

    names: list[str]
    open: Callable[[str], BinaryIO]
    skipped: dict[str, str]
    table_layout: Layout | None = None

    def layout(self) -> Layout:
        """Return the splits and classes."""
        return self.table_layout or layout_from_paths(self.names)


@contextmanager
def open_files(path: Location) -> Iterator[ImageFiles]:
    """Open a folder or zip of image files; raises UserError if it cannot be read."""
    if path.is_dir():
        yield _list_folder(path) if isinstance(path, Path) else _list_remote(path)
        return
    with ExitStack() as stack:
        try:
            content = BoundedReader(path) if isinstance(path, Path) else path.open()
            archive = stack.enter_context(zipfile.ZipFile(stack.enter_context(content)))
        except UserError:
            raise
        except Exception as error:  # a broken zip directory raises more than BadZipFile
            raise UserError(f"cannot read {path} as a zip file: {error_reason(error)}") from error
        yield _list_zip(archive)


def folder_files(root: Path, names: list[str], skipped: dict[str, str]) -> ImageFiles:
    """Return the image files of a local folder whose names are known."""
    return ImageFiles(names, lambda name: _open_file(os.path.join(root, name)), skipped)


def layout_from_paths(names: Sequence[str]) -> Layout:
    """Return the splits and classes that the paths of images imply."""
    folders = {name: tuple(name.split("/")[:-1]) for name in names}
    columns = zip(*folders.values(), strict=False)
    depth = sum(1 for _ in itertools.takewhile(lambda column: len({*column}) == 1, columns))
    top_folders = {parts[depth] for parts in folders.values() if len(parts) > depth}
    splits = {"train": list(names)}
    if {"train", "test"} <= top_folders:
        splits = {
            split: [name for name in names if folders[name][depth : depth + 1] == (split,)]
            for split in ("train", "test")
        }
        depth += 1
    class_of = {
        name: folders[name][depth] if len(folders[name]) > depth else None
        for members in splits.values()
        for name in members
    }
    classes = sorted({name for name in class_of.values() if name is not None}, key=natural_key)
    return Layout(splits, class_of, tuple(classes))


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name is ignored."""
    return name.startswith(".") or name == "__MACOSX"


def has_image_extension(name: str) -> bool:
    """Return whether a file of this name counts as an image."""
    return not is_hidden(name) and os.path.splitext(name)[1].lower() in image_extensions()


def natural_key(path: str) -> tuple[list[list[Any]], str]:
    """Return the key that sorts paths folder by folder and runs of digits as numbers, and 01.png before 1.png."""

    def split_numbers(part: str) -> list[Any]:
        texts: list[Any] = re.split("([0-9]+)", part)
        # Numbers compare by length, then by digits, because int() refuses very long ones.
        texts[1::2] = [(len(digits), digits) for digits in (number.lstrip("0") for number in texts[1::2])]
        return texts

    return [split_numbers(part) for part in path.split("/")], path


def _list_folder(root: Path) -> ImageFiles:
    names: list[str] = []
    skipped: dict[str, str] = {}
    resolved_root = root.resolve()
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            entries = list(os.scandir(root / folder))
        except OSError as error:
            skipped[folder.rstrip("/") or "."] = error_reason(error)
            continue
        for entry in entries:
            name = folder + entry.name
            if is_hidden(entry.name):
                continue
            if entry.is_dir() and not entry.is_symlink():
                folders.append(f"{name}/")
            elif entry.is_dir() or has_image_extension(entry.name):
                if problem := _find_problem(entry, resolved_root):
                    skipped[name] = problem
                else:
                    names.append(name)
    return folder_files(root, sorted(names, key=natural_key), skipped)


def _find_problem(entry: os.DirEntry[str], resolved_root: Path) -> str | None:
    """Return why an image of a folder cannot be opened, or None."""
    if entry.is_dir():
        return "a link to a folder"
    if entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(resolved_root):
        return "a link that leads out of the folder"
    # Reading a pipe would never end, and a dangling link cannot be opened.
    return None if entry.is_file() else "not a file"


def _list_remote(root: Remote) -> ImageFiles:
    sizes = {name: size for name, size in root.find().items() if not any(map(is_hidden, name.split("/")))}
    images = sorted(filter(has_image_extension, sizes), key=natural_key)
    skipped = {name: _too_large(sizes[name]) for name in images if sizes[name] > MAX_FILE_BYTES}
    names = [name for name in images if name not in skipped]
    read = PrefetchingReader(root, names, sizes)
    return ImageFiles(names, lambda name: io.BytesIO(read(name)), skipped)


def _list_zip(archive: zipfile.ZipFile) -> ImageFiles:
    members: dict[str, zipfile.ZipInfo] = {}
    skipped: dict[str, str] = {}
    for member in archive.infolist():
        path = PurePosixPath(member.filename.replace("\\", "/"))
        # zipfile lists members without a name, but its is_dir() fails on them.
        if not member.filename or member.is_dir() or not has_image_extension(path.name):
            continue
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
            skipped[str(path)] = "a path that leads out of the zip file"
        elif member.file_size > MAX_FILE_BYTES:
            skipped[str(path)] = _too_large(member.file_size)
        elif not any(is_hidden(part) for part in path.parts):
            members[str(path)] = member

    # zipfile stops at the file_size that was checked, even if the compressed data would yield more.
    return ImageFiles(sorted(members, key=natural_key), lambda name: io.BytesIO(archive.read(members[name])), skipped)


def _open_file(path: str) -> BinaryIO:
    """Open a file, and read it in one go if it is small: image decoders ask for a few bytes at a time."""
    file = BoundedReader(path)
    if os.fstat(file.fileno()).st_size > SMALL_FILE_BYTES:
        return file
    with file:
        return io.BytesIO(file.read())


def _too_large(size: int) -> str:
    return f"{size:,} bytes, more than {MAX_FILE_BYTES:,}"
