"""Data sets that are drawn here, from a grid of factors, into a file in the cache.

In flows a ``Rendering``, which draws all images piece by piece; out flow the arrays of one split, mapped from a .npy
file: first all images for training, then all for testing, each shuffled for good, so that the first thousand of either
are of all kinds. Never is more than a piece in memory, and at other sizes than a set's own no file of the set's own
size is needed.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infogan.data.factors import FactorGrid, pseudorandom_permutation, test_mask
from infogan.data.preprocess import Progress, render_array
from infogan.data.readers.arrays import Arrays, wrap_read_errors
from infogan.utils.errors import UserError
from infogan.utils.files import atomic_write

ABANDONED_S = 3600.0  # an unfinished file that nobody wrote to for so long belongs to nobody
SPLIT_SEED, ORDER_SEED = 1, 2


def itself(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """The kin of images of which no two are equal."""
    return numbers


@dataclass(frozen=True)
class Rendering:
    """A data set as it is drawn.

    Attributes:
        name: Of the data set.
        edition: What the file's name begins with: another one whenever any pixel would be another.
        grid: The factors; every combination is drawn once.
        channels: 1 for grey, 3 for RGB.
        label: The factor whose values are the labels.
        draw: Given a size in pixels, yields all images in the order of the grid, in pieces: uint8
            (some, channels, size, size).
        kin: For numbers of images, int64 (count,), the same number for images that must be in one split.
    """

    name: str
    edition: str
    grid: FactorGrid
    channels: int
    label: str
    draw: Callable[[int], Iterator[NDArray[np.uint8]]]
    kin: Callable[[NDArray[np.int64]], NDArray[np.int64]] = itself

    def splits(self) -> dict[str, NDArray[np.int64]]:
        """The numbers of the images for training and for testing, a fixed tenth, in their shuffled order."""
        test = test_mask(self.kin(np.arange(len(self.grid))), SPLIT_SEED)
        order = pseudorandom_permutation(len(test), ORDER_SEED)
        return {"train": order[~test[order]], "test": order[test[order]]}


def read_rendering(
    rendering: Rendering, folder: Path, split: str, size: int, progress: Progress | None = None
) -> Arrays:
    """Maps one split, ``"train"`` or ``"test"``, after drawing the set if that was not done at this size.

    Raises:
        UserError: the file can not be written, or has not the room it needs.
    """
    path = render_all(rendering, folder, size, progress)
    splits = rendering.splits()
    with wrap_read_errors(path):
        # Copy-on-write, as torch wants arrays writable.
        images: NDArray[np.uint8] = np.lib.format.open_memmap(path, mode="c")
    border = len(splits["train"])
    images = images[:border] if split == "train" else images[border:]
    factors = rendering.grid.factors(splits[split])
    column = rendering.grid.names.index(rendering.label)
    return Arrays(images, factors.values[:, column], label_names=rendering.grid.value_names[column], factors=factors)


def render_all(rendering: Rendering, folder: Path, size: int, progress: Progress | None = None) -> Path:
    """Makes sure that a set is drawn at a size; returns the file. One that was interrupted is begun anew.

    Raises:
        UserError: the file can not be written, or has not the room it needs.
    """
    path = folder / f"{rendering.edition}-{size}.npy"
    shape = (len(rendering.grid), rendering.channels, size, size)
    if _is_whole(path, shape):
        return path
    with atomic_write(path) as temporary:
        _remove_abandoned(path, temporary)
        needed, free = int(np.prod(shape, dtype=np.int64)), shutil.disk_usage(path.parent).free
        if needed > free:
            raise UserError(
                f"{rendering.name} at {size}x{size} pixels needs {needed / 1e9:.1f} GB in {path.parent}, where "
                f"{free / 1e9:.1f} GB are free: make room, set INFOGAN_CACHE, or pass a smaller --size"
            )
        with open(temporary, "wb", buffering=0) as file:
            _write(rendering, file, shape, progress)
    return path


def is_rendered(folder: Path, size: int) -> bool:
    """Whether any edition of a set was drawn at this size."""
    return any(folder.glob(f"[!.]*-{size}.npy"))


def resized(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Images (count, channels, height, width) at another size, by the rule of all data sources."""
    if images.shape[2:] == (size, size):
        return images
    result = np.empty((*images.shape[:2], size, size), np.uint8)
    for i, image in enumerate(images):
        result[i] = render_array(image, size, images.shape[1], "crop")
    return result


def _write(rendering: Rendering, file: FileIO, shape: tuple[int, ...], progress: Progress | None) -> None:
    # Written, not mapped: a disk that is full is then an error that can be told, and no signal that kills.
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    begin, an_image, done = file.tell(), int(np.prod(shape[1:])), 0
    if hasattr(os, "posix_fallocate"):  # in one piece, as images come in an order that is not the file's
        os.posix_fallocate(file.fileno(), 0, begin + an_image * shape[0])
    place = np.empty(shape[0], np.int64)
    place[np.concatenate(list(rendering.splits().values()))] = np.arange(shape[0])
    for piece in rendering.draw(shape[2]):
        for image, there in zip(piece, place[done : done + len(piece)].tolist(), strict=True):
            file.seek(begin + an_image * there)
            file.write(np.ascontiguousarray(image).data)
        done += len(piece)
        if progress is not None:
            progress(f"rendering {rendering.name} at {shape[2]}x{shape[3]}", done, shape[0])
    if done != shape[0]:
        raise AssertionError(f"{done} images were drawn of {shape[0]}")


def _is_whole(path: Path, shape: tuple[int, ...]) -> bool:
    if not path.is_file():
        return False
    try:
        found: Any = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError):
        return False
    return bool(found.shape == shape and found.dtype == np.uint8)


def _remove_abandoned(path: Path, ours: Path) -> None:
    """Removes what processes that were killed left unfinished: up to 3 GB each."""
    for other in path.parent.glob(f".{path.name}.*"):
        if other != ours and other.stat().st_mtime < time.time() - ABANDONED_S:
            other.unlink(missing_ok=True)
