"""Pictures in folders, zips and tables, here or elsewhere, to an ImageSet.

In flows where the pictures are, from anybody; out flows an ``ImageSet`` that names what could not be used.
"""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infogan.data.dataset import ImageSet
from infogan.data.folder_layout import ImageFiles, Layout, folder_files, open_files
from infogan.data.preprocess import MAX_PIXELS, ImageSpec, Progress, count_channels, error_reason, open_image, render
from infogan.data.readers.parquet import is_parquet, open_tables
from infogan.data.readers.remote import Location
from infogan.data.stream import Stream
from infogan.utils.errors import UserError

MANY = 2_000  # pictures whose headers several processes read
LARGEST = 24 * MAX_PIXELS  # bytes that a picture may need, with copies, in the deepest format


def read_images(
    path: Location, split: str, form: ImageSpec, *, strict: bool = False, progress: Progress | None = None
) -> ImageSet:
    """Reads one split of a folder, zip or table of pictures, one picture in memory at a time.

    Args:
        path: The folder, .zip or table.
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
        images, names = _rendered(files, names, (size, channels, form.shape), where, skipped, progress)
    problems = _problems(skipped)
    if not names:
        raise _nothing(where, problems)
    if strict and problems:
        raise UserError(f"{where} has {len(problems)} files that cannot be used: {_few(problems)}")
    labels, label_names = _labels(names, arranged)
    return ImageSet(images, names, where, labels, label_names, problems)


@contextmanager
def stream_images(path: Location, split: str, size: int, channels: int, fit: str) -> Iterator[Stream]:
    """Yields one split of pictures, to be read in pieces; raises UserError as `read_pictures`."""
    with _listed(path) as files:
        arranged, names, where = _split(files, path, split)

        def read(first: int, last: int) -> ImageSet:
            skipped: dict[str, str] = {}
            images, kept = _rendered(files, names[first:last], (size, channels, fit), where, skipped, None)
            labels, label_names = _labels(kept, arranged)
            return ImageSet(images, kept, where, labels, label_names, _problems(skipped))

        stamp = hashlib.sha256("\0".join(names).encode("utf-8", "surrogateescape")).hexdigest()
        root = path if isinstance(path, Path) and path.is_dir() and not is_parquet(path) else None
        yield Stream(len(names), where, f"{stamp} {size} {channels} {fit}", read, _problems(files.skipped), root)


def resolve_target(path: Location, split: str, form: ImageSpec, workers: int = 1) -> tuple[int, int]:
    """The size and channels that one split of a folder, zip or table of pictures comes to; raises as `read_pictures`.

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


def image_splits(path: Location) -> tuple[str, ...]:
    """The splits of a folder or zip: ``("train",)`` or ``("train", "test")``.

    Raises:
        UserError: a broken zip.
    """
    with _listed(path) as files:
        return tuple(files.layout().splits)


def is_image_source(path: Location) -> bool:
    """Whether this is a folder, zip or table; raises UserError where that can not be told."""
    return path.suffix.lower() in (".zip", ".parquet") or path.is_dir()


def _listed(path: Location) -> AbstractContextManager[ImageFiles]:
    return open_tables(path) if is_parquet(path) else open_files(path)


def _split(files: ImageFiles, path: Location, split: str) -> tuple[Layout, list[str], str]:
    """How the files are arranged, the names of those of a split, and that split in words."""
    arranged = files.layout()
    if split not in arranged.splits:
        raise UserError(f"{path} has no test split: that needs top-level folders named train and test")
    where = str(path) if len(arranged.splits) == 1 else f"{path} ({split})"
    return arranged, arranged.splits[split], where


def _nothing(where: str, problems: Sequence[str]) -> UserError:
    return UserError(f"{where} has no usable image: {_few(problems) or 'found no file with an image extension'}")


def _problems(skipped: dict[str, str]) -> tuple[str, ...]:
    return tuple(f"{name}: {why}" for name, why in skipped.items())


@dataclass(frozen=True)
class _Headers:
    """What the headers of pictures say: of each size and number of channels one example; and who has none."""

    sizes: dict[tuple[int, int], str]
    channels: dict[int, str]
    readable: list[str]
    skipped: dict[str, str]


def _headers(files: ImageFiles, names: Sequence[str]) -> _Headers:
    found = _Headers({}, {}, [], {})
    for name in names:
        with _skipping(name, found.skipped), files.open(name) as file, open_image(file) as picture:
            found.channels.setdefault(count_channels(picture), name)
            found.sizes.setdefault(picture.size, name)
            found.readable.append(name)
    return found


def _headers_in(path: Location, names: Sequence[str]) -> _Headers:
    """Of pictures in a folder or zip that is not looked through again for what is in it, where that can be spared."""
    local = isinstance(path, Path) and path.is_dir() and not is_parquet(path)
    with nullcontext(folder_files(Path(str(path)), list(names), {})) if local else _listed(path) as files:
        return _headers(files, names)


def _settled(headers: _Headers, form: ImageSpec, where: str) -> tuple[int, int]:
    """Size and channels; zeros where no picture has a header."""
    if not headers.readable:
        return 0, 0
    return form.settled_size(headers.sizes, where), form.settled_channels(headers.channels, where)


def _rendered(
    files: ImageFiles,
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
        with _skipping(name, skipped), files.open(name) as file, open_image(file) as picture:
            images[len(kept)] = render(picture, size, channels, fit)
            kept.append(name)
        if progress is not None:
            progress(f"reading {where}", done, len(names))
    return images[: len(kept)], kept


def _labels(names: Sequence[str], arranged: Layout) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    classes, class_of = arranged.classes, arranged.class_of
    if len(classes) < 2 or any(class_of[name] is None for name in names):
        return None, ()
    index = {name: i for i, name in enumerate(classes)}
    return np.array([index[str(class_of[name])] for name in names], np.int64), classes


@contextmanager
def _skipping(name: str, skipped: dict[str, str]) -> Iterator[None]:
    try:
        yield
    except UserError:  # nothing can be read any more
        raise
    except MemoryError as error:  # decoders also say so of a size that can not be; then there is memory enough
        np.empty(LARGEST, np.uint8)
        skipped[name] = error_reason(error)
    except Exception as error:  # Pillow's decoders raise nearly anything on a broken file
        skipped[name] = error_reason(error)


def _few(problems: Sequence[str]) -> str:
    return "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
