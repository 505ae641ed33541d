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
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
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
WHOLE = 2**18  # bytes of a file that is read at once
MANY = 2_000  # pictures whose headers several processes read
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
        if form.size is None or form.channels is None:
            headers = _headers(files, names)
            names = headers.readable
            skipped |= headers.skipped
            size, channels = _settled(headers, form, where)
        else:
            size, channels = form.size, form.channels
        images, names = _rendered(files, names, (size, channels, form.fit), where, skipped, progress)
    problems = _problems(skipped)
    if not names:
        raise _nothing(where, problems)
    if strict and problems:
        raise UserError(f"{where} has {len(problems)} files that cannot be used: {_few(problems)}")
    labels, label_names = _folder_labels(names, arranged, _classes(arranged))
    return ImageSet(images, names, where, labels, label_names, problems)


@contextmanager
def streamed_pictures(path: Path, split: str, size: int, channels: int, fit: str) -> Iterator[Stream]:
    """Yields one split of a folder or zip of pictures, to be read in pieces; raises UserError as `read_pictures`."""
    with _listed(path) as files:
        arranged, names, where = _split(files, path, split)

        classes = _classes(arranged)

        def read(first: int, last: int) -> ImageSet:
            skipped: dict[str, str] = {}
            images, kept = _rendered(files, names[first:last], (size, channels, fit), where, skipped, None)
            labels, label_names = _folder_labels(kept, arranged, classes)
            return ImageSet(images, kept, where, labels, label_names, _problems(skipped))

        stamp = hashlib.sha256("\0".join(names).encode("utf-8", "surrogateescape")).hexdigest()
        root = path if path.is_dir() else None
        yield Stream(len(names), where, f"{stamp} {size} {channels} {fit}", read, _problems(files.skipped), root)


def settled_pictures(path: Path, split: str, form: Form, workers: int = 1) -> tuple[int, int]:
    """The size and channels that one split of a folder or zip of pictures comes to; raises as `read_pictures`.

    Args:
        path: As for `read_pictures`, and so are the others.
        split: Of the pictures.
        form: What is settled already.
        workers: Processes that read headers, where there are enough to be worth it.
    """
    with _listed(path) as files:
        _, names, where = _split(files, path, split)
        skipped = dict(files.skipped)
    parts = [names[worker * len(names) // workers : (worker + 1) * len(names) // workers] for worker in range(workers)]
    if workers > 1 and len(names) >= MANY:
        with ProcessPoolExecutor(workers) as pool:
            headers = list(pool.map(partial(_headers_in, path), parts))
    else:
        headers = [_headers_in(path, names)]
    found = _Headers({}, {}, [], skipped)
    for some in headers:
        found = _Headers(
            some.sizes | found.sizes,
            some.channels | found.channels,
            found.readable + some.readable,
            found.skipped | some.skipped,
        )
    size, channels = _settled(found, form, where)
    if not found.readable:
        raise _nothing(where, _problems(found.skipped))
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
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            entries = list(os.scandir(root / folder))
        except OSError as error:
            skipped[folder.rstrip("/") or "."] = reason(error)
            continue
        for entry in entries:
            name = folder + entry.name
            if _hidden(entry.name):
                continue
            if entry.is_dir():
                if entry.is_symlink():
                    skipped[name] = "a link to a folder"
                else:
                    folders.append(f"{name}/")
            elif _may_be_image(entry.name):
                if entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(inside):
                    skipped[name] = "a link that leads out of the folder"
                elif not entry.is_file():  # a pipe would never end, a dangling link never begin
                    skipped[name] = "not a file"
                else:
                    names.append(name)
    return _in_folder(root, sorted(names, key=_natural), skipped)


def _in_folder(root: Path, names: list[str], skipped: dict[str, str]) -> _Files:
    return _Files(names, lambda name: _open_picture(os.path.join(root, name)), skipped)


def _open_picture(path: str) -> BinaryIO:
    """A file to read, at once where it is small: decoders of pictures ask for a few bytes at a time."""
    file = Bounded(path)
    if os.fstat(file.fileno()).st_size > WHOLE:
        return file
    with file:
        return io.BytesIO(file.read())


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
    return _Arrangement(splits, {name: class_of[name] for members in splits.values() for name in members})


@dataclass(frozen=True)
class _Headers:
    """What the headers of pictures say: of each size and number of channels one example; and who has none."""

    sizes: dict[tuple[int, int], str]
    channels: dict[int, str]
    readable: list[str]
    skipped: dict[str, str]


def _headers(files: _Files, names: Sequence[str]) -> _Headers:
    found = _Headers({}, {}, [], {})
    for name in names:
        with _skipping(name, found.skipped), files.open(name) as file, opened(file) as picture:
            found.channels.setdefault(channels_of(picture), name)
            found.sizes.setdefault(picture.size, name)
            found.readable.append(name)
    return found


def _headers_in(path: Path, names: Sequence[str]) -> _Headers:
    """Of pictures in a folder or zip that is not looked through again for what is in it, where that can be spared."""
    with _listed(path) if not path.is_dir() else nullcontext(_in_folder(path, list(names), {})) as files:
        return _headers(files, names)


def _settled(headers: _Headers, form: Form, where: str) -> tuple[int, int]:
    """Size and channels; zeros where no picture has a header."""
    if not headers.readable:
        return 0, 0
    return form.settled_size(headers.sizes, where), form.settled_channels(headers.channels, where)


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


def _classes(arranged: _Arrangement) -> tuple[str, ...]:
    """The classes of all splits together, so that a label means the same in each."""
    return tuple(sorted({name for name in arranged.class_of.values() if name is not None}, key=_natural))


def _folder_labels(
    names: Sequence[str], arranged: _Arrangement, classes: tuple[str, ...]
) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    class_of = arranged.class_of
    if len(classes) < 2 or any(class_of[name] is None for name in names):
        return None, ()
    index = {name: i for i, name in enumerate(classes)}
    return np.array([index[str(class_of[name])] for name in names], np.int64), classes


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
