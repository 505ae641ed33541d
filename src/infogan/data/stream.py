"""Images that are read some at a time, because all of them may not fit into memory."""

import mmap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infogan.data.dataset import ImageSet
from infogan.data.factors import Factors


@dataclass(frozen=True)
class Stream:
    """Images in an order, to be read in pieces.

    Attributes:
        count: How many there are, with those that will turn out not to be usable.
        source: What they are, in words for people.
        fingerprint: Another one where there are other images; images that were changed in their place may not show.
        read: The images from one place to another, without those that can not be used, which it names as skipped.
        skipped: What else was left out, a line ``"name: why"`` each.
        root: The folder in which the images are files, by their names; None where they are no files of their own.
        numbered: Whether the images have no names but their numbers.
        factors: How all of them were made, or None where that is not known.
    """

    count: int
    source: str
    fingerprint: str
    read: Callable[[int, int], ImageSet]
    skipped: tuple[str, ...] = ()
    root: Path | None = None
    numbered: bool = False
    factors: Factors | None = None


def release_pages(array: NDArray[Any]) -> None:
    """Lets go of what was read of a mapped file, which the system would else keep for this process for a while."""
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
        owner.madvise(mmap.MADV_DONTNEED)
