"""Image sets and streams from objects in a program: arrays, tensors, torch Datasets and Hugging Face data sets.

Any object with a length and items by number is accepted. An item is an image, or a tuple that begins with one and then
has its label, as in torchvision. An item of a Hugging Face data set is a row with named columns.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infogan.data.dataset import ImageSet, NumberedNames, some_indices
from infogan.data.preprocess import ImageSpec, channels_first
from infogan.data.readers.arrays import convert
from infogan.data.readers.lazy_images import Item, LazyImages
from infogan.data.readers.parquet import LABEL_COLUMNS, choose_images
from infogan.data.stream import Stream
from infogan.utils.errors import UserError

FINGERPRINT_ITEMS = 64  # number of items whose digest identifies a set


def is_path(data: object) -> bool:
    """Return whether an argument names images instead of containing them."""
    return isinstance(data, str | Path)


def stream_object(data: Any, spec: ImageSpec) -> Stream:
    """Return a stream of images that a program holds.

    Args:
        data: An ``ImageSet``; an array or tensor (see `convert`); a torch Dataset or another object with a length and
            items by number; or a Hugging Face data set with a column of images. Items are images (Pillow images, arrays
            or tensors of shape (height, width), (channels, height, width) or (height, width, channels)), or tuples of
            an image and a label. Floats are in [0, 1].
        spec: The requested form of the images.

    Raises:
        UserError: The object is none of these, is empty, or has images of a wrong type or shape.
    """
    array = _as_array(data)
    if array is not None:
        data = ImageSet(array, (), "an array")
    if isinstance(data, ImageSet):
        converted = convert(data, spec)
        return Stream.from_images(converted, converted.digest())

    images = _list_items(data)
    target = images.resolve(spec)
    # The digest of some items differs between most sets, and spares reading all of them.
    numbers = some_indices(len(images.names), FINGERPRINT_ITEMS).tolist()
    samples = images.read([images.names[number] for number in numbers], target)
    digest = hashlib.sha256(samples.images.data).hexdigest()
    return images.stream(target, f"{images.source} {target.size} {target.channels} {target.shape} {digest}")


def _list_items(data: Any) -> LazyImages:
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
        read, label_names = _hugging_face_reader(data, features)
    else:
        read, label_names = partial(_read_item, data), getattr(data, "classes", ())

    def item(name: str) -> Item:
        image, label = read(int(name))
        content = image if isinstance(image, Image.Image) else _to_array(image, f"item {name}")
        return nullcontext(content), label

    if not all(isinstance(name, str) for name in label_names):
        label_names = ()
    return LazyImages(NumberedNames(len(data)), f"a {kind}", item, tuple(label_names), noun="item ")


def _read_item(data: Any, number: int) -> tuple[Any, int | None]:
    """Return the image and the label of an item, which is an image, or a tuple that begins with one."""
    item = data[number]
    if isinstance(item, tuple | list) and item:
        return item[0], _to_int(item[1]) if len(item) > 1 else None
    return item, None


def _hugging_face_reader(data: Any, features: Mapping[Any, Any]) -> tuple[Callable[[int], Any], Sequence[str]]:
    """Return a function that reads the image and the label of a row, and the names of the labels."""
    kinds = {name: type(feature).__name__ for name, feature in features.items()}
    candidates = [name for name, kind in kinds.items() if kind == "Image"]
    images = choose_images(candidates, kinds, f"a {type(data).__name__}")
    label = next((name for name in LABEL_COLUMNS if kinds.get(name) in ("ClassLabel", "Value")), None)
    label_names = getattr(features.get(label), "names", ())
    if not label_names and "int" not in str(getattr(features.get(label), "dtype", "")):
        label = None
    rows = data.with_format(None)  # without a format, images are Pillow's

    def read(number: int) -> tuple[Any, int | None]:
        row = rows[number]
        return row[images], None if label is None else row[label]

    return read, label_names


def _as_array(data: Any) -> NDArray[Any] | None:
    """Return an array or tensor as an array, and None for other objects."""
    if isinstance(data, np.ndarray):
        return data
    if hasattr(data, "detach") and hasattr(data, "numpy"):  # a tensor, recognised without importing torch
        return np.asarray(data.detach().cpu())
    return None


def _to_array(image: Any, name: str) -> NDArray[Any]:
    """Return the image of an item, (channels, height, width); raises UserError if it is not an array of that kind."""
    array = _as_array(image)
    if array is None:
        raise UserError(f"{name} has the type {type(image).__name__}; allowed are Pillow images, arrays and tensors")
    pixels: NDArray[Any] = channels_first(array[None], name)[0]
    return pixels


def _to_int(label: Any) -> int | None:
    """Return a label that is an integer of Python, NumPy or torch, and None for others."""
    try:
        return int(label.item() if hasattr(label, "item") else label) if not isinstance(label, str) else None
    except (TypeError, ValueError):
        return None
