"""Image sets from arrays in memory or in .npz, .npy and IDX files. Nothing is ever unpickled."""

import gzip
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infogan.data.dataset import ImageSet, NumberedNames
from infogan.data.factors import Factors
from infogan.data.preprocess import Header, ImageSpec, Target, channels_first, render, wrap_read_errors
from infogan.utils.errors import UserError
from infogan.utils.files import BoundedReader
from infogan.utils.memory import usable_bytes

MAX_LABEL = 65_535
_MAX_DEFLATE_RATIO = 1032  # no .gz file unpacks to more than this times its size
# A file that unpacks to more than both is refused: real images, and masks, are packed to more than a hundredth.
_LARGE_UNPACKED, _MAX_UNPACKED_RATIO = 2**28, 200

# The arrays of a .npz: those of each split, with the prefix of the split, and those that the splits share. Without a
# test split, the one for validation takes its place.
_SPLIT_PREFIXES = {"train": ("", "train_"), "test": ("test_",), "validation": ("val_", "valid_", "validation_")}
_KERAS_SUFFIXES = {"train": ("train",), "test": ("test",), "validation": ("val", "valid", "validation")}
_SPLIT_ARRAYS = ("images", "labels", "names", "factors")
_SHARED_ARRAYS = ("label_names", "factor_names", "factor_sizes", "factor_values")
# What some of them must be: NumPy's kinds of types, the number of dimensions, and both in words.
_STRINGS = ("U", 1, "a list of strings")
_NPZ_FORMS = {
    "names": _STRINGS,
    "label_names": _STRINGS,
    "factors": ("iu", 2, "integers of shape (images, factors)"),
    "factor_names": _STRINGS,
    "factor_sizes": ("iu", 1, "one integer per factor"),
    "factor_values": _STRINGS,
}


def read_arrays(path: Path, split: str) -> ImageSet:
    """Read one split, ``"train"`` or ``"test"``, of a .npz, .npy or IDX file (.gz too), for `convert` to check.

    Raises:
        UserError: The file has another format, is broken, or lacks the split or a required array.
    """
    if path.suffix.lower() == ".npz":
        return _read_npz(path, split)
    if split == "test":
        raise UserError(f"{path} has no test split: only folders, .zip and .npz files can have one")
    if path.suffix.lower() == ".npy":
        with wrap_read_errors(path):
            check_npy_header(path)
            # Mapped, because the images may exceed the memory; copy-on-write, because torch wants writable arrays.
            return ImageSet(np.lib.format.open_memmap(path, mode="c"), (), str(path))
    labels = _find_idx_labels(path)
    values = None if labels is None else read_idx(labels, dimensions=1).astype(np.int64)
    return ImageSet(read_idx(path, dimensions=3), (), str(path), values)


def array_splits(path: Path) -> tuple[str, ...]:
    """Return the splits of a .npz, .npy or IDX file: ``("train",)`` or ``("train", "test")``.

    Raises:
        UserError: A .npz is broken or has no array of images.
    """
    if path.suffix.lower() != ".npz":
        return ("train",)
    with open_npz(path) as archive:
        return tuple(_npz_keys(archive.files, path))


def convert(images: ImageSet, spec: ImageSpec) -> ImageSet:
    """Check arrays, and convert them to the requested form.

    Images that have that form are not copied and, if memory-mapped, not read.

    Args:
        images: The arrays. Images are uint8, uint16 or float in [0, 1] of shape (count, height, width),
            (count, channels, height, width) or (count, height, width, channels), with 1 or 3 channels. Labels are
            integers from 0 of shape (count,) or (count, 1). Without names, images and classes are numbered.
        spec: The requested form of the images.

    Raises:
        UserError: A shape, type or value is not allowed, or the size or channels must be requested.
    """
    source = images.source
    pixels = channels_first(images.images, source)
    count, channels, height, width = pixels.shape
    if not count:
        raise UserError(f"{source} has no images; at least one is needed")
    target = spec.resolve({Header(width, height, channels): "every image"}, source)
    labels, label_names = _check_labels(images, count)
    names = images.names if len(images.names) else NumberedNames(count)
    for part, values in (("names", names), ("rows of factors", images.factors)):
        if values is not None and len(values) != count:
            raise UserError(f"{source} has {count} images and {len(values)} {part}; one per image is needed")
    pixels = _render(pixels, target, source)
    return replace(images, images=pixels, names=names, labels=labels, label_names=label_names)


def npz_arrays(splits: dict[str, ImageSet]) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of a .npz file that `read_arrays` reads back as these splits."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for split, images in splits.items():
        prefix = _SPLIT_PREFIXES[split][0]
        arrays |= {f"{prefix}images": images.images, f"{prefix}names": np.array(images.names)}
        if images.labels is not None:
            arrays[f"{prefix}labels"] = images.labels
        if (factors := images.factors) is not None:
            arrays |= {f"{prefix}factors": factors.values, "factor_names": np.array(factors.names)}
            value_names = np.array(sum(factors.value_names, ()), np.str_)
            arrays |= {"factor_sizes": np.array(factors.sizes), "factor_values": value_names}
    # If classes are numbered, one split may lack the last of them.
    if label_names := max((images.label_names for images in splits.values()), key=len):
        arrays["label_names"] = np.array(label_names)
    return arrays


def read_idx(path: Path, *, dimensions: int) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, the format of MNIST, and decompress it if its name ends in .gz.

    Args:
        path: The file.
        dimensions: The number of dimensions it must have: 3 for images, 1 for labels.

    Raises:
        UserError: The file has another format, or its length disagrees with its header.
    """
    compressed = path.suffix.lower() == ".gz"
    header_bytes = 4 + 4 * dimensions
    with wrap_read_errors(path), gzip.open(path) if compressed else open(path, "rb") as file:
        header = file.read(header_bytes)
        if header[:4] != bytes((0, 0, 8, dimensions)):
            start, expected = header[:4].hex(" ") or "(none)", f"00 00 08 {dimensions:02x}"
            others = "other sources are folders and .zip, .parquet, .npz and .npy files"
            raise UserError(f"cannot read {path}: it begins with {start}, IDX files with {expected}; {others}")
        shape = [int.from_bytes(header[i : i + 4]) for i in range(4, header_bytes, 4)]
        # A header may claim any size. No more memory is allocated than the file can fill.
        limit = path.stat().st_size * (_MAX_DEFLATE_RATIO if compressed else 1)
        if compressed:
            check_expansion(path, math.prod(shape))
        content = bytearray(file.read(min(math.prod(shape), limit) + 1))
    if len(header) < header_bytes or len(content) != math.prod(shape):
        size = "more" if len(content) > math.prod(shape) else f"{len(content):,}"
        raise UserError(f"cannot read {path}: its header promises {math.prod(shape):,} bytes of values, found {size}")
    return np.frombuffer(content, np.uint8).reshape(shape)


def check_npy_header(path: Path) -> None:
    """Raise ValueError if the header of a .npy file claims to exceed the file, before memory is allocated for it."""
    with BoundedReader(path) as file:
        major, _ = np.lib.format.read_magic(file)
        length = int.from_bytes(file.read(2 if major == 1 else 4), "little")
        if len(file.read(length)) < length:
            raise ValueError(f"its header claims {length:,} bytes, more than the file has")


def _find_idx_labels(path: Path) -> Path | None:
    """Return the labels next to images that are named like MNIST's: train-labels-idx1-ubyte, with or without .gz."""
    if "images" not in path.name or "idx3" not in path.name:
        return None
    name = path.name.replace("images", "labels").replace("idx3", "idx1").removesuffix(".gz")
    return next((path.with_name(file) for file in (name, f"{name}.gz") if path.with_name(file).is_file()), None)


@contextmanager
def open_npz(path: Path) -> Iterator[np.lib.npyio.NpzFile]:
    """Open a .npz file; raises UserError if it is damaged or has a single array."""
    with wrap_read_errors(path), open(path, "rb") as file:  # opened here, because numpy does not close a broken one
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise UserError(f"cannot read {path}: it holds a single array, like a .npy file; rename it to .npy")
        with archive:
            yield archive


def _read_npz(path: Path, split: str) -> ImageSet:
    with open_npz(path) as archive:
        keys = _npz_keys(archive.files, path)
        if split not in keys:
            found = ", ".join(archive.files)
            raise UserError(f"{path} has no test split: it needs test_images or x_test, and has {found}")
        arrays = read_members(archive, path, keys[split])
    for name, (kinds, dimensions, form) in _NPZ_FORMS.items():
        array = arrays.get(name)
        if array is not None and (array.dtype.kind not in kinds or array.ndim != dimensions):
            raise UserError(f"{path} has {name} of type {array.dtype} and shape {array.shape}; expected {form}")
    lists = {name: arrays[name].tolist() for name in _NPZ_FORMS if name in arrays and name != "factors"}
    factors = _read_factors(arrays["factors"].astype(np.int64), lists) if "factors" in arrays else None
    names, label_names = lists.get("names", ()), tuple(lists.get("label_names", ()))
    return ImageSet(arrays["images"], names, str(path), arrays.get("labels"), label_names, factors=factors)


def read_members(archive: np.lib.npyio.NpzFile, path: Path, keys: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    """Return arrays of a .npz file by name, given the key of each.

    Raises:
        UserError: They would unpack to more than the memory, or to far more than such a file holds.
    """
    assert archive.zip is not None  # it is open
    sizes = {member.filename.removesuffix(".npy"): member.file_size for member in archive.zip.infolist()}
    check_expansion(path, sum(sizes.get(key, 0) for key in keys.values()))
    return {name: archive[key] for name, key in keys.items()}


def check_expansion(path: Path, required: int) -> None:
    """Raise UserError if a file would unpack to more than the memory, or to far more than images do."""
    available = usable_bytes()
    if required > available:
        raise UserError(f"{path} unpacks to {required:,} bytes, more than the {available:,} bytes of memory")
    size = path.stat().st_size
    if required > max(_LARGE_UNPACKED, _MAX_UNPACKED_RATIO * size):
        raise UserError(f"{path} has {size:,} bytes and claims to unpack to {required:,}, more than images do")


def _npz_keys(files: Sequence[str], path: Path) -> dict[str, dict[str, str]]:
    """Return, for each split with images, the key of each array in a .npz: ours, or the one that Keras uses."""
    keys: dict[str, dict[str, str]] = {}
    for split, prefixes in _SPLIT_PREFIXES.items():
        names = {name: name for name in _SHARED_ARRAYS}
        for suffix in _KERAS_SUFFIXES[split]:
            names |= {f"x_{suffix}": "images", f"y_{suffix}": "labels"}
        names |= {prefix + name: name for prefix in reversed(prefixes) for name in _SPLIT_ARRAYS}
        keys[split] = {name: key for key, name in names.items() if key in files}
    validation = keys.pop("validation")
    if "images" in validation and "images" not in keys["test"]:
        keys["test"] = validation
    if len(files) == 1:
        keys["train"]["images"] = files[0]  # np.savez(path, images) calls it arr_0
    if "images" not in keys["train"]:
        raise UserError(
            f"{path} has no array of images: found {', '.join(files) or 'nothing'}; allowed are images (with labels, "
            "names, label_names, test_images, test_labels, test_names), train_images, x_train and so on, or one array"
        )
    return {split: arrays for split, arrays in keys.items() if "images" in arrays}


def _read_factors(values: NDArray[np.int64], lists: dict[str, list[Any]]) -> Factors:
    """Return the factors of a split; without sizes these follow from the values."""
    sizes = lists.get("factor_sizes", (values.max(axis=0, initial=0) + 1).tolist())
    names = lists.get("factor_names", [f"factor{number}" for number in range(values.shape[1])])
    flat = lists.get("factor_values", [])
    ends = np.cumsum(sizes).tolist()
    value_names = tuple(tuple(flat[start:end]) for start, end in pairwise([0, *ends])) if flat else ()
    return Factors(tuple(names), tuple(sizes), values, value_names)


def _render(images: NDArray[Any], target: Target, source: str) -> NDArray[np.uint8]:
    size, channels = target.size, target.channels
    has_form = images.dtype == np.uint8 and images.shape[1:] == (channels, size, size)
    if has_form and target.value_range in (None, (0, 255)):
        return images
    rendered = np.empty((len(images), channels, size, size), np.uint8)
    for index, image in enumerate(np.asarray(images)):
        try:
            rendered[index] = render(image, *target)
        except ValueError as error:
            raise UserError(f"{source}, image {index}: {error}") from error
    return rendered


def as_label(target: Any) -> int | None:
    """Return the target of an image as a label, an integer from 0 to `MAX_LABEL`; None if it is no label.

    Labels are whole numbers of any type, 3.0 among them, and booleans. Fractions, larger and negative numbers, several
    numbers, text and dates are no labels.
    """
    if isinstance(target, np.datetime64 | np.timedelta64):
        return None
    if hasattr(target, "item"):  # of NumPy or torch
        try:
            target = target.item()
        except (TypeError, ValueError, RuntimeError):  # several numbers, or none
            return None
    is_whole = isinstance(target, int) or (isinstance(target, float) and target.is_integer())
    return int(target) if is_whole and 0 <= target <= MAX_LABEL else None


def _check_labels(images: ImageSet, count: int) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """Return the labels, int64 (count,), and one name per label; None if they are no labels, see `as_label`."""
    label_names, source = images.label_names, images.source
    if images.labels is None:
        return None, ()
    labels = np.asarray(images.labels)
    if labels.shape[:1] != (count,):
        raise UserError(f"{source} has labels of shape {labels.shape}; expected ({count},), one per image")
    if labels.shape not in ((count,), (count, 1)) or labels.dtype.kind not in "biuf":
        return None, ()
    low, high = labels.min().item(), labels.max().item()
    largest = len(label_names) - 1 if label_names else MAX_LABEL
    if not (low >= 0 and high <= largest and (labels == np.floor(labels)).all()):  # true for NaN, too
        if label_names and labels.dtype.kind != "f":
            raise UserError(f"{source} has labels from {low} to {high}; allowed are 0 to {largest}")
        return None, ()
    return labels.reshape(count).astype(np.int64), label_names or tuple(map(str, range(int(high) + 1)))
