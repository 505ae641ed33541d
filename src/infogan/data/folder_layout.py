"""What is in folders and zips of pictures, here or elsewhere: their paths, how to open one, and what the paths say.

Hidden files and files without an image's extension are ignored. A folder with top-level folders ``train`` and ``test``
has two splits; anything else is all "train". The folders below are classes if every image lies in one and there are at
least two. Folders that merely wrap all the rest are looked through. Images come in the natural order of their paths
(2.png before 10.png).
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

MAX_FILE_BYTES = 256 * 2**20  # of one picture in a zip, unpacked, or elsewhere
WHOLE = 2**18  # bytes of a file that is read at once


@dataclass(frozen=True)
class Layout:
    """The names of images in each split, the class of each, and all classes, so that a label means the same in each."""

    splits: dict[str, list[str]]
    class_of: dict[str, str | None]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class ImageFiles:
    """Pictures in a folder, zip or table.

    Attributes:
        names: Of all of them; POSIX paths in natural order, or what a table calls them.
        open: Gives the content of one; raises nearly anything where there is none, UserError where nothing can be read.
        skipped: Why others were left out, by name.
        arrangement: None = what the paths say.
    """

    names: list[str]
    open: Callable[[str], BinaryIO]
    skipped: dict[str, str]
    arrangement: Layout | None = None

    def layout(self) -> Layout:
        """The splits and classes."""
        return self.arrangement or layout_from_paths(self.names)


@contextmanager
def open_files(path: Location) -> Iterator[ImageFiles]:
    """Yields the pictures of a folder or zip; raises UserError where it can not be read."""
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


def _list_folder(root: Path) -> ImageFiles:
    names: list[str] = []
    skipped: dict[str, str] = {}
    inside = root.resolve()
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
            if entry.is_dir():
                if entry.is_symlink():
                    skipped[name] = "a link to a folder"
                else:
                    folders.append(f"{name}/")
            elif has_image_extension(entry.name):
                if entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(inside):
                    skipped[name] = "a link that leads out of the folder"
                elif not entry.is_file():  # a pipe would never end, a dangling link never begin
                    skipped[name] = "not a file"
                else:
                    names.append(name)
    return folder_files(root, sorted(names, key=natural_key), skipped)


def _list_remote(root: Remote) -> ImageFiles:
    sizes = {name: size for name, size in root.find().items() if not any(map(is_hidden, name.split("/")))}
    skipped = {
        name: _too_large(size) for name, size in sizes.items() if has_image_extension(name) and size > MAX_FILE_BYTES
    }
    names = sorted((name for name in sizes if has_image_extension(name) and name not in skipped), key=natural_key)
    fetched = PrefetchingReader(root, names, sizes)
    return ImageFiles(names, lambda name: io.BytesIO(fetched(name)), skipped)


def _too_large(size: int) -> str:
    return f"{size:,} bytes, more than {MAX_FILE_BYTES:,}"


def folder_files(root: Path, names: list[str], skipped: dict[str, str]) -> ImageFiles:
    """Pictures in a folder, when it is known which."""
    return ImageFiles(names, lambda name: _open_picture(os.path.join(root, name)), skipped)


def _open_picture(path: str) -> BinaryIO:
    """A file to read, at once where it is small: decoders of pictures ask for a few bytes at a time."""
    file = BoundedReader(path)
    if os.fstat(file.fileno()).st_size > WHOLE:
        return file
    with file:
        return io.BytesIO(file.read())


def _list_zip(archive: zipfile.ZipFile) -> ImageFiles:
    members: dict[str, zipfile.ZipInfo] = {}
    skipped: dict[str, str] = {}
    for member in archive.infolist():
        path = PurePosixPath(member.filename.replace("\\", "/"))
        # A member without a name is one that zipfile lists and can not ask whether it is a folder.
        if not member.filename or member.is_dir() or not has_image_extension(path.name):
            continue
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
            skipped[str(path)] = "a path that leads out of the zip file"
        elif member.file_size > MAX_FILE_BYTES:
            skipped[str(path)] = _too_large(member.file_size)
        elif not any(is_hidden(part) for part in path.parts):
            members[str(path)] = member

    # zipfile stops at the file_size that was checked, whatever the packed bytes would go on to yield.
    return ImageFiles(sorted(members, key=natural_key), lambda name: io.BytesIO(archive.read(members[name])), skipped)


def layout_from_paths(names: Sequence[str]) -> Layout:
    """What the paths of pictures say of their splits and classes."""
    folders = {name: tuple(name.split("/")[:-1]) for name in names}
    columns = zip(*folders.values(), strict=False)
    wrapper = sum(1 for _ in itertools.takewhile(lambda column: len({*column}) == 1, columns))
    tops = {parts[wrapper] for parts in folders.values() if len(parts) > wrapper}
    splits = {"train": list(names)}
    if {"train", "test"} <= tops:
        splits = {
            split: [name for name in names if folders[name][wrapper : wrapper + 1] == (split,)]
            for split in ("train", "test")
        }
        wrapper += 1
    class_of = {name: parts[wrapper] if len(parts) > wrapper else None for name, parts in folders.items()}
    class_of = {name: class_of[name] for members in splits.values() for name in members}
    classes = sorted({name for name in class_of.values() if name is not None}, key=natural_key)
    return Layout(splits, class_of, tuple(classes))


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is left out."""
    return name.startswith(".") or name == "__MACOSX"


def has_image_extension(name: str) -> bool:
    """Whether a file of this name may be a picture."""
    return not is_hidden(name) and os.path.splitext(name)[1].lower() in image_extensions()


def natural_key(path: str) -> tuple[list[list[Any]], str]:
    """Sorts folder by folder, runs of digits as numbers; the path itself decides between 1.png and 01.png."""

    def pieces(part: str) -> list[Any]:
        texts: list[Any] = re.split("([0-9]+)", part)
        # Numbers compare by length, then by digits: int() refuses very long ones.
        texts[1::2] = [(len(digits), digits) for digits in (number.lstrip("0") for number in texts[1::2])]
        return texts

    return [pieces(part) for part in path.split("/")], path
