"""Images that are decoded one by one: what readers of image files and of objects in a program have in common."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infogan.data.dataset import ImageSet, describe_skipped, unusable
from infogan.data.preprocess import Header, ImageSpec, Progress, Target, read_header, render, skip_unusable
from infogan.data.stream import Stream
from infogan.utils.errors import UserError

Headers = tuple[dict[Header, str], list[str]]
"""The name of one image with each header, and a line ``"name: reason"`` for each image that cannot be read."""

Item = tuple[AbstractContextManager[Image.Image | NDArray[Any]], int | None]
"""The opener of an image, which is Pillow's or an array (channels, height, width), and its label, if it has one."""


@dataclass(frozen=True)
class LazyImages:
    """A set of images that are decoded when they are read.

    Attributes:
        names: One name per image.
        source: Description of the set for people.
        item: Returns an image by name. Its opener may raise exceptions of many types if the image cannot be used.
        label_names: One name per label.
        skipped: One line ``"name: reason"`` for each file that was excluded.
        noun: Word in front of a name in messages, with a space after it.
    """

    names: Sequence[str]
    source: str
    item: Callable[[str], Item]
    label_names: tuple[str, ...] = ()
    skipped: Sequence[str] = ()
    noun: str = ""

    def read_headers(self) -> Headers:
        """Return which headers occur, and which images cannot be read."""
        examples: dict[Header, str] = {}
        skipped: list[str] = []
        for name in self.names:
            opener, _ = self.item(name)
            with skip_unusable(name, skipped), opener as image:
                examples.setdefault(read_header(image), self.noun + name)
        return examples, skipped

    def resolve(self, spec: ImageSpec, headers: Headers | None = None) -> Target:
        """Return the target for the images.

        Args:
            spec: The requested form of the images. If it is complete, no image is read.
            headers: What `read_headers` returns, unless it is to be called.

        Raises:
            UserError: The size or channels must be requested because the images differ, or no image can be read.
        """
        if spec.size is not None and spec.channels is not None:
            return Target(spec.size, spec.channels, spec.shape, spec.value_range, spec.for_encoder, spec.bands)
        examples, unreadable = headers or self.read_headers()
        if not examples:
            raise self._no_usable_image([*self.skipped, *unreadable])
        return spec.resolve(examples, self.source)

    def load(self, spec: ImageSpec, *, strict: bool, progress: Progress | None) -> ImageSet:
        """Return all usable images; the arguments are those of `infogan.data.load`.

        Raises:
            UserError: As for `resolve`, or there is no usable image, or with ``strict`` an unusable one.
        """
        images = self.read(self.names, self.resolve(spec), progress)
        skipped = (*self.skipped, *images.skipped)
        if not len(images):
            raise self._no_usable_image(skipped)
        if strict and skipped:
            raise unusable(self.source, skipped)
        return replace(images, skipped=skipped)

    def stream(self, target: Target, fingerprint: str, root: Path | None = None) -> Stream:
        """Return the images as a `Stream`, which has the last two arguments as attributes."""

        def read(first: int, last: int) -> ImageSet:
            return self.read(self.names[first:last], target)

        return Stream(len(self.names), self.source, fingerprint, read, tuple(self.skipped), root, self.names)

    def read(self, names: Sequence[str], target: Target, progress: Progress | None = None) -> ImageSet:
        """Return the usable images among those with these names; the others are listed in ``skipped``."""
        images = np.empty((len(names), target.channels, target.size, target.size), np.uint8)
        usable: list[str] = []
        labels: list[int | None] = []
        skipped: list[str] = []
        for done, name in enumerate(names, start=1):
            opener, label = self.item(name)
            with skip_unusable(name, skipped), opener as image:
                images[len(usable)] = render(image, *target)
                usable.append(name)
                labels.append(label)
            if progress is not None:
                progress(f"reading {self.source}", done, len(names))
        names = names if len(usable) == len(names) else usable
        values, label_names = self._to_labels(labels)
        return ImageSet(images[: len(usable)], names, self.source, values, label_names, tuple(skipped))

    def _to_labels(self, labels: Sequence[int | None]) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
        """Return labels and their names if every image has a label from 0."""
        values = [label for label in labels if label is not None and label >= 0]
        if not values or len(values) < len(labels):
            return None, ()
        count = max(values) + 1
        label_names = self.label_names if count <= len(self.label_names) else tuple(map(str, range(count)))
        return np.array(values, np.int64), label_names

    def _no_usable_image(self, skipped: Sequence[str]) -> UserError:
        reason = describe_skipped(skipped) if skipped else "found no file with an image extension"
        return UserError(f"{self.source} has no usable image: {reason}")
