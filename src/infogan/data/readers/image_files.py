"""Image sets and streams from image files in folders, zips and Parquet tables, local or remote."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from infogan.data.dataset import ImageSet
from infogan.data.folder_layout import ImageFiles
from infogan.data.preprocess import Header, ImageSpec, Progress, Target, open_image
from infogan.data.readers import tiff
from infogan.data.readers.containers import folder_opener, open_files
from infogan.data.readers.lazy_images import Headers, Item, LazyImages
from infogan.data.readers.parquet import is_parquet, open_tables
from infogan.data.readers.remote import Location
from infogan.data.stream import Stream
from infogan.utils.errors import UserError
from infogan.utils.processes import process_pool

PARALLEL_HEADERS = 2_000  # from this many images on, several processes read the headers


def read_images(path: Location, split: str, spec: ImageSpec, *, strict: bool, progress: Progress | None) -> ImageSet:
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
    with _open_split(path, split, spec) as images:
        return images.load(spec, strict=strict, progress=progress)


@contextmanager
def stream_images(path: Location, split: str, spec: ImageSpec) -> Iterator[Stream]:
    """Open one split of a folder, zip or table of images for reading block by block; raises like `read_images`."""
    with _open(path, spec.follow_links) as files:
        images = _images_of(files, path, split)
        target = images.resolve(spec)
        digest = hashlib.sha256("\0".join(images.names).encode("utf-8", "surrogateescape")).hexdigest()
        fingerprint = " ".join(map(str, (digest, files.version(), *target)))
        yield images.stream(target, fingerprint, path if _is_image_folder(path) else None)


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
    with _open_split(path, split, spec) as images:
        if workers <= 1 or len(images.names) < PARALLEL_HEADERS:
            return images.resolve(spec)
    bounds = [worker * len(images.names) // workers for worker in range(workers + 1)]
    with process_pool(workers) as pool:
        shares = [images.names[start:stop] for start, stop in pairwise(bounds)]
        parts = list(pool.map(partial(_read_headers, path), shares))
    examples: dict[Header, str] = {}
    unreadable: list[str] = []
    for part_examples, part_unreadable in parts:
        examples = part_examples | examples
        unreadable += part_unreadable
    return images.resolve(spec, (examples, unreadable))


def image_splits(path: Location, *, follow_links: bool = False) -> tuple[str, ...]:
    """Return the splits of a folder, zip or table: ``("train",)`` or ``("train", "test")``.

    Raises:
        UserError: The source is broken.
    """
    with _open(path, follow_links) as files:
        return tuple(files.layout.splits)


def is_image_source(path: Location) -> bool:
    """Return whether a path is a folder, zip or Parquet file; raises UserError if a remote one cannot be reached."""
    return path.suffix.lower() in (".zip", ".parquet") or path.is_dir()


def _is_image_folder(path: Location) -> TypeGuard[Path]:
    """Return whether a path is a local folder that has its images as files."""
    return isinstance(path, Path) and path.is_dir() and not is_parquet(path)


def _open(path: Location, follow_links: bool = False) -> AbstractContextManager[ImageFiles]:
    return open_tables(path) if is_parquet(path) else open_files(path, follow_links=follow_links)


@contextmanager
def _open_split(path: Location, split: str, spec: ImageSpec) -> Iterator[LazyImages]:
    """Open one split of the files at a path; raises UserError if there is no such split."""
    with _open(path, spec.follow_links) as files:
        yield _images_of(files, path, split)


def _images_of(files: ImageFiles, path: Location, split: str) -> LazyImages:
    """Return one split of open files; raises UserError if there is no such split."""
    layout = files.layout
    if split not in layout.splits:
        raise UserError(f"{path} has no test split: it needs top-level folders named train and test")
    labels: dict[str | None, int] = {}
    if len(layout.classes) > 1:
        labels = {name: label for label, name in enumerate(layout.classes)}

    def item(name: str) -> Item:
        return _open_image(files.open, name), labels.get(layout.class_of[name])

    source = str(path) if len(layout.splits) == 1 else f"{path} ({split})"
    return LazyImages(layout.splits[split], source, item, layout.classes, files.skipped)


@contextmanager
def _open_image(open_file: Callable[[str], BinaryIO], name: str) -> Iterator[Image.Image | NDArray[Any]]:
    with ExitStack() as stack:
        file = stack.enter_context(open_file(name))
        image: Image.Image | NDArray[Any]
        try:
            image = stack.enter_context(open_image(file))
        except UnidentifiedImageError:
            if not name.lower().endswith(tiff.EXTENSIONS):
                raise
            file.seek(0)
            image = tiff.read_bands(file)
        yield image


def _read_headers(path: Location, names: Sequence[str]) -> Headers:
    """Read headers in another process; a local folder is not listed again."""
    with ExitStack() as stack:
        open_file = folder_opener(path) if _is_image_folder(path) else stack.enter_context(_open(path)).open
        return LazyImages(names, str(path), lambda name: (_open_image(open_file, name), None)).read_headers()
