"""Any source of images, by name or path, to an ImageSet, and to a file that holds it.

In flows what a user writes for DATA: a named data set, or the path of a folder, .zip, .parquet, .npz, .npy or IDX file;
out flows an ``ImageSet``. A name wins over a file of that name; ``./mnist`` is always a path. Folders, .zip and
.parquet may also be elsewhere: ``s3://bucket/photos`` (`data.remote`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infogan.data.dataset import ImageSet, NumberedNames
from infogan.data.preprocess import ImageSpec, Progress
from infogan.data.readers.arrays import Arrays, array_splits, convert, read_arrays, to_image_set
from infogan.data.readers.image_files import (
    image_splits,
    is_image_source,
    read_images,
    resolve_target,
    stream_images,
)
from infogan.data.readers.remote import Location, parse_location
from infogan.data.registry import DATASETS, read_named
from infogan.data.shards import Made, is_sharded, read_shards, shard_splits, write_shards
from infogan.data.stream import Stream, release_pages
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
    """Loads one split of a data set, fetching it first if it is a named one that is not cached.

    Args:
        source: A name from ``DATASETS``, or the path of a folder of images, a .zip of one, a .parquet or a folder of
            them, a folder of shards (`prepare_shards`), a .npz, .npy or IDX file (.gz too); or an address.
        split: ``"train"`` or ``"test"``. None means ``"train"``, which is everything where there is no test split.
        size: Height and width in pixels, 8 to 128. None keeps them, if all images are square and of one such size.
        channels: 1 for grey, 3 for RGB. None keeps them, if all images agree.
        shape: ``"crop"`` cuts a centred square out of an oblong image, ``"pad"`` keeps all of it between bars.
        strict: Refuse images that cannot be used instead of skipping them.
        progress: Told of bytes fetched and pictures read.

    Returns:
        The images as uint8 of shape (count, channels, size, size), with labels if the source has them.

    Raises:
        UserError: nothing by that name or path, nothing usable in it, no such split, or a value that is not allowed.
    """
    form = ImageSpec(size, channels, shape)
    split = split or "train"
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    if isinstance(source, str) and source in DATASETS:
        return _load_named(source, split, form, progress)
    path = _existing(source)
    if is_sharded(path):
        return convert(read_shards(path, split), form)
    if is_image_source(path):
        return read_images(path, split, form, strict=strict, progress=progress)
    return to_image_set(read_arrays(_here(path), split), form, str(path))


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
    """Yields one split of a data set to be read in pieces: pictures are opened as they are asked for.

    Arrays of the wanted size in files that can be mapped (.npy, IDX) stay in their files; others are read at once.

    Args:
        source: As for `load`.
        size: Height and width in pixels.
        channels: 1 for grey, 3 for RGB.
        split: As for `load`.
        shape: As for `load`.
        progress: Told of bytes fetched.

    Raises:
        UserError: as `load`.
    """
    named = isinstance(source, str) and source in DATASETS
    form = ImageSpec(size, channels, shape)
    if split not in (None, *SPLITS):
        raise unknown_name("split", str(split), SPLITS)
    if not named and is_image_source(path := _existing(source)) and not is_sharded(path):
        with stream_images(path, split or "train", size, channels, form.shape) as stream:
            yield stream
        return
    images = load(source, split=split, size=size, channels=channels, shape=shape, progress=progress)

    def read(first: int, last: int) -> ImageSet:
        part = np.array(images.images[first:last])
        release_pages(images.images)
        labels = None if images.labels is None else images.labels[first:last]
        factors = None if images.factors is None else images.factors.subset(np.arange(first, first + len(part)))
        return ImageSet(part, images.names[first:last], images.source, labels, images.label_names, factors=factors)

    changed = None if named else _here(parse_location(source)).stat()
    stamp = f"{source} {split}" + (f" {changed.st_size} {changed.st_mtime_ns}" if changed else "")
    numbered = isinstance(images.names, NumberedNames)
    form_stamp = f"{stamp} {size} {channels} {shape}"
    yield Stream(len(images), images.source, form_stamp, read, numbered=numbered, factors=images.factors)


def has_test_split(source: str | Path) -> bool:
    """Whether ``load(source, split="test")`` has anything to load.

    Raises:
        UserError: nothing by that name or path, or it cannot be read.
    """
    if isinstance(source, str) and source in DATASETS:
        return True
    path = _existing(source)
    if is_sharded(path):
        return "test" in shard_splits(path)
    return "test" in (image_splits(path) if is_image_source(path) else array_splits(_here(path)))


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
    """Writes any source, with both splits where it has them, to one .npz file that loads fast and reads back identical.

    What does not fit into memory is for `prepare_shards`.

    Args:
        source: As for ``load``, and so are the rest.
        destination: The .npz file, replaced if it exists.
        size: As for ``load``; None makes the test split follow the train split.
        channels: As for ``load``; None makes the test split follow the train split.
        shape: As for ``load``.
        strict: As for ``load``.
        progress: As for ``load``.

    Returns:
        What was written, by split.

    Raises:
        UserError: as for ``load``, or ``destination`` cannot be written.
    """
    if destination.suffix.lower() != ".npz":
        raise UserError(f"cannot prepare {destination}: its name must end in .npz")
    written: dict[str, ImageSet] = {}
    for split in SPLITS if has_test_split(source) else SPLITS[:1]:
        images = load(source, split=split, size=size, channels=channels, shape=shape, strict=strict, progress=progress)
        size, channels = images.size, images.channels
        written[split] = images
    with atomic_write(destination) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **_parts(written))
    return written


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
) -> dict[str, Made]:
    """Makes any source, with both splits where it has them, a folder of shards, which may be larger than memory.

    Args:
        source: As for `load`.
        folder: Where to; what was stopped there goes on.
        size: As for `load`; None makes the test split follow the train split.
        channels: As for `load`; None makes the test split follow the train split.
        shape: As for `load`.
        strict: As for `load`.
        workers: Processes that make shards.
        progress: As for `load`.

    Returns:
        What was made, by split.

    Raises:
        UserError: as for `load`, or the folder holds something else or can not be written.
    """
    if size is None or channels is None:
        size, channels = _settled(source, ImageSpec(size, channels, shape), workers)
    wanted = partial(streamed, source, size=size, channels=channels, shape=shape)
    splits = {split: partial(wanted, split=split) for split in (SPLITS if has_test_split(source) else SPLITS[:1])}
    return write_shards(splits, folder, (channels, size), strict=strict, workers=workers, progress=progress)


def _settled(source: str | Path, form: ImageSpec, workers: int) -> tuple[int, int]:
    """Size and channels of a source's train split."""
    named = isinstance(source, str) and source in DATASETS
    if not named and is_image_source(path := _existing(source)) and not is_sharded(path):
        return resolve_target(path, SPLITS[0], form, workers)
    images = load(source, size=form.size, channels=form.channels, shape=form.shape)
    return images.size, images.channels


def _load_named(name: str, split: str, form: ImageSpec, progress: Progress | None) -> ImageSet:
    arrays = read_named(name, split, progress, size=form.size)
    named = Arrays(arrays.images, arrays.labels, label_names=DATASETS[name].classes, factors=arrays.factors)
    return to_image_set(named, form, f"{name} ({split})")


def _existing(source: str | Path) -> Location:
    path = parse_location(source)
    if isinstance(path, Path) and not path.exists():
        raise UserError(f"no file or folder {str(source)!r}, and {unknown_name('data set', str(source), DATASETS)}")
    return path


def _here(path: Location) -> Path:
    if not isinstance(path, Path) and not path.exists():
        raise UserError(f"there is nothing at {path}, or nothing that may be seen")
    if not isinstance(path, Path):
        raise UserError(f"{path} is neither a folder, a .zip nor a .parquet: copy it to this machine and name the copy")
    return path


def _parts(splits: dict[str, ImageSet]) -> dict[str, NDArray[np.generic]]:
    """The arrays of a .npz, under the names that ``arrays`` reads."""
    parts: dict[str, NDArray[np.generic]] = {}
    for split, images in splits.items():
        prefix = {"train": "", "test": "test_"}[split]
        parts |= {f"{prefix}images": images.images, f"{prefix}names": np.array(images.names)}
        if images.labels is not None:
            parts[f"{prefix}labels"] = images.labels
        if (factors := images.factors) is not None:
            parts |= {f"{prefix}factors": factors.values, "factor_names": np.array(factors.names)}
            parts |= {"factor_sizes": np.array(factors.sizes), "factor_values": np.array(sum(factors.value_names, ()))}
    # Where classes go by number, one split may lack the last of them.
    if label_names := max((images.label_names for images in splits.values()), key=len):
        parts["label_names"] = np.array(label_names)
    return parts
