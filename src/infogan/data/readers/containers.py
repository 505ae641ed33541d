"""What holds image files: a folder, a zip, or a folder on another machine."""

import hashlib
import io
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from infogan.data.folder_layout import (
    LABELS_FILE,
    MAX_LABELS_BYTES,
    ImageFiles,
    has_image_extension,
    is_hidden,
    is_output_folder,
    layout_from_paths,
    natural_key,
    parse_labels,
    unread_reason,
    without_output_folders,
)
from infogan.data.preprocess import error_reason, wrap_read_errors
from infogan.data.readers.remote import Location, PrefetchingReader, Remote, open_location
from infogan.utils.files import BoundedReader

MAX_FILE_BYTES = 256 * 2**20  # of one image file in a zip (unpacked) or on a remote file system
SMALL_FILE_BYTES = 2**18  # files up to this size are read in one go


@contextmanager
def open_files(path: Location, *, follow_links: bool = False) -> Iterator[ImageFiles]:
    """Open a folder or zip of image files.

    Args:
        path: The folder or .zip.
        follow_links: Whether to follow symbolic links to folders, and those that lead out of the folder.

    Raises:
        UserError: It cannot be read.
    """
    if path.is_dir():
        yield _list_folder(path, follow_links) if isinstance(path, Path) else _list_remote(path)
        return
    with ExitStack() as stack:
        with wrap_read_errors(path, " as a zip file"):  # a broken zip directory raises more than BadZipFile
            archive = stack.enter_context(zipfile.ZipFile(stack.enter_context(open_location(path))))
        yield _list_zip(archive)


def folder_opener(root: Path) -> Callable[[str], BinaryIO]:
    """Return the function that opens a file of a folder by its relative path."""
    return lambda name: _open_file(os.path.join(root, name))


def _arrange(
    problems: dict[str, str | None],
    open_file: Callable[[str], BinaryIO],
    stamp_of: Callable[[str], object],
    labels: bytes | None,
) -> ImageFiles:
    """Return image files with their splits and classes.

    Args:
        problems: The reason to leave each file out, or None, by name.
        open_file: As `ImageFiles.open`.
        stamp_of: Returns something that changes when the content of an image does, such as its size.
        labels: The content of `LABELS_FILE`, if there is one.
    """
    names = sorted((name for name, problem in problems.items() if problem is None), key=natural_key)
    layout, in_no_split = layout_from_paths(names, None if labels is None else parse_labels(labels))
    left_out = {name: problem for name, problem in problems.items() if problem is not None} | in_no_split
    skipped = [f"{name}: {left_out[name]}" for name in sorted(left_out, key=natural_key)]

    def version() -> str:
        state = hashlib.sha256()
        for name in names:
            state.update(repr(stamp_of(name)).encode())
        return state.hexdigest()

    return ImageFiles(layout, open_file, version, skipped)


@dataclass
class _FolderWalk:
    """A walk through a local folder; symbolic links that are followed come after everything else.

    Attributes:
        root: The folder.
        follow_links: As in `open_files`.
        problems: The reason to leave each file out, or None, by its path relative to the folder.
    """

    root: Path
    follow_links: bool
    problems: dict[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._resolved_root = self.root.resolve()
        self._folders, self._links = [""], list[str]()
        self._visited: set[str] = set()

    def run(self) -> dict[str, str | None]:
        """Walk, and return the problems."""
        while self._folders or self._links:
            folder = self._folders.pop() if self._folders else self._links.pop(0)
            if self.follow_links:
                real = os.path.realpath(self.root / folder)
                if real in self._visited:
                    self.problems[folder.rstrip("/")] = "a link to a folder that is read already"
                    continue
                self._visited.add(real)
            self._list(folder)
        return self.problems

    def _list(self, folder: str) -> None:
        try:
            entries = list(os.scandir(self.root / folder))
        except OSError as error:
            self.problems[folder.rstrip("/") or "."] = error_reason(error)
            return
        if folder and is_output_folder(entry.name for entry in entries):
            return
        for entry in entries:
            if is_hidden(entry.name):
                continue
            name = folder + entry.name
            try:
                if not entry.is_dir():
                    self._add_file(entry, name)
                elif not entry.is_symlink():
                    self._folders.append(f"{name}/")
                elif self.follow_links:
                    self._links.append(f"{name}/")
                else:
                    self.problems[name] = "a link to a folder; use --follow-links to follow it"
            except OSError as error:  # a link that leads to itself
                self.problems[name] = error_reason(error)

    def _add_file(self, entry: os.DirEntry[str], name: str) -> None:
        if not has_image_extension(name):
            if reason := unread_reason(entry.name):
                self.problems[name] = reason
        elif not entry.is_file():  # reading a pipe would never end, and a dangling link cannot be opened
            self.problems[name] = "not a file"
        elif entry.is_symlink() and not self.follow_links and not self._is_inside(entry):
            self.problems[name] = "a link that leads out of the folder; use --follow-links to follow it"
        else:
            self.problems[name] = None

    def _is_inside(self, entry: os.DirEntry[str]) -> bool:
        return Path(entry.path).resolve().is_relative_to(self._resolved_root)


def _list_folder(root: Path, follow_links: bool) -> ImageFiles:
    labels = None
    with suppress(OSError):
        if (root / LABELS_FILE).is_file() and (root / LABELS_FILE).stat().st_size <= MAX_LABELS_BYTES:
            labels = (root / LABELS_FILE).read_bytes()

    def stamp_of(name: str) -> object:
        try:
            status = os.stat(os.path.join(root, name))
        except OSError as error:  # removed meanwhile, which is reported when it is read
            return error.errno
        return status.st_size, status.st_mtime_ns

    return _arrange(_FolderWalk(root, follow_links).run(), folder_opener(root), stamp_of, labels)


def _list_remote(root: Remote) -> ImageFiles:
    sizes = root.find()
    problems = _problems_of(sizes)
    names = sorted((name for name, problem in problems.items() if problem is None), key=natural_key)
    read = PrefetchingReader(root, names, sizes)
    labels = None
    if 0 < sizes.get(LABELS_FILE, 0) <= MAX_LABELS_BYTES:
        content = root.fetch([LABELS_FILE])[LABELS_FILE]
        labels = content if isinstance(content, bytes) else None
    return _arrange(problems, lambda name: io.BytesIO(read(name)), sizes.__getitem__, labels)


def _list_zip(archive: zipfile.ZipFile) -> ImageFiles:
    members: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        # zipfile lists members without a name, but its is_dir() fails on them.
        if member.filename and not member.is_dir():
            members[str(PurePosixPath(member.filename.replace("\\", "/")))] = member
    problems = _problems_of({name: member.file_size for name, member in members.items()})
    labels = members.get(LABELS_FILE)
    content = None
    if labels is not None and labels.file_size <= MAX_LABELS_BYTES:
        with wrap_read_errors(f"{LABELS_FILE} in {archive.filename}"):
            content = archive.read(labels)

    def stamp_of(name: str) -> object:
        return members[name].CRC, members[name].file_size

    # zipfile stops at the file_size that was checked, even if the compressed data would yield more.
    return _arrange(problems, lambda name: io.BytesIO(archive.read(members[name])), stamp_of, content)


def _problems_of(sizes: dict[str, int]) -> dict[str, str | None]:
    """Return the reason to leave out each file of a zip or remote folder, or None; documents are not among them."""
    problems: dict[str, str | None] = {}
    for name in without_output_folders(list(sizes)):
        path = PurePosixPath(name)
        is_image = has_image_extension(path.name)
        reason = None if is_image else unread_reason(path.name)
        if not is_image and reason is None:
            continue
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
            problems[name] = "a path that leads out of the zip file"
        elif not is_hidden(name):
            too_large = is_image and sizes[name] > MAX_FILE_BYTES
            problems[name] = f"{sizes[name]:,} bytes, more than {MAX_FILE_BYTES:,}" if too_large else reason
    return problems


def _open_file(path: str) -> BinaryIO:
    """Open a file, and read it in one go if it is small: image decoders ask for a few bytes at a time."""
    file = BoundedReader(path)
    if os.fstat(file.fileno()).st_size > SMALL_FILE_BYTES:
        return file
    with file:
        return io.BytesIO(file.read())
