"""Folders and zips of pictures to an ImageSet.

In flows the path of a folder of image files at any depth, or of a .zip of one, from anybody; out flows an ``ImageSet``
that names what could not be used. Hidden files and files without an image's extension are ignored.

A folder with top-level folders ``train`` and ``test`` has two splits; anything else is all "train". The folders below
are classes, and their names become labels, if every image lies in one and there are at least two. Folders that merely
wrap all the rest are looked through. Images come in the natural order of their paths (2.png before 10.png).
"""

import hashlib
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

import numpy as np
from numpy.typing import NDArray

from infogan.data.imageset import ImageSet
from infogan.data.pixels import MAX_PIXELS, Form, Progress, channels_of, image_extensions, opened, reason, render
from infogan.data.stream import Stream
from infogan.errors import UserError
from infogan.files import Bounded

MAX_MEMBER_BYTES = 256 * 2**20  # of one file in a zip, unpacked
LARGEST = 24 * MAX_PIXELS  # bytes that a picture may need, with copies, in the deepest format


def read_pictures(
    path: Path, split: str, form: Form, *, strict: bool = False, progress: Progress | None = None
) -> ImageSet:
    """Reads one split of a folder or zip of pictures, one picture in memory at a time.

    Args:
        path: The folder or .zip.
        split: ``"train"`` or ``"test"``.
        form: The size, channels and fit to bring pictures to.
        strict: Refuse pictures that cannot be used instead of skipping them.
        progress: Told of the pictures read so far, and of how many there are.

    Raises:
        UserError: no usable picture, no such split, a broken zip, or pictures that leave open what ``form`` does.
    """
    with _listed(path) as files:
        arranged, names, where = _split(files, path, split)
        skipped = dict(files.skipped)
        size, channels, names = _settled(files, names, form, where, skipped)
        images, names = _rendered(files, names, (size, channels, form.fit), where, skipped, progress)
    problems = _problems(skipped)
    if not names:
        raise _nothing(where, problems)
    if strict and problems:
        raise UserError(f"{where} has {len(problems)} files that cannot be used: {_few(problems)}")
    labels, label_names = _folder_labels(names, arranged.class_of)
    return ImageSet(images, names, where, labels, label_names, problems)


@contextmanager
def streamed_pictures(path: Path, split: str, size: int, channels: int, fit: str) -> Iterator[Stream]:
    """Yields one split of a folder or zip of pictures, to be read in pieces; raises UserError as `read_pictures`."""
    with _listed(path) as files:
        arranged, names, where = _split(files, path, split)

        def read(first: int, last: int) -> ImageSet:
            skipped: dict[str, str] = {}
            images, kept = _rendered(files, names[first:last], (size, channels, fit), where, skipped, None)
            labels, label_names = _folder_labels(kept, arranged.class_of)
            return ImageSet(images, kept, where, labels, label_names, _problems(skipped))

        stamp = hashlib.sha256("\0".join(names).encode("utf-8", "surrogateescape")).hexdigest()
        root = path if path.is_dir() else None
        yield Stream(len(names), where, f"{stamp} {size} {channels} {fit}", read, _problems(files.skipped), root)


def settled_pictures(path: Path, split: str, form: Form) -> tuple[int, int]:
    """The size and channels that one split of a folder or zip of pictures comes to; raises as `read_pictures`."""
    with _listed(path) as files:
        _, names, where = _split(files, path, split)
        skipped = dict(files.skipped)
        size, channels, readable = _settled(files, names, form, where, skipped)
    if not readable:
        raise _nothing(where, _problems(skipped))
    return size, channels


def picture_splits(path: Path) -> tuple[str, ...]:
    """The splits of a folder or zip: ``("train",)`` or ``("train", "test")``.

    Raises:
        UserError: a broken zip.
    """
    with _listed(path) as files:
        return tuple(_arranged(files.names).splits)


@dataclass(frozen=True)
class _Files:
    """The image files of a folder or zip: their POSIX paths in natural order, how to open one, and who is left out."""

    names: list[str]
    open: Callable[[str], BinaryIO]
    skipped: dict[str, str]


@dataclass(frozen=True)
class _Arrangement:
    """What the paths of images say: the names in each split, and the class folder of each name."""

    splits: dict[str, list[str]]
    class_of: dict[str, str | None]


def _split(files: _Files, path: Path, split: str) -> tuple[_Arrangement, list[str], str]:
    """How the files are arranged, the names of those of a split, and that split in words."""
    arranged = _arranged(files.names)
    if split not in arranged.splits:
        raise UserError(f"{path} has no test split: that needs top-level folders named train and test")
    where = str(path) if len(arranged.splits) == 1 else f"{path} ({split})"
    return arranged, arranged.splits[split], where


def _nothing(where: str, problems: Sequence[str]) -> UserError:
    return UserError(f"{where} has no usable image: {_few(problems) or 'found no file with an image extension'}")


def _problems(skipped: dict[str, str]) -> tuple[str, ...]:
    return tuple(f"{name}: {why}" for name, why in skipped.items())


@contextmanager
def _listed(path: Path) -> Iterator[_Files]:
    if path.is_dir():
        yield _list_folder(path)
        return
    with ExitStack() as stack:
        try:
            archive = stack.enter_context(zipfile.ZipFile(stack.enter_context(Bounded(path))))
        except Exception as error:  # a broken zip directory raises more than BadZipFile
            raise UserError(f"cannot read {path} as a zip file: {reason(error)}") from error
        yield _list_zip(archive)


def _list_folder(root: Path) -> _Files:
    names: list[str] = []
    skipped: dict[str, str] = {}
    inside = root.resolve()

    def unreadable(error: OSError) -> None:
        skipped[Path(error.filename).relative_to(root).as_posix()] = reason(error)

    for folder, subfolders, files in os.walk(root, onerror=unreadable):
        subfolders[:] = [name for name in subfolders if not _hidden(name)]
        for path in (Path(folder, name) for name in subfolders):
            if path.is_symlink():  # os.walk does not follow it
                skipped[path.relative_to(root).as_posix()] = "a link to a folder"
        for path in (Path(folder, name) for name in files if _may_be_image(name)):
            name = path.relative_to(root).as_posix()
            if path.is_symlink() and not path.resolve().is_relative_to(inside):
                skipped[name] = "a link that leads out of the folder"
            elif not path.is_file():  # a pipe would never end, a dangling link never begin
                skipped[name] = "not a file"
            else:
                names.append(name)
    return _Files(sorted(names, key=_natural), lambda name: Bounded(root / name), skipped)


def _list_zip(archive: zipfile.ZipFile) -> _Files:
    members: dict[str, zipfile.ZipInfo] = {}
    skipped: dict[str, str] = {}
    for member in archive.infolist():
        path = PurePosixPath(member.filename.replace("\\", "/"))
        # A member without a name is one that zipfile lists and can not ask whether it is a folder.
        if not member.filename or member.is_dir() or not _may_be_image(path.name):
            continue
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
            skipped[str(path)] = "a path that leads out of the zip file"
        elif member.file_size > MAX_MEMBER_BYTES:
            skipped[str(path)] = f"{member.file_size:,} bytes, more than {MAX_MEMBER_BYTES:,}"
        elif not any(_hidden(part) for part in path.parts):
            members[str(path)] = member

    # zipfile stops at the file_size that was checked, whatever the packed bytes would go on to yield.
    return _Files(sorted(members, key=_natural), lambda name: io.BytesIO(archive.read(members[name])), skipped)


def _arranged(names: Sequence[str]) -> _Arrangement:
    folders = {name: PurePosixPath(name).parts[:-1] for name in names}
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
    return _Arrangement(splits, {name: class_of[name] for members in splits.values() for name in members})


def _settled(
    files: _Files, names: Sequence[str], form: Form, where: str, skipped: dict[str, str]
) -> tuple[int, int, list[str]]:
    """Size and channels, from the headers of all pictures where ``form`` leaves them open, and who has a header."""
    if form.size is not None and form.channels is not None:
        return form.size, form.channels, list(names)
    sizes: dict[tuple[int, int], str] = {}
    channels: dict[int, str] = {}
    readable: list[str] = []
    for name in names:
        with _skipping(name, skipped), files.open(name) as file, opened(file) as picture:
            channels.setdefault(channels_of(picture), name)
            sizes.setdefault(picture.size, name)
            readable.append(name)
    if not readable:
        return 0, 0, []
    return form.settled_size(sizes, where), form.settled_channels(channels, where), readable


def _rendered(
    files: _Files,
    names: Sequence[str],
    target: tuple[int, int, str],
    where: str,
    skipped: dict[str, str],
    progress: Progress | None,
) -> tuple[NDArray[np.uint8], list[str]]:
    size, channels, fit = target
    images = np.empty((len(names), channels, size, size), np.uint8)
    kept: list[str] = []
    for done, name in enumerate(names, start=1):
        with _skipping(name, skipped), files.open(name) as file, opened(file) as picture:
            images[len(kept)] = render(picture, size, channels, fit)
            kept.append(name)
        if progress is not None:
            progress(f"reading {where}", done, len(names))
    return images[: len(kept)], kept


def _folder_labels(
    names: Sequence[str], class_of: dict[str, str | None]
) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    # The classes are those of all splits together, so that a label means the same in each.
    classes = sorted({name for name in class_of.values() if name is not None}, key=_natural)
    if len(classes) < 2 or any(class_of[name] is None for name in names):
        return None, ()
    index = {name: i for i, name in enumerate(classes)}
    return np.array([index[str(class_of[name])] for name in names], np.int64), tuple(classes)


@contextmanager
def _skipping(name: str, skipped: dict[str, str]) -> Iterator[None]:
    try:
        yield
    except MemoryError as error:  # decoders also say so of a size that can not be; then there is memory enough
        np.empty(LARGEST, np.uint8)
        skipped[name] = reason(error)
    except Exception as error:  # Pillow's decoders raise nearly anything on a broken file
        skipped[name] = reason(error)


def _few(problems: Sequence[str]) -> str:
    return "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _may_be_image(name: str) -> bool:
    return not _hidden(name) and os.path.splitext(name)[1].lower() in image_extensions()


def _natural(path: str) -> tuple[list[list[Any]], str]:
    """Sorts folder by folder, runs of digits as numbers; the path itself decides between 1.png and 01.png."""

    def pieces(part: str) -> list[Any]:
        texts: list[Any] = re.split("([0-9]+)", part)
        # Numbers compare by length, then by digits: int() refuses very long ones.
        texts[1::2] = [(len(digits), digits) for digits in (number.lstrip("0") for number in texts[1::2])]
        return texts

    return [pieces(part) for part in path.split("/")], path
