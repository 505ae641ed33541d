"""The image set that every data source is read into."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infogan.data.factors import Factors
from infogan.utils.errors import UserError

MAX_REASONS = 4  # that a message about images that were left out gives


class NumberedNames(Sequence[str]):
    """The names "0" to "count - 1", made on access: for ten million images a list would take a gigabyte."""

    def __init__(self, count: int) -> None:
        self._range = range(count)

    def __len__(self) -> int:
        return len(self._range)

    def __getitem__(self, index: Any) -> Any:
        numbers = self._range[index]
        return str(numbers) if isinstance(numbers, int) else [str(number) for number in numbers]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with their names and, if known, labels and factors.

    Attributes:
        images: uint8 of shape (count, channels, height, width), 1 or 3 channels; may be memory-mapped, or a
            `data.shards.Shards`, which can be indexed like an array.
        names: One name per image: its path relative to the folder it came from, or its index in a named data set.
        source: Description of the set for people, e.g. ``"mnist (test)"``.
        labels: int64 of shape (count,), indices into ``label_names``, or None. Only evaluation, the naming of codes and
            the objective ``cgan`` may use them.
        label_names: One name per label.
        skipped: One line ``"name: reason"`` for each image that could not be used.
        factors: The ground-truth factors of the images, or None if unknown. Only evaluation may use them.

    Example:
        >>> images = infogan.data.load("digits")
        >>> images.images.shape, images.label_names[images.labels[0]]
        ((1437, 1, 8, 8), '0')
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
        """Number of channels: 1 for grey, 3 for RGB."""
        return int(self.images.shape[1])

    @property
    def size(self) -> int:
        """Height and width in pixels; images are square."""
        return int(self.images.shape[2])

    def digest(self, *, verify: bool = True) -> str:
        """Return the SHA-256 of the shape and the pixels, in hex, which shows whether data changed between sessions.

        Args:
            verify: Whether to compare shards with their checksums, for which all of them are read.

        Raises:
            UserError: The checksum of a shard is wrong.
        """
        state = hashlib.sha256(repr(self.images.shape).encode())
        if digest_of_shards := getattr(self.images, "checksum", None):
            state.update(digest_of_shards(verify=verify).encode())
            return state.hexdigest()
        for start in range(0, len(self.images), 4096):  # in blocks, because a memory-mapped set may exceed the memory
            state.update(np.ascontiguousarray(self.images[start : start + 4096]).data)
        return state.hexdigest()

    def subset(self, indices: Sequence[int] | NDArray[Any]) -> "ImageSet":
        """Return the images at ``indices``, in that order, with their names, labels and factors."""
        selection = np.asarray(indices)
        return replace(
            self,
            images=self.images[selection],
            names=[self.names[i] for i in selection],
            labels=None if self.labels is None else self.labels[selection],
            skipped=(),
            factors=None if self.factors is None else self.factors.subset(selection),
        )


def describe_skipped(skipped: Sequence[str]) -> str:
    """Return why images could not be used, as a clause: for each reason, the number of images and an example.

    Args:
        skipped: As `ImageSet.skipped`, at least one.

    Example:
        >>> describe_skipped(["a.gif: truncated", "b.jxl: .jxl is not read", "c.jxl: .jxl is not read"])
        '.jxl is not read (2, e.g. b.jxl); truncated (1, e.g. a.gif)'
    """
    names_by_reason: dict[str, list[str]] = {}
    for line in skipped:
        name, _, reason = line.rpartition(": ")
        names_by_reason.setdefault(reason, []).append(name)
    groups = sorted(names_by_reason.items(), key=lambda group: -len(group[1]))
    parts = [f"{reason} ({len(names)}, e.g. {names[0]})" for reason, names in groups[:MAX_REASONS]]
    parts += [f"{len(groups) - MAX_REASONS} other reasons"] if len(groups) > MAX_REASONS else []
    return "; ".join(parts)


def unusable(source: str, skipped: Sequence[str]) -> UserError:
    """Return the error for images that cannot be used, if none may be left out."""
    return UserError(f"{len(skipped)} files of {source} cannot be used: {describe_skipped(skipped)}")


def some_indices(total: int, limit: int) -> NDArray[np.int64]:
    """Return at most ``limit`` of the indices 0 to ``total - 1``: sorted, random, and the same on every call.

    The first images would all be of one class if images come class by class. Evenly spaced ones may coincide with a
    period of the order: every sixth image of MNIST is 7 % darker than the next one.
    """
    if total <= limit:
        return np.arange(total)
    return np.sort(np.random.default_rng(0).choice(total, limit, replace=False))
