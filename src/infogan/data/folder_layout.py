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

from infogan.data.preprocess import error_reason, image_extensions, wrap_read_errors
from infogan.data.readers.remote import Location, PrefetchingReader, Remote, open_location
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
        layout: Their splits and classes. Names are POSIX paths in natural order, or those in a table.
        open: Returns the content of an image by name. It raises UserError if the whole source cannot be read, and
            exceptions of many types if that image cannot.
        skipped: One line ``"name: reason"`` for each file that was excluded.
    """

    layout: Layout
    open: Callable[[str], BinaryIO]
    skipped: Sequence[str] = ()


@contextmanager
def open_files(path: Location) -> Iterator[ImageFiles]:
    """Open a folder or zip of image files; raises UserError if it cannot be read."""
    if path.is_dir():
        yield _list_folder(path) if isinstance(path, Path) else _list_remote(path)
        return
    with ExitStack() as stack:
        with wrap_read_errors(path, " as a zip file"):  # a broken zip directory raises more than BadZipFile
            archive = stack.enter_context(zipfile.ZipFile(stack.enter_context(open_location(path))))
        yield _list_zip(archive)


def folder_files(root: Path, names: Sequence[str], skipped: Sequence[str] = ()) -> ImageFiles:
    """Return the image files of a local folder whose names are known."""
    return ImageFiles(layout_from_paths(names), lambda name: _open_file(os.path.join(root, name)), skipped)


def layout_from_paths(names: Sequence[str]) -> Layout:
    """Return the splits and classes that the paths of images imply."""
    folders = {name: tuple(name.split("/")[:-1]) for name in names}
    columns = zip(*folders.values(), strict=False)
    depth = sum(1 for _ in itertools.takewhile(lambda column: len({*column}) == 1, columns))
    splits = {"train": list(names)}
    if {"train", "test"} <= {parts[depth] for parts in folders.values() if len(parts) > depth}:
        for split in ("train", "test"):
            splits[split] = [name for name in names if folders[name][depth : depth + 1] == (split,)]
        depth += 1
    class_of = {
        name: folders[name][depth] if len(folders[name]) > depth else None
        for members in splits.values()
        for name in members
    }
    classes = sorted({name for name in class_of.values() if name is not None}, key=natural_key)
    return Layout(splits, class_of, tuple(classes))


def is_hidden(path: str) -> bool:
    """Return whether a file at this relative path is ignored."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.split("/"))


def has_image_extension(name: str) -> bool:
    """Return whether a file of this name counts as an image."""
    return os.path.splitext(name)[1].lower() in image_extensions()


def natural_key(path: str) -> tuple[list[list[Any]], str]:
    """Return the key that sorts paths folder by folder and runs of digits as numbers, and 01.png before 1.png."""

    def split_numbers(part: str) -> list[Any]:
        texts: list[Any] = re.split("([0-9]+)", part)
        # Numbers compare by length, then by digits, because int() refuses very long ones.
        texts[1::2] = [(len(digits), digits) for digits in (number.lstrip("0") for number in texts[1::2])]
        return texts

    return [split_numbers(part) for part in path.split("/")], path


def _list_folder(root: Path) -> ImageFiles:
    problems: dict[str, str | None] = {}
    resolved_root = root.resolve()
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            entries = list(os.scandir(root / folder))
        except OSError as error:
            problems[folder.rstrip("/") or "."] = error_reason(error)
            continue
        for entry in entries:
            if is_hidden(entry.name):
                continue
            if entry.is_dir() and not entry.is_symlink():
                folders.append(f"{folder}{entry.name}/")
            elif entry.is_dir() or has_image_extension(entry.name):
                problems[folder + entry.name] = _find_problem(entry, resolved_root)
    return folder_files(root, *_sort_out(problems))


def _find_problem(entry: os.DirEntry[str], resolved_root: Path) -> str | None:
    """Return why an image of a folder cannot be opened, or None."""
    if entry.is_dir():
        return "a link to a folder"
    if entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(resolved_root):
        return "a link that leads out of the folder"
    # Reading a pipe would never end, and a dangling link cannot be opened.
    return None if entry.is_file() else "not a file"


def _list_remote(root: Remote) -> ImageFiles:
    sizes = {name: size for name, size in root.find().items() if has_image_extension(name) and not is_hidden(name)}
    names, skipped = _sort_out({name: _size_problem(size) for name, size in sizes.items()})
    read = PrefetchingReader(root, names, sizes)
    return ImageFiles(layout_from_paths(names), lambda name: io.BytesIO(read(name)), skipped)


def _list_zip(archive: zipfile.ZipFile) -> ImageFiles:
    members: dict[str, zipfile.ZipInfo] = {}
    problems: dict[str, str | None] = {}
    for member in archive.infolist():
        path = PurePosixPath(member.filename.replace("\\", "/"))
        # zipfile lists members without a name, but its is_dir() fails on them.
        if not member.filename or member.is_dir() or not has_image_extension(path.name):
            continue
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
            problems[str(path)] = "a path that leads out of the zip file"
        elif not is_hidden(str(path)):
            problems[str(path)] = _size_problem(member.file_size)
            members[str(path)] = member
    names, skipped = _sort_out(problems)
    # zipfile stops at the file_size that was checked, even if the compressed data would yield more.
    return ImageFiles(layout_from_paths(names), lambda name: io.BytesIO(archive.read(members[name])), skipped)


def _sort_out(problems: dict[str, str | None]) -> tuple[list[str], list[str]]:
    """Return the names without a problem in natural order, and a line for each other one."""
    names = sorted((name for name, problem in problems.items() if problem is None), key=natural_key)
    return names, [f"{name}: {problem}" for name, problem in problems.items() if problem is not None]


def _size_problem(size: int) -> str | None:
    return f"{size:,} bytes, more than {MAX_FILE_BYTES:,}" if size > MAX_FILE_BYTES else None


def _open_file(path: str) -> BinaryIO:
    """Open a file, and read it in one go if it is small: image decoders ask for a few bytes at a time."""
    file = BoundedReader(path)
    if os.fstat(file.fileno()).st_size > SMALL_FILE_BYTES:
        return file
    with file:
        return io.BytesIO(file.read())
