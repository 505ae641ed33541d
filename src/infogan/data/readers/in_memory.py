"""Image sets and streams from objects in a program: arrays, tensors, lists, tables, torch and Hugging Face data sets.

Any object with a length and items by number is accepted. An item is an image, or a tuple that begins with one and then
has its label, as in torchvision. An item of a Hugging Face data set is a row with named columns.
"""

import hashlib
import io
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from numbers import Number
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infogan.config.load import to_plain
from infogan.data._load import load
from infogan.data.dataset import ImageSet, NumberedNames, some_indices
from infogan.data.preprocess import ImageSpec, channels_first, error_reason, open_image
from infogan.data.readers.arrays import as_label, convert
from infogan.data.readers.lazy_images import Item, LazyImages
from infogan.data.readers.parquet import IMAGE_COLUMNS, LABEL_COLUMNS, choose_images
from infogan.data.stream import Stream
from infogan.utils.errors import UserError
from infogan.utils.files import BoundedReader

FINGERPRINT_ITEMS = 1_000  # number of items whose digest identifies a set


def is_path(data: object) -> bool:
    """Return whether an argument names images instead of containing them."""
    return isinstance(data, str | os.PathLike)


def stream_object(data: Any, spec: ImageSpec) -> Stream:
    """Return a stream of images that a program holds.

    Args:
        data: An ``ImageSet``; an array or tensor (see `convert`), or another object that NumPy takes for one; one
            Pillow image; a torch Dataset, a list, or another object with a length and items by number; a Hugging Face
            data set or a pandas DataFrame with a column of images. Items are images (Pillow images, arrays or tensors
            of shape (height, width), (channels, height, width) or (height, width, channels), or paths of image files),
            or tuples of an image and a label. Floats are in [0, 1].
        spec: The requested form of the images.

    Raises:
        UserError: The object is none of these, is empty, or has images of a wrong type or shape.
    """
    data = _as_set(data)
    if isinstance(data, ImageSet):
        converted = convert(data, spec)
        return replace(Stream.from_images(converted, converted.digest()), skipped=converted.skipped)

    images = _list_items(data)
    target = images.resolve(spec)
    # The digest of some items differs between most sets, and spares reading all of them.
    numbers = some_indices(len(images.names), FINGERPRINT_ITEMS).tolist()
    samples = images.read([images.names[number] for number in numbers], target)
    digest = hashlib.sha256(samples.images.data).hexdigest()
    return images.stream(target, " ".join(map(str, (images.source, *target, digest))))


def read_object(data: Any, spec: ImageSpec) -> NDArray[np.uint8]:
    """Return all images of an object, or of a source, in their order.

    Args:
        data: As for `stream_object`; or a name, path or address as for `infogan.data.load`.
        spec: The requested form of the images.

    Returns:
        uint8 (count, channels, height, width), one image per item; may be memory-mapped, or shards.

    Raises:
        UserError: As `stream_object` and `infogan.data.load`; or an image cannot be used, which the error names.
    """
    if is_path(data):
        form: dict[str, Any] = {"size": spec.size, "channels": spec.channels, "shape": spec.shape}
        return load(data, value_range=spec.value_range, strict=True, **form).images
    stream = stream_object(data, spec)
    images = stream.read(0, stream.count)
    if images.skipped:
        name, _, reason = images.skipped[0].partition(": ")
        count = f"{len(images.skipped)} of {stream.count} items"
        raise UserError(f"item {name} of {stream.source} cannot be used: {reason} ({count} cannot be used)")
    return images.images


def as_numbers(data: Any, spec: ImageSpec) -> Any:
    """Return images as an array of their own numbers, and rows of numbers as they are or as an array.

    Args:
        data: As for `read_object`, with numbers of any range if they are arrays; or rows of pixels: a list of lists, a
            DataFrame, or a sparse matrix.
        spec: The requested form of images that are not arrays, which become uint8.

    Raises:
        UserError: As `read_object`, or arrays have different shapes.
    """
    if _is_table(data):  # its columns are pixels unless they have these names
        return read_object(data, spec) if {*IMAGE_COLUMNS} & {*map(str, data.columns)} else data
    if hasattr(data, "tocsr"):  # sparse, which scikit-learn refuses
        return data
    array = as_array(data)
    if array is not None and not (array.dtype == object and array.ndim == 1):
        return array
    images = data if array is None else list(array)
    if isinstance(images, list | tuple):
        arrays = [array for image in images if (array := as_array(image)) is not None]
        if len({array.shape for array in arrays}) > 1:
            raise UserError("the images have different shapes; pass images of one shape")
        if len(arrays) == len(images):
            return np.stack(arrays) if arrays else np.empty((0, 0))
        first = images
        while isinstance(first, list | tuple) and first:
            first = first[0]
        if isinstance(first, Number):
            return np.asarray(images)
    return read_object(images, spec)


def as_array(data: Any) -> NDArray[Any] | None:
    """Return an array, a tensor or another object that NumPy takes for an array as an array; None for other objects.

    Raises:
        UserError: The object cannot be converted, such as a sparse tensor.
    """
    if isinstance(data, np.ndarray):
        return data
    is_tensor = hasattr(data, "detach")  # recognised without importing torch
    if isinstance(data, Image.Image) or not (is_tensor or hasattr(data, "__array__")):
        return None
    try:
        if is_tensor:
            data = data.detach().cpu()
            # NumPy has no bfloat16, and half precision is too coarse to be rounded to 255 levels.
            data = data.float() if data.is_floating_point() and data.element_size() < 4 else data
        array = np.asarray(data)
        return array.astype(np.float32) if array.dtype.name.startswith(("bfloat16", "float8")) else array  # of JAX
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"the {type(data).__name__} cannot be read as an array: {error_reason(error)}") from error


def _as_set(data: Any) -> Any:
    """Return images in one array as an `ImageSet`, and others as an object with items by number."""
    if isinstance(data, Image.Image):
        return [data]
    if _is_table(data):
        return _table_items(data)
    array = None if isinstance(data, ImageSet) else as_array(data)
    if array is None:
        return data
    return list(array) if array.dtype == object else ImageSet(array, (), "an array")


def _is_table(data: object) -> bool:
    """Return whether an object is a pandas DataFrame, recognised without importing pandas."""
    return hasattr(data, "iloc") and hasattr(data, "columns")


def _table_items(table: Any) -> list[tuple[Any, Any]]:
    """Return the images of a pandas DataFrame, each with its label."""
    names = [str(name) for name in table.columns]
    candidates = [name for name, kind in zip(names, table.dtypes, strict=True) if kind.kind == "O"]
    if not candidates:
        raise UserError(
            f"the {type(table).__name__} has no column of images: name one {IMAGE_COLUMNS[0]}, with Pillow images, "
            "arrays or paths; pass rows of pixels as an array (count, height, width)"
        )
    image = choose_images(candidates, names, f"the {type(table).__name__}")
    label = next((name for name in LABEL_COLUMNS if name in names), None)
    images = table.iloc[:, names.index(image)].tolist()
    labels = [None] * len(images) if label is None else table.iloc[:, names.index(label)].tolist()
    return list(zip(images, labels, strict=True))


def _list_items(data: Any) -> LazyImages:
    """Return the items of a data set; raises UserError if it is empty or cannot be indexed."""
    kind = type(data).__name__
    if is_path(data):
        raise UserError(f"{str(data)[:60]!r} is not a set of images: read it with infogan.data.load first")
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
        read, label_names = partial(_read_item, data), to_plain(getattr(data, "classes", ()))

    def item(name: str) -> Item:
        image, target = read(int(name))
        return _open_item(image, f"item {name}"), as_label(target)

    if not isinstance(label_names, list) or not all(isinstance(name, str) for name in label_names):
        label_names = []
    return LazyImages(NumberedNames(len(data)), f"a {kind}", item, tuple(label_names), noun="item ")


def _read_item(data: Any, number: int) -> tuple[Any, Any]:
    """Return the image and the target of an item: an image, a tuple that begins with one, or a row with names."""
    item = data[number]
    if isinstance(item, tuple | list) and item:
        return item[0], item[1] if len(item) > 1 else None
    if isinstance(item, Mapping) and (images := [name for name in IMAGE_COLUMNS if name in item]):
        return item[images[0]], next((item[name] for name in LABEL_COLUMNS if name in item), None)
    return item, None


def _hugging_face_reader(data: Any, features: Mapping[Any, Any]) -> tuple[Callable[[int], Any], Any]:
    """Return a function that reads the image and the label of a row, and the names of the labels."""
    kinds = {name: type(feature).__name__ for name, feature in features.items()}
    candidates = [name for name, kind in kinds.items() if kind == "Image"]
    images = choose_images(candidates, kinds, f"a {type(data).__name__}")
    label = next((name for name in LABEL_COLUMNS if kinds.get(name) in ("ClassLabel", "Value")), None)
    rows = data.with_format(None)  # without a format, images are Pillow's

    def read(number: int) -> tuple[Any, Any]:
        row = rows[number]
        return row[images], None if label is None else row[label]

    return read, to_plain(getattr(features.get(label), "names", ()))


def _open_item(image: Any, name: str) -> AbstractContextManager[Image.Image | NDArray[Any]]:
    """Return the opener of an image; raise UserError if it is not an image of an allowed kind."""
    if isinstance(image, Mapping):  # as Hugging Face stores an image that is not decoded
        image = image.get("bytes") or image.get("path")
    if isinstance(image, bytes):
        return open_image(io.BytesIO(image))
    if is_path(image):
        return _open_file(Path(image))
    if isinstance(image, Image.Image):
        return nullcontext(image)
    array = as_array(image)
    if array is None:
        kind = type(image).__name__
        raise UserError(f"{name} has the type {kind}; allowed are Pillow images, arrays, tensors and paths")
    return nullcontext(channels_first(array[None], name)[0])


@contextmanager
def _open_file(path: Path) -> Iterator[Image.Image]:
    """Open an image file."""
    if not path.is_file():  # reading a pipe or a device may never end
        raise ValueError(f"there is no file {path}")
    with BoundedReader(path) as file, open_image(file) as image:
        yield image
