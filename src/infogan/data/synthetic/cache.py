"""Draw a synthetic data set block by block into a .npy file in the cache, and memory-map one split of it.

The file holds all training images, then all test images, each shuffled by a fixed permutation, so that the first
thousand images of a split have all values of every factor. Memory never holds more than one block.
"""

import math
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infogan.data.dataset import ImageSet
from infogan.data.factors import FactorGrid, held_out_mask, pseudorandom_permutation
from infogan.data.preprocess import Progress, render, wrap_read_errors
from infogan.utils.errors import UserError
from infogan.utils.files import atomic_write, make_output_folder, remove_temporary_files

SPLIT_SEED, ORDER_SEED = 1, 2


@dataclass(frozen=True)
class Rendering:
    """How a synthetic data set is drawn.

    Attributes:
        name: Name of the data set.
        version: Start of the file name; it changes whenever any pixel changes.
        grid: The factors; every combination is drawn once.
        channels: 1 for grey, 3 for RGB.
        label_factor: The factor whose values are the labels.
        draw: Function of the size in pixels that yields all images in the order of the grid, in blocks of uint8
            (images, channels, size, size).
        groups: Function that returns, for int64 numbers of images (count,), equal numbers for images that must be in
            the same split. By default every image is a group of its own.
    """

    name: str
    version: str
    grid: FactorGrid
    channels: int
    label_factor: str
    draw: Callable[[int], Iterator[NDArray[np.uint8]]]
    groups: Callable[[NDArray[np.int64]], NDArray[np.int64]] = np.asarray

    def splits(self) -> dict[str, NDArray[np.int64]]:
        """Return the grid numbers of the training images and of the test images, a fixed tenth, in shuffled order."""
        test = held_out_mask(self.groups(np.arange(len(self.grid))), SPLIT_SEED)
        order = pseudorandom_permutation(len(test), ORDER_SEED)
        return {"train": order[~test[order]], "test": order[test[order]]}


def read_rendering(rendering: Rendering, folder: Path, split: str, size: int, progress: Progress | None) -> ImageSet:
    """Return one split, memory-mapped and without names, after drawing the set at this size if necessary.

    Raises:
        UserError: The file cannot be written, or the disk is too full.
    """
    path = render_all(rendering, folder, size, progress)
    splits = rendering.splits()
    with wrap_read_errors(path):
        # Copy-on-write, because torch needs writable arrays.
        images: NDArray[np.uint8] = np.lib.format.open_memmap(path, mode="c")
    count = len(splits["train"])
    images = images[:count] if split == "train" else images[count:]
    factors = rendering.grid.factors(splits[split])
    column = rendering.grid.names.index(rendering.label_factor)
    labels, label_names = factors.values[:, column], rendering.grid.value_names[column]
    return ImageSet(images, (), f"{rendering.name} ({split})", labels, label_names, factors=factors)


def render_all(rendering: Rendering, folder: Path, size: int, progress: Progress | None = None) -> Path:
    """Draw a set at a size unless that is done; return the file. An interrupted drawing starts again.

    Raises:
        UserError: The file cannot be written, or the disk is too full.
    """
    path = folder / f"{rendering.version}-{size}.npy"
    shape = (len(rendering.grid), rendering.channels, size, size)
    if _is_complete(path, shape):
        return path
    make_output_folder(folder)
    remove_temporary_files(folder)  # of killed processes, up to 3 GB each
    required, free = math.prod(shape), shutil.disk_usage(folder).free
    if required > free:
        raise UserError(
            f"{rendering.name} at {size}x{size} pixels needs {required / 1e9:.1f} GB in {folder}, which has "
            f"{free / 1e9:.1f} GB free; free some space, set INFOGAN_CACHE, or pass a smaller --size"
        )
    with atomic_write(path) as temporary, open(temporary, "wb", buffering=0) as file:
        _write(rendering, file, shape, progress)
    return path


def is_rendered(folder: Path, size: int) -> bool:
    """Return whether any version of a set was drawn at this size."""
    return any(folder.glob(f"[!.]*-{size}.npy"))


def resize_images(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize images (count, channels, height, width) by the rule of all data sources."""
    if images.shape[2:] == (size, size):
        return images
    return np.stack([render(image, size, images.shape[1], "crop") for image in images])


def _write(rendering: Rendering, file: FileIO, shape: tuple[int, ...], progress: Progress | None) -> None:
    # Written, not memory-mapped: a full disk then raises an error instead of killing the process with a signal.
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    start, image_bytes, count = file.tell(), math.prod(shape[1:]), 0
    if hasattr(os, "posix_fallocate"):  # contiguous, because images are not drawn in the order of the file
        os.posix_fallocate(file.fileno(), 0, start + math.prod(shape))
    row_of_image = np.argsort(np.concatenate(list(rendering.splits().values())))
    for block in rendering.draw(shape[2]):
        for image, row in zip(block, row_of_image[count : count + len(block)].tolist(), strict=True):
            file.seek(start + image_bytes * row)
            file.write(np.ascontiguousarray(image).data)
        count += len(block)
        if progress is not None:
            progress(f"rendering {rendering.name} at {shape[2]}x{shape[3]}", count, shape[0])


def _is_complete(path: Path, shape: tuple[int, ...]) -> bool:
    with suppress(OSError, ValueError):
        images: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
        return bool(images.shape == shape and images.dtype == np.uint8)
    return False
