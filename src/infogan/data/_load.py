"""The entry points of the data package: loading, streaming and preparing the images of any source.

A source is the name of a data set, or the path or address of a folder, .zip, .parquet, .npz, .npy or IDX file. A name
takes precedence over a file of that name; ``./mnist`` is always a path. Commands refuse a name that is both.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from infogan.data.dataset import ImageSet, describe_skipped, some_indices
from infogan.data.preprocess import SIZES, Bands, ImageSpec, Progress, ValueRange
from infogan.data.readers.arrays import array_splits, convert, npz_arrays, read_arrays
from infogan.data.readers.image_files import image_splits, is_image_source, read_images, resolve_target, stream_images
from infogan.data.readers.remote import Location, parse_location
from infogan.data.registry import DATASETS, read_named
from infogan.data.shards import PreparedSplit, is_sharded, read_shards, shard_splits, write_shards
from infogan.data.stream import Stream
from infogan.utils.errors import DataWarning, UserError, unknown_name
from infogan.utils.files import atomic_write

SPLITS = ("train", "test")
NARROW_RANGE = 255 // 8  # a set whose values span less is probably of another range than its files can hold
RANGE_IMAGES = 5_000  # in which the span is looked for


def resolve_source(source: str | Path) -> str:
    """Return what a person wrote as a source that means the same in any folder: a name, an address or an absolute path.

    Raises:
        UserError: It is the name of a data set and of a file or folder here.

    Example:
        >>> resolve_source("photos")
        '/data/photos'
    """
    if isinstance(source, str) and source in DATASETS:
        if os.path.lexists(source):
            raise UserError(
                f"{source!r} is a data set, and a file or folder here: write ./{source} for the one here, or rename it "
                "to use the data set"
            )
        return source
    if "://" in str(source):
        return str(source)
    return os.path.abspath(os.path.expanduser(source))


def load(
    source: str | Path,
    *,
    split: str | None = None,
    size: int | None = None,
    channels: int | None = None,
    shape: str = "crop",
    value_range: ValueRange | None = None,
    follow_links: bool = False,
    strict: bool = False,
    max_size: int = SIZES.stop - 1,
    progress: Progress | None = None,
) -> ImageSet:
    """Load one split of a data set; download it first if it is a named one that is not cached.

    Args:
        source: A name from ``DATASETS``, or the path or address of a folder of images, a .zip of one, a .parquet or a
            folder of them, a folder of shards (`prepare_shards`), or a .npz, .npy or IDX file (.gz too).
        split: ``"train"`` or ``"test"``. None means ``"train"``, which is everything if there is no test split.
        size: Height and width in pixels, 8 to 256. None keeps the images' size if all are square and of one such size;
            otherwise it is 64, or less if all images are smaller.
        channels: 1 for grey, 3 for RGB, up to 16 for other bands. None keeps the images' channels if all agree, and
            makes grey images among coloured ones coloured.
        shape: ``"crop"`` cuts a centred square out of an oblong image, ``"pad"`` adds bars around it.
        value_range: The values of black and white, e.g. ``(0, 4095)`` for 12-bit data in 16-bit files. None: 0 and 255
            for bytes, 65,535 for 16 bits, 1 for floats.
        follow_links: Follow symbolic links to folders, and those that lead out of the folder.
        strict: Raise an error for images that cannot be used instead of skipping them.
        max_size: With ``size=None``, height and width at most; larger images are reduced.
        progress: Called with the number of bytes downloaded or images read.

    Returns:
        The images as uint8 of shape (count, channels, size, size), with labels if the source has them.

    Warns:
        DataWarning: Some files cannot be used; or all images are almost of one brightness, so that ``value_range`` is
            probably another one.

    Raises:
        UserError: The source does not exist, has no usable image or no such split, or an argument is not allowed.

    Example:
        >>> images = infogan.data.load("photos.zip", size=32, channels=3)
        >>> images.images.shape
        (5000, 3, 32, 32)
    """
    spec = ImageSpec(size, channels, shape, value_range, follow_links, max_size=max_size)
    split = _check_split(split)
    path = _locate(source)
    if path is not None and _has_image_files(path):
        images = read_images(path, split, spec, strict=strict, progress=progress)
    else:
        images = convert(_read_unconverted(source, path, split, progress, spec.size), spec)
    _warn_of_oddities(images)
    return images


def _read_unconverted(
    source: str | Path, path: Location | None, split: str, progress: Progress | None, size: int | None = None
) -> ImageSet:
    """Return the images of a source that has no image files, in their own size and type."""
    if path is None:
        return read_named(str(source), split, progress, size=size)
    return read_shards(path, split) if is_sharded(path) else read_arrays(_local_file(path), split)


def _warn_of_oddities(images: ImageSet) -> None:
    """Warn of images that were left out, and of a set that is almost of one brightness; for callers of `load`."""
    if images.skipped:
        left_out = f"{len(images.skipped)} files of {images.source} are left out: {describe_skipped(images.skipped)}"
        warnings.warn(left_out, DataWarning, stacklevel=3)
    sample = images.images[some_indices(len(images), RANGE_IMAGES)]
    low, high = int(sample.min()), int(sample.max())
    if high < low + NARROW_RANGE:
        odd = f"{images.source} has values from {low} to {high} of 255 only"
        warnings.warn(f"{odd}: give those of black and white (--range)", DataWarning, stacklevel=3)


@contextmanager
def streamed(
    source: str | Path,
    *,
    size: int,
    channels: int,
    split: str | None = None,
    shape: str = "crop",
    value_range: ValueRange | None = None,
    follow_links: bool = False,
    for_encoder: bool = False,
    bands: Bands | None = None,
    progress: Progress | None = None,
) -> Iterator[Stream]:
    """Open one split of a data set for reading block by block; image files are decoded when their block is read.

    Arrays of the requested size in files that can be mapped (.npy, IDX) stay in their files; others are loaded.

    Args:
        source: As for `load`.
        size: Height and width in pixels.
        channels: 1 for grey, 3 for RGB, up to 16 for other bands.
        split: As for `load`.
        shape: As for `load`.
        value_range: As for `load`.
        follow_links: As for `load`.
        for_encoder: Whether the images are for a pretrained encoder: of up to 1,024 pixels, and enlarged without halos.
        bands: The channels, counted from 1, that a pretrained encoder gets of images that are neither grey nor RGB.
        progress: Called with the number of bytes downloaded.

    Raises:
        UserError: As for `load`.

    Example:
        >>> with infogan.data.streamed("photos.zip", size=32, channels=3) as stream:
        ...     first_images = stream.read(0, 1000)
    """
    spec = ImageSpec(size, channels, shape, value_range, follow_links, for_encoder, bands)
    checked_split = _check_split(split)
    size, channels, shape, value_range = spec.size or size, spec.channels or channels, spec.shape, spec.value_range
    path = _locate(source)
    if path is not None and _has_image_files(path):
        with stream_images(path, checked_split, spec) as stream:
            yield stream
        return
    fingerprint = f"{source} {split}"
    if path is not None:
        status = _local_file(path).stat()
        fingerprint += f" {status.st_size} {status.st_mtime_ns}"
    fingerprint += f" {size} {channels} {shape} {value_range}"
    if not for_encoder:
        images = load(
            source, split=split, size=size, channels=channels, shape=shape, value_range=value_range, progress=progress
        )
        yield Stream.from_images(images, fingerprint)
        return
    stream = Stream.from_images(_read_unconverted(source, path, checked_split, progress), fingerprint)
    yield replace(stream, read=lambda first, last: convert(stream.read(first, last), spec))  # all would fill the memory


def has_test_split(source: str | Path, *, follow_links: bool = False) -> bool:
    """Return whether ``load(source, split="test")`` has images to load.

    Raises:
        UserError: The source does not exist or cannot be read.

    Example:
        >>> infogan.data.has_test_split("mnist")
        True
    """
    path = _locate(source)
    if path is None:
        return True
    if is_sharded(path):
        return "test" in shard_splits(path)
    if is_image_source(path):
        return "test" in image_splits(path, follow_links=follow_links)
    return "test" in array_splits(_local_file(path))


def prepare(
    source: str | Path,
    destination: Path,
    *,
    size: int | None = None,
    channels: int | None = None,
    shape: str = "crop",
    value_range: ValueRange | None = None,
    follow_links: bool = False,
    strict: bool = False,
    progress: Progress | None = None,
) -> dict[str, ImageSet]:
    """Write all splits of a source to one .npz file, which loads fast and gives the same images.

    All images must fit into memory; see `prepare_shards` for larger sets.

    Args:
        source: As for `load`, like all arguments below except ``destination``.
        destination: The .npz file, which is replaced if it exists.
        size: None makes the test split follow the train split.
        channels: None makes the test split follow the train split.
        shape: As for `load`.
        value_range: As for `load`.
        follow_links: As for `load`.
        strict: As for `load`.
        progress: As for `load`.

    Returns:
        The written images by split.

    Raises:
        UserError: As for `load`, or ``destination`` cannot be written.

    Example:
        >>> infogan.data.prepare("photos", Path("photos.npz"), size=32, channels=3)
    """
    if destination.suffix.lower() != ".npz":
        raise UserError(f"cannot prepare {destination}: its name must end in .npz")
    if destination.exists() and os.path.exists(source) and os.path.samefile(source, destination):
        raise UserError(f"{destination} is the source itself: choose another destination")
    splits: dict[str, ImageSet] = {}
    options: dict[str, Any] = {"shape": shape, "value_range": value_range, "follow_links": follow_links}
    for split in _splits(source, follow_links):
        images = load(source, split=split, size=size, channels=channels, strict=strict, progress=progress, **options)
        size, channels = images.size, images.channels
        splits[split] = images
    with atomic_write(destination) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **npz_arrays(splits))
    return splits


def prepare_shards(
    source: str | Path,
    folder: Path,
    *,
    size: int | None = None,
    channels: int | None = None,
    shape: str = "crop",
    value_range: ValueRange | None = None,
    follow_links: bool = False,
    strict: bool = False,
    workers: int = 1,
    progress: Progress | None = None,
) -> dict[str, PreparedSplit]:
    """Write all splits of a source to a folder of shards, which may exceed the memory.

    Args:
        source: As for `load`.
        folder: The destination; an interrupted preparation is resumed.
        size: As for `load`; None makes the test split follow the train split.
        channels: As for `load`; None makes the test split follow the train split.
        shape: As for `load`.
        value_range: As for `load`.
        follow_links: As for `load`.
        strict: As for `load`.
        workers: Number of processes that write shards.
        progress: As for `load`.

    Returns:
        The number of images and the skipped ones, by split.

    Raises:
        UserError: As for `load`, or the folder holds other files or cannot be written.

    Example:
        >>> infogan.data.prepare_shards("photos", Path("shards"), size=64, workers=8)
    """
    spec = ImageSpec(size, channels, shape, value_range, follow_links)
    size, channels = spec.size, spec.channels
    options: dict[str, Any] = {"shape": shape, "value_range": value_range, "follow_links": follow_links}
    path = _locate(source)
    if size is None or channels is None:
        if path is not None and _has_image_files(path):
            size, channels, *_ = resolve_target(path, "train", spec, workers)
        else:
            images = load(source, size=size, channels=channels, **options)
            size, channels = images.size, images.channels
    open_split = partial(streamed, source, size=size, channels=channels, **options)
    splits = {split: partial(open_split, split=split) for split in _splits(source, follow_links)}
    return write_shards(splits, folder, (channels, size), strict=strict, workers=workers, progress=progress)


def _locate(source: str | Path) -> Location | None:
    """Return the path or address of a source; None for a named data set. Raises UserError if a path does not exist."""
    if isinstance(source, str) and source in DATASETS:
        return None
    path = parse_location(source)
    if isinstance(path, Path) and not path.exists():
        raise UserError(f"no file or folder {str(source)!r}, and {unknown_name('data set', str(source), DATASETS)}")
    if isinstance(path, Path) and not (path.is_file() or path.is_dir()):  # reading a pipe or a device may never end
        raise UserError(f"{path} is neither a file nor a folder: copy the images to a file or folder first")
    return path


def _has_image_files(path: Location) -> bool:
    """Return whether the images are encoded files, in a folder, zip or table."""
    return is_image_source(path) and not is_sharded(path)


def _splits(source: str | Path, follow_links: bool) -> tuple[str, ...]:
    return SPLITS if has_test_split(source, follow_links=follow_links) else SPLITS[:1]


def _check_split(split: str | None) -> str:
    if split not in (None, *SPLITS):
        raise unknown_name("split", str(split), SPLITS)
    return split or "train"


def _local_file(path: Location) -> Path:
    """Return the path of a local file; raises UserError for an address, because arrays are read from local files."""
    if isinstance(path, Path):
        return path
    if not path.exists():
        raise UserError(f"{path} does not exist or is not readable")
    raise UserError(f"{path} is neither a folder, a .zip nor a .parquet: copy it to this machine and name the copy")
