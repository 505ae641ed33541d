"""Images that are read block by block, because a set may not fit into memory."""

import mmap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infogan.data.dataset import ImageSet, NumberedNames
from infogan.data.factors import Factors


@dataclass(frozen=True)
class Stream:
    """An ordered set of images that is read block by block.

    Attributes:
        count: Number of images, including those that turn out to be unusable.
        source: Description of the set for people.
        fingerprint: A string that differs between sets; it may not change if an image changes in place.
        read: Reads the images from a first index to below a last one, as ``read(first, last)``. Unusable images are
            missing from the result and listed in its ``skipped``.
        skipped: One line ``"name: reason"`` for each file that is not among the ``count`` images.
        root: The folder that contains the images as files by their names; None if they are not separate files.
        numbered: Whether the names are the numbers of the images.
        factors: The ground-truth factors of all images, or None if unknown.
    """

    count: int
    source: str
    fingerprint: str
    read: Callable[[int, int], ImageSet]
    skipped: tuple[str, ...] = ()
    root: Path | None = None
    numbered: bool = False
    factors: Factors | None = None

    @classmethod
    def from_images(cls, images: ImageSet, fingerprint: str) -> "Stream":
        """Return a stream that reads blocks of an image set, without keeping pages of a memory-mapped one."""

        def read(first: int, last: int) -> ImageSet:
            block = images.subset(np.arange(first, min(last, len(images))))
            release_pages(images.images)
            return block

        numbered = isinstance(images.names, NumberedNames)
        return cls(len(images), images.source, fingerprint, read, numbered=numbered, factors=images.factors)


def release_pages(array: NDArray[Any]) -> None:
    """Free the memory pages that were read of a memory-mapped array; the system may otherwise keep them."""
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
        owner.madvise(mmap.MADV_DONTNEED)
