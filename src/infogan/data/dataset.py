"""The one shape in which every data source hands over its images."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from infogan.data.factors import Factors


class NumberedNames(Sequence[str]):
    """The names "0" to "count - 1", none of them kept: of ten million images they would be a gigabyte."""

    def __init__(self, count: int) -> None:
        self._range = range(count)

    def __len__(self) -> int:
        return len(self._range)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        found = self._range[index]
        return str(found) if isinstance(found, int) else [str(number) for number in found]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as lists have none


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images at rest, with what is known about them.

    Attributes:
        images: uint8 of shape (count, channels, height, width), 1 or 3 channels; may be memory-mapped, or
            `data.shards.Shards`, which can be indexed like an array.
        names: One name an image: its path relative to the folder it came from, or its index in a named data set.
        source: What this is, in words for people, e.g. ``"mnist (test)"``.
        labels: int64 of shape (count,), indices into ``label_names``, or None. They are for evaluation, for giving
            names to codes and for the ``cgan`` objective; nothing else may read them.
        label_names: One name a label.
        skipped: One line ``"name: why"`` for each image that could not be used.
        factors: How each image was made, or None where that is not known. They are for evaluation alone.
    """

    images: NDArray[np.uint8]
    names: Sequence[str]
    source: str
    labels: NDArray[np.int64] | None = None
    label_names: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    factors: Factors | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def channels(self) -> int:
        """1 for grey, 3 for RGB."""
        return int(self.images.shape[1])

    @property
    def size(self) -> int:
        """Height and width in pixels; images are square."""
        return int(self.images.shape[2])

    def digest(self) -> str:
        """SHA-256 over the shape and the pixels, in hex: tells a resumed run that its data changed.

        Raises:
            UserError: pixels in shards are not as they were written.
        """
        state = hashlib.sha256(repr(self.images.shape).encode())
        if verify := getattr(self.images, "verify", None):  # shards, which have checksums
            state.update(verify().encode())
            return state.hexdigest()
        for start in range(0, len(self.images), 4096):  # in pieces, so that a memory-mapped set is streamed
            state.update(np.ascontiguousarray(self.images[start : start + 4096]).data)
        return state.hexdigest()

    def subset(self, indices: Sequence[int] | NDArray[Any]) -> "ImageSet":
        """The images at ``indices``, in that order, with their names, labels and factors."""
        chosen = np.asarray(indices)
        return ImageSet(
            images=self.images[chosen],
            names=[self.names[i] for i in chosen],
            source=self.source,
            labels=None if self.labels is None else self.labels[chosen],
            label_names=self.label_names,
            factors=None if self.factors is None else self.factors.subset(chosen),
        )


def some_indices(total: int, limit: int) -> NDArray[np.int64]:
    """Indices, in order, of at most ``most`` of ``total`` images, by chance but always the same.

    The first ones would be of one class where images come class by class; evenly spaced ones fall in with any period of
    the order (every sixth image of MNIST is 7 % darker than the one after it).
    """
    if total <= limit:
        return np.arange(total)
    return np.sort(np.random.default_rng(0).choice(total, limit, replace=False))
