"""The entry points of the data package: loading, streaming and preparing the images of any source.

A source is the name of a data set, or the path or address of a folder, .zip, .parquet, .npz, .npy or IDX file. A name
takes precedence over a file of that name; ``./mnist`` is always a path.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from infogan.data.dataset import ImageSet
from infogan.data.preprocess import ImageSpec, Progress
from infogan.data.readers.arrays import array_splits, convert, npz_arrays, read_arrays
from infogan.data.readers.image_files import image_splits, is_image_source, read_images, resolve_target, stream_images
from infogan.data.readers.remote import Location, parse_location
from infogan.data.registry import DATASETS, read_named
from infogan.data.shards import PreparedSplit, is_sharded, read_shards, shard_splits, write_shards
from infogan.data.stream import Stream
from infogan.utils.errors import UserError, unknown_name
from infogan.utils.files import atomic_write

SPLITS = ("train", "test")


def load(
    source: str | Path,
    *,
    split: str | None = None,
    size: int | None = None,
    channels: int | None = None,
    shape: str = "crop",
    strict: bool = False,
    progress: Progress | None = None,
) -> ImageSet:
    """Load one split of a data set; download it first if it is a named one that is not cached.

    Args:
        source: A name from ``DATASETS``, or the path or address of a folder of images, a .zip of one, a .parquet or a
            folder of them, a folder of shards (`prepare_shards`), or a .npz, .npy or IDX file (.gz too).
        split: ``"train"`` or ``"test"``. None means ``"train"``, which is everything if there is no test split.
        size: Height and width in pixels, 8 to 128. None keeps the images' size if all are square and of one size.
        channels: 1 for grey, 3 for RGB. None keeps the images' channels if all agree.
        shape: ``"crop"`` cuts a centred square out of an oblong image, ``"pad"`` adds bars around it.
        strict: Raise an error for images that cannot be used instead of skipping them.
        progress: Called with the number of bytes downloaded or images read.

    Returns:
        The images as uint8 of shape (count, channels, size, size), with labels if the source has them.

    Raises:
        UserError: The source does not exist, has no usable image or no such split, or an argument is not allowed.

    Example:
        >>> images = infogan.data.load("photos.zip", size=32, channels=3)
        >>> images.images.shape
        (5000, 3, 32, 32)
    """
    spec = ImageSpec(size, channels, shape)
    split = _check_split(split)
    path = _locate(source)
    if path is None:
        return convert(read_named(str(source), split, progress, size=size), spec)
    if is_sharded(path):
        return convert(read_shards(path, split), spec)
    if is_image_source(path):
        return read_images(path, split, spec, strict=strict, progress=progress)
    return convert(read_arrays(_local_file(path), split), spec)


@contextmanager
def streamed(
    source: str | Path,
    *,
    size: int,
    channels: int,
    split: str | None = None,
    shape: str = "crop",
    progress: Progress | None = None,
) -> Iterator[Stream]:
    """Open one split of a data set for reading block by block; image files are decoded when their block is read.

    Arrays of the requested size in files that can be mapped (.npy, IDX) stay in their files; others are loaded.

    Args:
        source: As for `load`.
        size: Height and width in pixels.
        channels: 1 for grey, 3 for RGB.
        split: As for `load`.
        shape: As for `load`.
        progress: Called with the number of bytes downloaded.

    Raises:
        UserError: As for `load`.

    Example:
        >>> with infogan.data.streamed("photos.zip", size=32, channels=3) as stream:
        ...     first_images = stream.read(0, 1000)
    """
    spec = ImageSpec(size, channels, shape)
    checked_split = _check_split(split)
    path = _locate(source)
    if path is not None and _has_image_files(path):
        with stream_images(path, checked_split, spec) as stream:
            yield stream
        return
    images = load(source, split=split, size=size, channels=channels, shape=shape, progress=progress)
    fingerprint = f"{source} {split}"
    if path is not None:
        status = _local_file(path).stat()
        fingerprint += f" {status.st_size} {status.st_mtime_ns}"
    fingerprint += f" {size} {channels} {shape}"
    yield Stream.from_images(images, fingerprint)


def has_test_split(source: str | Path) -> bool:
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
    return "test" in (image_splits(path) if is_image_source(path) else array_splits(_local_file(path)))


def prepare(
    source: str | Path,
    destination: Path,
    *,
    size: int | None = None,
    channels: int | None = None,
    shape: str = "crop",
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
    splits: dict[str, ImageSet] = {}
    for split in _splits(source):
        images = load(source, split=split, size=size, channels=channels, shape=shape, strict=strict, progress=progress)
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
    spec = ImageSpec(size, channels, shape)
    path = _locate(source)
    if size is None or channels is None:
        if path is not None and _has_image_files(path):
            size, channels, _ = resolve_target(path, "train", spec, workers)
        else:
            images = load(source, size=size, channels=channels, shape=shape)
            size, channels = images.size, images.channels
    open_split = partial(streamed, source, size=size, channels=channels, shape=shape)
    splits = {split: partial(open_split, split=split) for split in _splits(source)}
    return write_shards(splits, folder, (channels, size), strict=strict, workers=workers, progress=progress)


def _locate(source: str | Path) -> Location | None:
    """Return the path or address of a source; None for a named data set. Raises UserError if a path does not exist."""
    if isinstance(source, str) and source in DATASETS:
        return None
    path = parse_location(source)
    if isinstance(path, Path) and not path.exists():
        raise UserError(f"no file or folder {str(source)!r}, and {unknown_name('data set', str(source), DATASETS)}")
    return path


def _has_image_files(path: Location) -> bool:
    """Return whether the images are encoded files, in a folder, zip or table."""
    return is_image_source(path) and not is_sharded(path)


def _splits(source: str | Path) -> tuple[str, ...]:
    return SPLITS if has_test_split(source) else SPLITS[:1]


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
