"""Arrays of images, in memory or in .npz, .npy and IDX files, to an ImageSet.

In flows a path (or arrays that a named data set was unpacked to); out flows an ``ImageSet``. Nothing is ever unpickled.
"""

import gzip
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infogan.data.dataset import ImageSet, NumberedNames
from infogan.data.factors import Factors
from infogan.data.preprocess import ImageSpec, error_reason, render_array
from infogan.utils.errors import UserError
from infogan.utils.files import BoundedReader
from infogan.utils.memory import usable_bytes

MAX_LABEL = 65_535
_MAX_DEFLATE_RATIO = 1032  # no .gz file unpacks to more than this times its size

# The names that the parts of each split go by in a .npz file: ours, and those of Keras.
_NPZ_KEYS = {
    "train": {
        "images": ("images", "x_train"),
        "labels": ("labels", "y_train"),
        "names": ("names",),
        "label_names": ("label_names",),
        "factors": ("factors",),
        "factor_names": ("factor_names",),
        "factor_sizes": ("factor_sizes",),
        "factor_values": ("factor_values",),
    },
    "test": {
        "images": ("test_images", "x_test"),
        "labels": ("test_labels", "y_test"),
        "names": ("test_names",),
        "label_names": ("label_names",),
        "factors": ("test_factors",),
        "factor_names": ("factor_names",),
        "factor_sizes": ("factor_sizes",),
        "factor_values": ("factor_values",),
    },
}


@dataclass(frozen=True)
class Arrays:
    """One split of a set as arrays.

    Attributes:
        images: uint8, uint16 or float in [0, 1]; (count, height, width), (count, channels, height, width) or
            (count, height, width, channels), with 1 or 3 channels.
        labels: Class numbers from 0, of shape (count,) or (count, 1).
        names: One name an image; None numbers them from 0.
        label_names: One name a class; empty numbers them from 0.
        factors: How each image was made; None where that is not known.
    """

    images: NDArray[Any]
    labels: NDArray[Any] | None = None
    names: Sequence[str] | None = None
    label_names: tuple[str, ...] = ()
    factors: Factors | None = None


def read_arrays(path: Path, split: str) -> Arrays:
    """Reads one split, ``"train"`` or ``"test"``, of a .npz, .npy or IDX file (.gz too).

    Raises:
        UserError: the file is none of these, is broken, or has not the arrays it must have or the split.
    """
    if path.suffix.lower() == ".npz":
        return _read_npz(path, split)
    if split == "test":
        raise UserError(f"{path} has no test split: only folders, .zip and .npz files have one")
    if path.suffix.lower() == ".npy":
        with wrap_read_errors(path):
            _check_header(path)
            # Mapped, not read: the images may be more than the memory. Copy-on-write, as torch wants arrays writable.
            return Arrays(np.lib.format.open_memmap(path, mode="c"))
    labels = _labels_beside(path)
    return Arrays(read_idx(path, dimensions=3), None if labels is None else read_idx(labels, dimensions=1))


def _check_header(path: Path) -> None:
    """Raises ValueError where the header of a .npy file is longer than the file, before room is made for it."""
    with BoundedReader(path) as file:
        major, _ = np.lib.format.read_magic(file)
        header = file.read(2 if major == 1 else 4)
        length = int.from_bytes(header, "little")
        if len(file.read(length)) < length:
            raise ValueError(f"its header is to have {length:,} bytes, which there are not")


def array_splits(path: Path) -> tuple[str, ...]:
    """The splits of a .npz, .npy or IDX file: ``("train",)`` or ``("train", "test")``.

    Raises:
        UserError: a .npz that is broken or has no array of images.
    """
    if path.suffix.lower() != ".npz":
        return ("train",)
    with _opened_npz(path) as archive:
        return tuple(_npz_keys(archive.files, path))


def to_image_set(arrays: Arrays, form: ImageSpec, where: str) -> ImageSet:
    """Brings arrays to ``form``; images that have it already are neither copied nor, if memory-mapped, read.

    Raises:
        UserError: shapes, types or values that ``Arrays`` does not allow, or images that leave open what ``form`` does.
    """
    images = _channels_first(arrays.images, where)
    count, channels, height, width = images.shape
    size = form.settled_size({(width, height): "every image"}, where)
    channels = form.settled_channels({channels: "every image"}, where)
    labels, label_names = _checked_labels(arrays, count, where)
    names = NumberedNames(count) if arrays.names is None else list(arrays.names)
    if len(names) != count:
        raise UserError(f"{where} has {count} images and {len(names)} names; allowed is one name an image")
    if arrays.factors is not None and len(arrays.factors) != count:
        raise UserError(
            f"{where} has {count} images and factors of {len(arrays.factors)}; allowed are the factors of each image"
        )
    rendered = _rendered(images, (size, channels, form.shape), where)
    return ImageSet(rendered, names, where, labels, label_names, factors=arrays.factors)


def convert(images: ImageSet, form: ImageSpec) -> ImageSet:
    """The images brought to ``form``, those that have it already as they are; raises UserError as `image_set`."""
    size, channels = form.size or images.size, form.channels or images.channels
    if (size, channels) == (images.size, images.channels):
        return images
    return replace(images, images=_rendered(np.asarray(images.images), (size, channels, form.shape), images.source))


def read_idx(path: Path, *, dimensions: int) -> NDArray[np.uint8]:
    """Reads an IDX file of unsigned bytes (the format MNIST is published in), unpacking it if its name ends in .gz.

    Args:
        path: The file.
        dimensions: How many the array must have: 3 for images, 1 for labels.

    Raises:
        UserError: another kind of file, or one cut short or too long.
    """
    packed = path.suffix.lower() == ".gz"
    header_bytes = 4 + 4 * dimensions
    with wrap_read_errors(path), gzip.open(path) if packed else open(path, "rb") as file:
        header = file.read(header_bytes)
        if header[:4] != bytes((0, 0, 8, dimensions)):
            raise UserError(
                f"cannot read {path}: it begins with the bytes {header[:4].hex(' ') or '(none)'}; allowed are folders "
                "and .zip files of images, .npz, .npy, and IDX files (.gz too) of unsigned bytes in "
                f"{dimensions} dimensions, which begin with 00 00 08 {dimensions:02x}"
            )
        shape = [int.from_bytes(header[i : i + 4]) for i in range(4, header_bytes, 4)]
        # A header may promise anything: no memory is asked for beyond what the file can hold.
        most = path.stat().st_size * (_MAX_DEFLATE_RATIO if packed else 1)
        content = bytearray(file.read(min(math.prod(shape), most) + 1))
    if len(header) < header_bytes or len(content) != math.prod(shape):
        found = "more" if len(content) > math.prod(shape) else f"{len(content):,}"
        raise UserError(f"cannot read {path}: its header promises {math.prod(shape):,} bytes of values, found {found}")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _labels_beside(path: Path) -> Path | None:
    """The labels that go with images by MNIST's names: train-images-idx3-ubyte has train-labels-idx1-ubyte."""
    if "images" not in path.name or "idx3" not in path.name:
        return None
    name = path.name.replace("images", "labels").replace("idx3", "idx1").removesuffix(".gz")
    return next((path.with_name(file) for file in (name, f"{name}.gz") if path.with_name(file).is_file()), None)


def _read_npz(path: Path, split: str) -> Arrays:
    with _opened_npz(path) as archive:
        keys = _npz_keys(archive.files, path)
        if split not in keys:
            raise UserError(
                f"{path} has no test split: found {', '.join(archive.files)}; it needs test_images or x_test"
            )
        _check_unpacked(archive, list(keys[split].values()), path)
        parts = {part: archive[key] for part, key in keys[split].items()}
    names, label_names = (_strings(parts.get(part), part, path) for part in ("names", "label_names"))
    return Arrays(parts["images"], parts.get("labels"), names, tuple(label_names or ()), _npz_factors(parts, path))


def _check_unpacked(archive: np.lib.npyio.NpzFile, keys: Sequence[str], path: Path) -> None:
    """Raises UserError where arrays would take more memory than there is: packed zeros are a thousandth of that."""
    assert archive.zip is not None  # it is open
    sizes = {member.filename.removesuffix(".npy"): member.file_size for member in archive.zip.infolist()}
    needed, most = sum(sizes.get(key, 0) for key in keys), usable_bytes()
    if needed > most:
        raise UserError(f"{path} unpacks to {needed:,} bytes, more than the {most:,} of memory that there are")


def _npz_factors(parts: dict[str, NDArray[Any]], path: Path) -> Factors | None:
    """The factors of a split. Sizes that are not told follow from the values; the names of values are in one list."""
    values = parts.get("factors")
    if values is None:
        return None
    if values.ndim != 2 or values.dtype.kind not in "iu" or 0 in values.shape:
        raise UserError(
            f"{path} has factors of type {values.dtype} and shape {values.shape}; allowed are integers of shape "
            "(images, factors)"
        )
    sizes = parts.get("factor_sizes", values.max(axis=0) + 1)
    if sizes.ndim != 1 or sizes.dtype.kind not in "iu":
        raise UserError(f"{path} has factor_sizes of type {sizes.dtype}; allowed is one integer a factor")
    names, flat = (_strings(parts.get(part), part, path) for part in ("factor_names", "factor_values"))
    ends = np.cumsum(sizes).tolist()
    value_names = (
        tuple(tuple(flat[end - size : end]) for size, end in zip(sizes.tolist(), ends, strict=True)) if flat else ()
    )
    numbered = tuple(f"factor{number}" for number in range(values.shape[1]))
    return Factors(tuple(names or numbered), tuple(sizes.tolist()), values.astype(np.int64), value_names)


def _npz_keys(found: Sequence[str], path: Path) -> dict[str, dict[str, str]]:
    """Under which key each part of each split lies in a .npz; only splits with images."""
    keys = {
        split: {
            part: next(name for name in names if name in found) for part, names in parts.items() if {*names} & {*found}
        }
        for split, parts in _NPZ_KEYS.items()
    }
    if len(found) == 1:
        keys["train"]["images"] = found[0]  # np.savez(path, images) calls it arr_0
    if "images" not in keys["train"]:
        raise UserError(
            f"{path} has no array of images: found {', '.join(found) or 'nothing'}; allowed are images (with labels, "
            "names, label_names, test_images, test_labels, test_names), Keras's x_train and so on, or one array alone"
        )
    return {split: parts for split, parts in keys.items() if "images" in parts}


def _strings(array: NDArray[Any] | None, part: str, path: Path) -> list[str] | None:
    if array is None:
        return None
    if array.ndim != 1 or array.dtype.kind != "U":
        raise UserError(
            f"{path} has {part} of type {array.dtype} and shape {array.shape}; allowed is a list of strings"
        )
    return [str(value) for value in array]


@contextmanager
def _opened_npz(path: Path) -> Iterator[np.lib.npyio.NpzFile]:
    with wrap_read_errors(path), open(path, "rb") as file:  # opened here, as numpy leaves a broken one open
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise UserError(f"cannot read {path}: found a single array, as in a .npy file")
        with archive:
            yield archive


@contextmanager
def wrap_read_errors(path: Path) -> Iterator[None]:
    """Turns whatever a broken file makes a library raise into a UserError that names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy warns of headers that Python 2 wrote, and reads them all the same
            yield
    except UserError:
        raise
    except Exception as error:  # numpy, zipfile and gzip raise nearly anything on a broken file
        raise UserError(f"cannot read {path}: {error_reason(error)}") from error


def _channels_first(images: NDArray[Any], where: str) -> NDArray[Any]:
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape:
        raise UserError(
            f"{where} has images of shape {images.shape}; allowed are (count, height, width), (count, channels, "
            "height, width) and (count, height, width, channels) with 1 or 3 channels and at least one image"
        )
    return images


def _rendered(images: NDArray[Any], target: tuple[int, int, str], where: str) -> NDArray[np.uint8]:
    size, channels, fit = target
    if images.dtype == np.uint8 and images.shape[1:] == (channels, size, size):
        return images
    result = np.empty((len(images), channels, size, size), np.uint8)
    for i, image in enumerate(images):
        try:
            result[i] = render_array(image, size, channels, fit)
        except ValueError as error:
            raise UserError(f"{where}, image {i}: {error}") from error
    return result


def _checked_labels(arrays: Arrays, count: int, where: str) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    labels, label_names = arrays.labels, arrays.label_names
    if labels is None:
        return None, ()
    if labels.shape not in ((count,), (count, 1)) or labels.dtype.kind not in "iu":
        raise UserError(
            f"{where} has labels of type {labels.dtype} and shape {labels.shape}; allowed are integers of shape "
            f"({count},)"
        )
    most = len(label_names) - 1 if label_names else MAX_LABEL
    if labels.min() < 0 or labels.max() > most:
        raise UserError(f"{where} has labels from {labels.min()} to {labels.max()}; allowed are 0 to {most}")
    return labels.reshape(count).astype(np.int64), label_names or tuple(map(str, range(int(labels.max()) + 1)))
