"""The named data sets: what they contain, where their files come from and how the files become arrays.

`mnist`, `fashion-mnist`, `svhn` and `cifar10` are fetched, `dsprites`, `shapes` and `glyphs` are drawn, and `digits`
comes with scikit-learn.
"""

import os
import tarfile
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from numpy.typing import NDArray
from pydantic import TypeAdapter

from infogan.data.dataset import ImageSet
from infogan.data.download import Origin, fetch_files, has_files, tar_member
from infogan.data.preprocess import Progress
from infogan.data.readers.arrays import read_idx
from infogan.data.synthetic import dsprites, glyphs, shapes
from infogan.data.synthetic.cache import Rendering, is_rendered, read_rendering, render_all
from infogan.utils.errors import unknown_name

LabelledImages = tuple[NDArray[Any], NDArray[Any]]


@dataclass(frozen=True)
class Dataset:
    """A named data set, which is either read from files or drawn.

    Attributes:
        description: One line about the content.
        size: Height and width of an image in pixels.
        channels: 1 for grey, 3 for RGB.
        counts: Number of images in ``"train"`` and ``"test"``; of glyphs, per font.
        classes: Names of the labels.
        read: Function of the cache folder and a split that returns its images and labels; None if it is drawn.
        origin: Files of the set and their sources; None if the set is drawn or comes with a library.
        rendering: Function of the cache folder that returns how the set is drawn; None if the set is read. Drawn sets
            have known factors, and a fixed pseudo-random tenth of the images is the test split.
        note: Function of the cache folder that returns a remark about the set on this machine.
    """

    description: str
    size: int
    channels: int
    counts: dict[str, int]
    classes: tuple[str, ...]
    read: Callable[[Path, str], LabelledImages] | None = None
    origin: Origin | None = None
    rendering: Callable[[Path], Rendering] | None = None
    note: Callable[[Path], str] | None = None


def _read_idx_split(folder: Path, split: str) -> LabelledImages:
    stem = {"train": "train", "test": "t10k"}[split]
    images, labels = folder / f"{stem}-images-idx3-ubyte", folder / f"{stem}-labels-idx1-ubyte"
    return read_idx(images, dimensions=3), read_idx(labels, dimensions=1)


def _read_digits(folder: Path, split: str) -> LabelledImages:
    from sklearn.datasets import load_digits

    digits = load_digits()
    rows = {"train": slice(None, 1437), "test": slice(1437, None)}[split]
    return np.rint(digits.images[rows] * (255 / 16)).astype(np.uint8), digits.target[rows]


def _read_svhn(folder: Path, split: str) -> LabelledImages:
    from scipy.io import loadmat

    content = loadmat(folder / f"{split}_32x32.mat")
    # X is (height, width, channels, count), and class 10 is the digit 0.
    return content["X"].transpose(3, 2, 0, 1), content["y"] % 10


def _read_cifar10(folder: Path, split: str) -> LabelledImages:
    batches = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}[split]
    with tarfile.open(folder / "cifar-10-binary.tar.gz") as archive:
        content = b"".join(tar_member(archive, f"cifar-10-batches-bin/{batch}").read() for batch in batches)
    records = np.frombuffer(bytearray(content), np.uint8).reshape(-1, 1 + 3 * 32 * 32)  # a label and its image
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]


# What infogan does with each set; datasets.toml says the rest.
_FUNCTIONS: dict[str, dict[str, Callable[..., Any]]] = {
    "mnist": {"read": _read_idx_split},
    "fashion-mnist": {"read": _read_idx_split},
    "digits": {"read": _read_digits},
    "svhn": {"read": _read_svhn},
    "cifar10": {"read": _read_cifar10},
    "dsprites": {"rendering": dsprites.rendering, "note": dsprites.note},
    "shapes": {"rendering": shapes.rendering},
    "glyphs": {"rendering": glyphs.rendering},
}


def _read_table() -> dict[str, Dataset]:
    table = tomllib.loads(Path(__file__).with_name("datasets.toml").read_text(encoding="utf-8"))
    datasets = {name: values | _FUNCTIONS[name] for name, values in table.items()}
    return TypeAdapter(dict[str, Dataset]).validate_python(datasets)


DATASETS = _read_table()


def read_named(name: str, split: str, progress: Progress | None = None, *, size: int | None = None) -> ImageSet:
    """Return one split of a named data set without names, after fetching or drawing what is missing.

    Args:
        name: Key of ``DATASETS``.
        split: ``"train"`` or ``"test"``.
        progress: Callback for the bytes fetched or the images drawn.
        size: Size in pixels at which a drawn set is drawn. Default: the set's own.

    Raises:
        UserError: The name is unknown, no source has the files, or the cache cannot be written.
    """
    dataset, folder = _lookup(name), cache_folder(name)
    if dataset.rendering is not None:
        return read_rendering(dataset.rendering(folder), folder, split, size or dataset.size, progress)
    fetch(name, progress)
    assert dataset.read is not None
    images, labels = dataset.read(folder, split)
    return ImageSet(images, (), f"{name} ({split})", labels, dataset.classes)


def fetch(name: str, progress: Progress | None = None) -> list[Path]:
    """Fetch or draw a data set into the cache and verify it; return the paths of its files.

    Args:
        name: Key of ``DATASETS``.
        progress: Callback for the bytes fetched or the images drawn.

    Returns:
        The verified files; an empty list for `digits`, which comes with scikit-learn.

    Raises:
        UserError: The name is unknown, no source has the files (the message gives each source's failure), or the cache
            cannot be written.

    Example:
        >>> from infogan.data import fetch
        >>> fetch("digits")
        []
    """
    dataset, folder = _lookup(name), cache_folder(name)
    if dataset.rendering is not None:
        return [render_all(dataset.rendering(folder), folder, dataset.size, progress)]
    return fetch_files(name, dataset.origin, folder, progress) if dataset.origin else []


def cache_folder(name: str) -> Path:
    """Return the folder of a data set's files, below ``INFOGAN_CACHE`` or the platform's cache folder.

    The platform's cache folder is ``~/.cache/infogan`` on Linux, unless ``XDG_CACHE_HOME`` names another one.
    """
    root = os.environ.get("INFOGAN_CACHE") or platformdirs.user_cache_path("infogan", appauthor=False)
    return Path(root) / name


def dataset_status(name: str) -> str:
    """Return where a data set comes from at the moment.

    The check looks at file names only; `fetch` verifies checksums.

    Returns:
        ``"built in"``, ``"cached"``, ``"on this system"``, ``"to be fetched"``, ``"drawn"`` or ``"to be drawn"``.

    Raises:
        UserError: The name is unknown.

    Example:
        >>> from infogan.data import dataset_status
        >>> dataset_status("digits")
        'built in'
    """
    dataset, folder = _lookup(name), cache_folder(name)
    if dataset.rendering is not None:
        return "drawn" if is_rendered(folder, dataset.size) else "to be drawn"
    if dataset.origin is None:
        return "built in"
    if has_files(dataset.origin, folder):
        return "cached"
    system = dataset.origin.system
    return "on this system" if system and has_files(dataset.origin, Path(system)) else "to be fetched"


def dataset_note(name: str) -> str:
    """Return a remark about a data set on this machine, mostly an empty string.

    Raises:
        UserError: The name is unknown.
    """
    note = _lookup(name).note
    return note(cache_folder(name)) if note else ""


def _lookup(name: str) -> Dataset:
    if name not in DATASETS:
        raise unknown_name("data set", name, DATASETS)
    return DATASETS[name]
