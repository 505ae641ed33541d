"""Images that are read block by block, because a set may not fit into memory."""

import hashlib
import mmap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
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
        names: The name of each image, including those that turn out to be unusable.
        factors: The ground-truth factors of all images, or None if unknown.
    """

    count: int
    source: str
    fingerprint: str
    read: Callable[[int, int], ImageSet]
    skipped: tuple[str, ...] = ()
    root: Path | None = None
    names: Sequence[str] = field(default=(), repr=False)
    factors: Factors | None = None

    @classmethod
    def from_images(cls, images: ImageSet, fingerprint: str) -> "Stream":
        """Return a stream that reads blocks of an image set, without keeping pages of a memory-mapped one."""

        def read(first: int, last: int) -> ImageSet:
            block = images.subset(np.arange(first, min(last, len(images))))
            release_pages(images.images)
            return block

        return cls(len(images), images.source, fingerprint, read, names=images.names, factors=images.factors)

    @property
    def is_numbered(self) -> bool:
        """Whether the names are the numbers of the images."""
        return isinstance(self.names, NumberedNames)

    def select(self, rows: NDArray[np.int64]) -> "Stream":
        """Return a stream of some of the images."""

        def read(first: int, last: int) -> ImageSet:
            parts = [self.read(row, row + 1) for row in rows[first:last].tolist()]
            images = np.concatenate([part.images for part in parts])
            skipped = tuple(line for part in parts for line in part.skipped)
            return ImageSet(images, [name for part in parts for name in part.names], self.source, skipped=skipped)

        fingerprint = f"{self.fingerprint} {hashlib.sha256(rows.tobytes()).hexdigest()}"
        names = [self.names[row] for row in rows.tolist()]
        return replace(self, count=len(rows), fingerprint=fingerprint, read=read, names=names, factors=None)


def release_pages(array: NDArray[Any]) -> None:
    """Free the memory pages that were read of a memory-mapped array; the system may otherwise keep them."""
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
        owner.madvise(mmap.MADV_DONTNEED)
