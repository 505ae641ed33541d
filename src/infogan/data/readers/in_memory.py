"""Image sets and streams from objects in a program: arrays, tensors, torch Datasets and Hugging Face data sets.

Any object with a length and items by number is accepted. An item is an image, or a tuple that begins with one and then
has its label, as in torchvision. An item of a Hugging Face data set is a row with named columns.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infogan.data.dataset import ImageSet, NumberedNames, some_indices
from infogan.data.preprocess import (
    Header,
    ImageSpec,
    Target,
    channels_first,
    read_header,
    render,
    render_array,
    skip_unusable,
)
from infogan.data.readers.arrays import Arrays, to_image_set
from infogan.data.readers.parquet import IMAGE_COLUMNS, LABEL_COLUMNS
from infogan.data.stream import Stream
from infogan.utils.errors import UserError

FINGERPRINT_ITEMS = 64  # number of items whose digest identifies a set


@dataclass(frozen=True)
class Items:
    """The images and labels of a data set, by number.

    Attributes:
        data: The data set.
        source: Its description for people.
        image_column: The column of images if items are rows, or None.
        label_column: The column of labels if items are rows with labels, or None.
        label_names: One name per label; empty if labels have no names.
    """

    data: Any
    source: str
    image_column: str | None = None
    label_column: str | None = None
    label_names: tuple[str, ...] = ()

    @classmethod
    def from_object(cls, data: Any) -> "Items":
        """Return the items of a data set; raises UserError if it is empty or cannot be indexed."""
        kind = type(data).__name__
        if isinstance(data, Mapping):
            raise UserError(f"the {kind} holds several sets ({', '.join(map(str, data))}); pass one of them")
        if not hasattr(data, "__getitem__") or not hasattr(data, "__len__"):
            raise UserError(
                f"the {kind} is not a set of images; allowed are paths, arrays, tensors, and objects with a length and "
                "items by number, such as a torch Dataset; save the images of an iterator to a folder first"
            )
        if not len(data):
            raise UserError(f"the {kind} is empty")
        features = getattr(data, "features", None)
        if isinstance(features, Mapping) and hasattr(data, "column_names"):
            return cls._from_hugging_face(data, features)
        names = getattr(data, "classes", ())
        label_names = tuple(names) if all(isinstance(name, str) for name in names) else ()
        return cls(data, f"a {kind}", label_names=label_names)

    @classmethod
    def _from_hugging_face(cls, data: Any, features: Mapping[str, Any]) -> "Items":
        kinds = {name: type(feature).__name__ for name, feature in features.items()}
        images = [name for name, kind in kinds.items() if kind == "Image"]
        candidates = [name for name in IMAGE_COLUMNS if name in images] or images
        source = f"a {type(data).__name__}"
        if len(candidates) != 1:
            raise UserError(
                f"{source} with the columns {', '.join(kinds)} needs one column of images; it has {len(candidates)}"
            )
        label = next((name for name in LABEL_COLUMNS if kinds.get(name) in ("ClassLabel", "Value")), None)
        names: tuple[str, ...] = ()
        if label is not None:
            names = tuple(getattr(features[label], "names", ()))
            if not names and "int" not in str(getattr(features[label], "dtype", "")):
                label = None
        # Without a format, images are Pillow's.
        return cls(data.with_format(None), source, candidates[0], label, names)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, number: int) -> tuple[Any, int | None]:
        """Return the unconverted image and the label of an item."""
        item = self.data[number]
        if self.image_column is not None:
            return item[self.image_column], None if self.label_column is None else item[self.label_column]
        if isinstance(item, tuple | list) and item:
            return item[0], _to_int(item[1]) if len(item) > 1 else None
        return item, None

    def resolve(self, spec: ImageSpec) -> Target:
        """Return the target for these items; raises UserError if the size or channels must be requested."""
        if spec.size is not None and spec.channels is not None:
            return Target(spec.size, spec.channels, spec.shape)
        examples: dict[Header, str] = {}
        for number in range(len(self)):
            image = self[number][0]
            if isinstance(image, Image.Image):
                header = read_header(image)
            else:
                channels, height, width = _to_array(image, number).shape
                header = Header(width, height, channels)
            examples.setdefault(header, f"item {number}")
        return spec.resolve(examples, self.source)

    def read(self, numbers: Sequence[int], target: Target) -> ImageSet:
        """Return the usable ones of the items with these numbers."""
        images = np.empty((len(numbers), target.channels, target.size, target.size), np.uint8)
        labels: list[int] = []
        usable: list[int] = []
        skipped: dict[str, str] = {}
        for number in numbers:
            image, label = self[number]
            with skip_unusable(str(number), skipped):
                if isinstance(image, Image.Image):
                    images[len(usable)] = render(image, *target)
                else:
                    images[len(usable)] = render_array(_to_array(image, number), *target)
                usable.append(number)
                if label is not None and label >= 0:
                    labels.append(label)
        numbered = usable == list(range(len(usable)))
        names: Sequence[str] = NumberedNames(len(usable)) if numbered else [str(number) for number in usable]
        problems = tuple(f"{name}: {reason}" for name, reason in skipped.items())
        if not labels or len(labels) != len(usable):
            return ImageSet(images[: len(usable)], names, self.source, skipped=problems)
        label_names = self.label_names
        if max(labels) >= len(label_names):
            label_names = tuple(str(value) for value in range(max(labels) + 1))
        values = np.array(labels, np.int64)
        return ImageSet(images[: len(usable)], names, self.source, values, label_names, problems)


def is_path(data: object) -> bool:
    """Return whether an argument names images instead of containing them."""
    return isinstance(data, str | Path)


def load_object(data: Any, spec: ImageSpec) -> ImageSet:
    """Convert images that a program holds to an image set in memory.

    Args:
        data: An ``ImageSet``; an array or tensor (see `Arrays`); a torch Dataset or another object with a length and
            items by number; or a Hugging Face data set with a column of images. Items are images (Pillow images, arrays
            or tensors of shape (height, width), (channels, height, width) or (height, width, channels)), or tuples of
            an image and a label. Floats are in [0, 1].
        spec: The requested form of the images.

    Raises:
        UserError: The object is none of these, is empty, or has images of a wrong type or shape.
    """
    if isinstance(data, ImageSet):
        arrays = Arrays(data.images, data.labels, list(data.names), data.label_names, data.factors)
        return to_image_set(arrays, spec, data.source)
    if (array := _as_array(data)) is not None:
        return to_image_set(Arrays(array), spec, "an array")
    items = Items.from_object(data)
    return items.read(range(len(items)), items.resolve(spec))


def stream_object(data: Any, spec: ImageSpec) -> Stream:
    """Return a stream of images that a program holds; see `load_object` for arguments and errors."""
    if isinstance(data, ImageSet) or _as_array(data) is not None:
        images = load_object(data, spec)
        return Stream.from_images(images, images.digest())
    items = Items.from_object(data)
    target = items.resolve(spec)

    def read(first: int, last: int) -> ImageSet:
        return items.read(range(first, last), target)

    # The digest of some items differs between most sets, and spares reading all of them.
    samples = [items.read([number], target).images for number in some_indices(len(items), FINGERPRINT_ITEMS).tolist()]
    digest = hashlib.sha256(np.concatenate(samples).data).hexdigest()
    fingerprint = f"{items.source} {target.size} {target.channels} {target.shape} {digest}"
    return Stream(len(items), items.source, fingerprint, read, numbered=True)


def _as_array(data: Any) -> NDArray[Any] | None:
    """Return an array or tensor as an array, and None for other objects."""
    if isinstance(data, np.ndarray):
        return data
    if hasattr(data, "detach") and hasattr(data, "numpy"):  # a tensor, recognised without importing torch
        return np.asarray(data.detach().cpu())
    return None


def _to_array(image: Any, number: int) -> NDArray[Any]:
    """Return the image of an item, (channels, height, width); raises UserError if it is not an array of that kind."""
    array = _as_array(image)
    if array is None:
        raise UserError(
            f"item {number} has the type {type(image).__name__}; allowed are Pillow images, arrays and tensors"
        )
    return channels_first(array[None], f"item {number}")[0]


def _to_int(label: Any) -> int | None:
    """Return a label that is an integer of Python, NumPy or torch, and None for others."""
    try:
        return int(label.item() if hasattr(label, "item") else label) if not isinstance(label, str) else None
    except (TypeError, ValueError):
        return None
