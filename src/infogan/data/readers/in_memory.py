"""Images that a program holds: arrays, tensors, torch Datasets, and data sets of Hugging Face's `datasets`.

In flows whatever has a length and gives its items by number; out flows a `Stream`, or an ``ImageSet`` of all of it. An
item is an image, or begins with one and then has its label, as in torchvision; an item of Hugging Face's is a row.
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
from infogan.data.preprocess import ImageSpec, count_channels, error_reason, render, render_array
from infogan.data.readers.arrays import Arrays, to_image_set
from infogan.data.stream import Stream
from infogan.utils.errors import UserError

PROBED = 64  # items by which a set is known again
PICTURES, LABELS = ("image", "img", "picture"), ("label", "labels")


@dataclass(frozen=True)
class Rows:
    """The items of a data set by number.

    Attributes:
        data: What has them.
        source: What it is, in words.
        picture: The column of pictures, where items are rows.
        label: The column of labels, where items are rows that have any.
        label_names: One name a label; empty where they have none.
    """

    data: Any
    source: str
    picture: str | None = None
    label: str | None = None
    label_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.data)

    def item(self, number: int) -> tuple[Any, int | None]:
        """The picture of an item, as it is, and its label."""
        item = self.data[number]
        if self.picture is not None:
            return item[self.picture], None if self.label is None else item[self.label]
        if isinstance(item, tuple | list) and item:
            return item[0], _whole(item[1]) if len(item) > 1 else None
        return item, None


def is_path(data: object) -> bool:
    """Whether this names images instead of being some."""
    return isinstance(data, str | Path)


def load_object(data: Any, form: ImageSpec) -> ImageSet:
    """All of some images that a program holds, in memory.

    Args:
        data: An ``ImageSet``; an array or tensor (`Arrays`); a torch Dataset or anything else with a length and items,
            which are images (Pillow's, arrays or tensors of (height, width), (channels, height, width) or (height,
            width, channels)) or begin with one and then have a label; or a Hugging Face data set with a column of
            images. Floats are in [0, 1].
        form: What to bring them to.

    Raises:
        UserError: it is none of these, has no image, or one that can not be used.
    """
    if isinstance(data, ImageSet):
        return to_image_set(
            Arrays(data.images, data.labels, list(data.names), data.label_names, data.factors), form, data.source
        )
    if (array := _as_array(data)) is not None:
        return to_image_set(Arrays(array), form, "an array")
    rows = rows_of(data)
    return _read(rows, range(len(rows)), (*settled(rows, form), form.shape))


def stream_object(data: Any, form: ImageSpec) -> Stream:
    """Some images that a program holds, to be read in pieces; raises UserError as `image_set_of`."""
    if isinstance(data, ImageSet) or _as_array(data) is not None:
        images = load_object(data, form)

        def part(first: int, last: int) -> ImageSet:
            return images.subset(range(first, last))

        return Stream(len(images), images.source, images.digest(), part, factors=images.factors)
    rows = rows_of(data)
    size, channels = settled(rows, form)

    def read(first: int, last: int) -> ImageSet:
        return _read(rows, range(first, last), (size, channels, form.shape))

    stamp = f"{rows.source} {size} {channels} {form.shape} {_probed(rows, (size, channels, form.shape))}"
    return Stream(len(rows), rows.source, stamp, read, numbered=True)


def _probed(rows: Rows, target: tuple[int, int, str]) -> str:
    """A digest of some items: most sets that are not the same differ in it, and all need not be read for it."""
    some = some_indices(len(rows), PROBED).tolist()
    return hashlib.sha256(np.concatenate([_read(rows, [number], target).images for number in some]).data).hexdigest()


def rows_of(data: Any) -> Rows:
    """The items of a data set; raises UserError where it has none that can be read by number."""
    kind = type(data).__name__
    if isinstance(data, Mapping):
        splits = ", ".join(map(str, data))
        raise UserError(f"a {kind} holds several sets ({splits}): pass one of them")
    if not hasattr(data, "__getitem__") or not hasattr(data, "__len__"):
        raise UserError(
            f"a {kind} is no set of images: allowed are paths, arrays, tensors, and whatever has a length and gives "
            "its items by number, such as a torch Dataset; what only streams must be saved first"
        )
    if not len(data):
        raise UserError(f"the {kind} is empty")
    features = getattr(data, "features", None)
    if isinstance(features, Mapping) and hasattr(data, "column_names"):
        return _hugging_face(data, features)
    names = getattr(data, "classes", ())
    return Rows(data, f"a {kind}", label_names=tuple(names) if all(isinstance(name, str) for name in names) else ())


def _hugging_face(data: Any, features: Mapping[str, Any]) -> Rows:
    kinds = {name: type(feature).__name__ for name, feature in features.items()}
    found = [name for name, kind in kinds.items() if kind == "Image"]
    found = [name for name in PICTURES if name in found] or found
    if len(found) != 1:
        raise UserError(f"a {type(data).__name__} with the columns {', '.join(kinds)} has no one column of images")
    label = next((name for name in LABELS if kinds.get(name) in ("ClassLabel", "Value")), None)
    names = tuple(getattr(features[label], "names", ())) if label is not None else ()
    numbered = label is not None and (names or "int" in str(getattr(features[label], "dtype", "")))
    plain = data.with_format(None)  # whatever it is set to give, pictures come as Pillow's
    return Rows(plain, f"a {type(data).__name__}", found[0], label if numbered else None, names)


def settled(rows: Rows, form: ImageSpec) -> tuple[int, int]:
    """The size and channels that items come to; raises UserError where ``form`` and the items leave them open."""
    if form.size is not None and form.channels is not None:
        return form.size, form.channels
    sizes: dict[tuple[int, int], str] = {}
    channels: dict[int, str] = {}
    for number in range(len(rows)):
        picture = rows.item(number)[0]
        if isinstance(picture, Image.Image):
            size, depth = picture.size, count_channels(picture)
        else:
            pixels = _channels_first(picture, number)
            size, depth = (pixels.shape[2], pixels.shape[1]), pixels.shape[0]
        sizes.setdefault(size, f"item {number}")
        channels.setdefault(depth, f"item {number}")
    return form.settled_size(sizes, rows.source), form.settled_channels(channels, rows.source)


def _read(rows: Rows, numbers: Sequence[int], target: tuple[int, int, str]) -> ImageSet:
    size, channels, fit = target
    images = np.empty((len(numbers), channels, size, size), np.uint8)
    labels: list[int] = []
    skipped: list[str] = []
    kept: list[int] = []
    for number in numbers:
        picture, label = rows.item(number)
        try:
            if isinstance(picture, Image.Image):
                images[len(kept)] = render(picture, size, channels, fit)
            else:
                images[len(kept)] = render_array(_channels_first(picture, number), size, channels, fit)
        except UserError:
            raise
        except Exception as error:  # Pillow's decoders raise nearly anything on a broken file
            skipped.append(f"{number}: {error_reason(error)}")
            continue
        kept.append(number)
        if label is not None and label >= 0:
            labels.append(label)
    known = np.array(labels, np.int64) if labels and len(labels) == len(kept) else None
    names: Sequence[str] = (
        NumberedNames(len(kept)) if kept == list(range(len(kept))) else [str(number) for number in kept]
    )
    called = rows.label_names if known is not None else ()
    if known is not None and not (called and known.max() < len(called)):
        called = tuple(str(value) for value in range(int(known.max()) + 1))
    return ImageSet(images[: len(kept)], names, rows.source, known, called, tuple(skipped))


def _as_array(data: Any) -> NDArray[Any] | None:
    """An array of images, of an array or a tensor; None of what is neither."""
    if isinstance(data, np.ndarray):
        return data
    if hasattr(data, "detach") and hasattr(data, "numpy"):  # a tensor, without importing torch for the question
        return np.asarray(data.detach().cpu())
    return None


def _channels_first(picture: Any, number: int) -> NDArray[Any]:
    array = _as_array(picture)
    if array is None:
        raise UserError(
            f"item {number} is a {type(picture).__name__}, which is no image: allowed are Pillow's, arrays and tensors"
        )
    if array.ndim == 2:
        return array[None]
    if array.ndim == 3 and array.shape[0] in (1, 3):
        return array
    if array.ndim == 3 and array.shape[2] in (1, 3):
        return array.transpose(2, 0, 1)
    raise UserError(
        f"item {number} has the shape {array.shape}: allowed are (height, width), and that with 1 or 3 channels before "
        "or after"
    )


def _whole(label: Any) -> int | None:
    """A label that is a whole number, of Python, NumPy or torch."""
    try:
        return int(label.item() if hasattr(label, "item") else label) if not isinstance(label, str) else None
    except (TypeError, ValueError):
        return None
