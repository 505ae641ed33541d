"""Image sets and streams from image files in folders, zips and Parquet tables, local or remote."""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infogan.data.dataset import ImageSet
from infogan.data.folder_layout import ImageFiles, Layout, folder_files, open_files
from infogan.data.preprocess import Header, ImageSpec, Progress, Target, open_image, read_header, render, skip_unusable
from infogan.data.readers.parquet import is_parquet, open_tables
from infogan.data.readers.remote import Location
from infogan.data.stream import Stream
from infogan.utils.errors import UserError

PARALLEL_HEADERS = 2_000  # from this many images on, several processes read the headers

_Headers = tuple[dict[Header, str], dict[str, str]]
"""The name of one image with each header, and why others cannot be read."""


def read_images(
    path: Location, split: str, spec: ImageSpec, *, strict: bool = False, progress: Progress | None = None
) -> ImageSet:
    """Read one split of a folder, zip or table of images, with one image in memory at a time.

    Args:
        path: The folder, .zip or table.
        split: ``"train"`` or ``"test"``.
        spec: The requested form of the images.
        strict: Raise an error for images that cannot be used instead of skipping them.
        progress: Called with the number of images read and their total.

    Raises:
        UserError: There is no usable image or no such split, the source is broken, or the size or channels must be
            requested because the images differ.
    """
    with _open(path) as files:
        split_files = _SplitFiles.select(files, path, split)
        names, skipped = split_files.names, dict(files.skipped)
        if spec.size is None or spec.channels is None:
            examples, unreadable = _read_headers(files, names)
            skipped |= unreadable
            if not examples:
                raise _no_usable_image(split_files.source, _format_skipped(skipped))
            names = [name for name in names if name not in unreadable]
            target = spec.resolve(examples, split_files.source)
        else:
            target = Target(spec.size, spec.channels, spec.shape)
        images = split_files.read(names, target, skipped, progress)
    if not len(images):
        raise _no_usable_image(images.source, images.skipped)
    if strict and images.skipped:
        raise UserError(
            f"{images.source} has {len(images.skipped)} files that cannot be used: {_first_few(images.skipped)}"
        )
    return images


@contextmanager
def stream_images(path: Location, split: str, target: Target) -> Iterator[Stream]:
    """Open one split of a folder, zip or table of images for reading block by block; raises like `read_images`."""
    with _open(path) as files:
        split_files = _SplitFiles.select(files, path, split)
        names = split_files.names

        def read(first: int, last: int) -> ImageSet:
            return split_files.read(names[first:last], target, {})

        digest = hashlib.sha256("\0".join(names).encode("utf-8", "surrogateescape")).hexdigest()
        fingerprint = f"{digest} {target.size} {target.channels} {target.shape}"
        root = path if isinstance(path, Path) and path.is_dir() and not is_parquet(path) else None
        yield Stream(len(names), split_files.source, fingerprint, read, _format_skipped(files.skipped), root)


def resolve_target(path: Location, split: str, spec: ImageSpec, workers: int = 1) -> Target:
    """Return the size and channels that one split of a folder, zip or table of images is read with.

    Args:
        path: The folder, .zip or table.
        split: ``"train"`` or ``"test"``.
        spec: The requested form of the images.
        workers: Number of processes that read headers if there are many images.

    Raises:
        UserError: As for `read_images`.
    """
    with _open(path) as files:
        split_files = _SplitFiles.select(files, path, split)
        names, source, skipped = split_files.names, split_files.source, dict(files.skipped)
    if workers > 1 and len(names) >= PARALLEL_HEADERS:
        bounds = [worker * len(names) // workers for worker in range(workers + 1)]
        with ProcessPoolExecutor(workers) as pool:
            shares = [names[start:stop] for start, stop in pairwise(bounds)]
            parts = list(pool.map(partial(_open_and_read_headers, path), shares))
    else:
        parts = [_open_and_read_headers(path, names)]
    examples: dict[Header, str] = {}
    for part, unreadable in parts:
        examples = part | examples
        skipped |= unreadable
    if not examples:
        raise _no_usable_image(source, _format_skipped(skipped))
    return spec.resolve(examples, source)


def image_splits(path: Location) -> tuple[str, ...]:
    """Return the splits of a folder, zip or table: ``("train",)`` or ``("train", "test")``.

    Raises:
        UserError: The source is broken.
    """
    with _open(path) as files:
        return tuple(files.layout().splits)


def is_image_source(path: Location) -> bool:
    """Return whether a path is a folder, zip or Parquet file; raises UserError if a remote one cannot be reached."""
    return path.suffix.lower() in (".zip", ".parquet") or path.is_dir()


@dataclass(frozen=True)
class _SplitFiles:
    """The image files of one split."""

    files: ImageFiles
    layout: Layout
    names: list[str]
    source: str

    @classmethod
    def select(cls, files: ImageFiles, path: Location, split: str) -> "_SplitFiles":
        """Return one split of the files at a path; raises UserError if there is no such split."""
        layout = files.layout()
        if split not in layout.splits:
            raise UserError(f"{path} has no test split: it needs top-level folders named train and test")
        source = str(path) if len(layout.splits) == 1 else f"{path} ({split})"
        return cls(files, layout, layout.splits[split], source)

    def read(
        self, names: Sequence[str], target: Target, skipped: dict[str, str], progress: Progress | None = None
    ) -> ImageSet:
        """Return the usable images with these names; the others are added to ``skipped``."""
        images = np.empty((len(names), target.channels, target.size, target.size), np.uint8)
        usable: list[str] = []
        for done, name in enumerate(names, start=1):
            with skip_unusable(name, skipped), self.files.open(name) as file, open_image(file) as image:
                images[len(usable)] = render(image, *target)
                usable.append(name)
            if progress is not None:
                progress(f"reading {self.source}", done, len(names))
        labels, label_names = self._labels(usable)
        return ImageSet(images[: len(usable)], usable, self.source, labels, label_names, _format_skipped(skipped))

    def _labels(self, names: Sequence[str]) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
        classes, class_of = self.layout.classes, self.layout.class_of
        if len(classes) < 2 or any(class_of[name] is None for name in names):
            return None, ()
        numbers = {name: number for number, name in enumerate(classes)}
        return np.array([numbers[str(class_of[name])] for name in names], np.int64), classes


def _open(path: Location) -> AbstractContextManager[ImageFiles]:
    return open_tables(path) if is_parquet(path) else open_files(path)


def _read_headers(files: ImageFiles, names: Sequence[str]) -> _Headers:
    examples: dict[Header, str] = {}
    skipped: dict[str, str] = {}
    for name in names:
        with skip_unusable(name, skipped), files.open(name) as file, open_image(file) as image:
            examples.setdefault(read_header(image), name)
    return examples, skipped


def _open_and_read_headers(path: Location, names: Sequence[str]) -> _Headers:
    """Read headers in another process; a local folder is not listed again."""
    if isinstance(path, Path) and path.is_dir() and not is_parquet(path):
        return _read_headers(folder_files(path, list(names), {}), names)
    with _open(path) as files:
        return _read_headers(files, names)


def _no_usable_image(source: str, skipped: Sequence[str]) -> UserError:
    return UserError(f"{source} has no usable image: {_first_few(skipped) or 'found no file with an image extension'}")


def _format_skipped(skipped: dict[str, str]) -> tuple[str, ...]:
    return tuple(f"{name}: {reason}" for name, reason in skipped.items())


def _first_few(lines: Sequence[str]) -> str:
    return "; ".join(lines[:3]) + (f"; and {len(lines) - 3} more" if len(lines) > 3 else "")
