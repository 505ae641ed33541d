"""Files at addresses such as ``s3://bucket/photos``, read with fsspec.

Only the protocols in ``PROTOCOLS`` are opened, so that a configuration from a stranger cannot run other code.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from infogan.data.preprocess import error_reason
from infogan.utils.errors import UserError, unknown_name
from infogan.utils.files import BoundedReader

PREFETCH_FILES, PREFETCH_BYTES = 64, 2**26  # at most this many files, of this total size, are fetched together

# Amazon S3 and compatible stores, Google Cloud Storage, Hugging Face (hf://datasets/USER/NAME/...), single files on the
# web, the memory of this process, and this machine.
PROTOCOLS = ("s3", "gs", "hf", "https", "http", "memory", "file")


@dataclass(frozen=True)
class Remote:
    """A file or folder on another machine, with the methods of ``Path`` that readers need.

    Every method that accesses it raises UserError if it does not exist or cannot be reached.

    Attributes:
        address: The address that the user wrote.
    """

    address: str

    def __str__(self) -> str:
        return self.address

    @property
    def name(self) -> str:
        """The last part of the address."""
        return PurePosixPath(urlsplit(self.address).path or self.address).name

    @property
    def suffix(self) -> str:
        """The extension of the name, with the dot."""
        return PurePosixPath(self.name).suffix

    def is_dir(self) -> bool:
        """Return whether the address is a folder."""
        with self._file_system() as (system, path):
            return bool(system.isdir(path))

    def exists(self) -> bool:
        """Return whether there is a file or folder at the address."""
        with self._file_system() as (system, path):
            return bool(system.exists(path))

    def open(self) -> BinaryIO:
        """Open the file for reading at any position."""
        with self._file_system() as (system, path):
            return cast(BinaryIO, system.open(path, "rb"))

    def find(self) -> dict[str, int]:
        """Return the sizes in bytes of all files in the folder, at any depth, by relative path."""
        with self._file_system() as (system, path):
            root = path.rstrip("/") + "/"
            files = system.find(path, detail=True)
            return {name.removeprefix(root): int(info.get("size") or 0) for name, info in files.items()}

    def __truediv__(self, name: str) -> "Remote":
        return Remote(f"{self.address.rstrip('/')}/{name}")

    def fetch(self, names: Sequence[str]) -> dict[str, bytes | Exception]:
        """Return the contents of files in the folder, requested together; an exception for each one that failed."""
        with self._file_system() as (system, path):
            paths = {name: f"{path.rstrip('/')}/{name}" for name in names}
            contents = system.cat(list(paths.values()), recursive=False, on_error="return")
            return {name: contents[paths[name]] for name in names}

    @contextmanager
    def _file_system(self) -> Iterator[tuple[Any, str]]:
        """Open the fsspec file system and the path in it; turn its errors into UserErrors."""
        with _wrap_access_errors(self.address):
            import fsspec

            system, path = fsspec.core.url_to_fs(self.address)
            yield system, str(path)


Location = Path | Remote


def parse_location(source: str | Path) -> Location:
    """Return the path or address that a source names; raises UserError if its protocol is not supported."""
    if not isinstance(source, str) or "://" not in source:
        return Path(source)
    protocol = source.split("://")[0].lower()
    if protocol not in PROTOCOLS:
        raise unknown_name("kind of address", f"{protocol}://", [f"{name}://" for name in PROTOCOLS])
    if protocol == "file":
        return Path(url2pathname(unquote(urlsplit(source).path)))
    return Remote(source)


def open_location(path: Location) -> BinaryIO:
    """Open a file for reading at any position; raises OSError, or UserError for an address."""
    return BoundedReader(path) if isinstance(path, Path) else path.open()


class PrefetchingReader:
    """Reads files of a remote folder, each together with the next ones, because every request takes long.

    Args:
        folder: The remote folder.
        names: The files in the order in which they will be read.
        sizes: Their sizes in bytes, by name.
    """

    def __init__(self, folder: Remote, names: Sequence[str], sizes: dict[str, int]) -> None:
        self._folder, self._names, self._sizes = folder, names, sizes
        self._indices = {name: index for index, name in enumerate(names)}
        self._contents: dict[str, bytes | Exception] = {}

    def __call__(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            FileNotFoundError: The file no longer exists.
            UserError: The file cannot be reached, so probably none can.
        """
        if name not in self._contents:
            self._contents = self._folder.fetch(self._next_names(name))
        content = self._contents.pop(name)
        if isinstance(content, FileNotFoundError):
            raise content
        with _wrap_access_errors(str(self._folder / name)):
            if isinstance(content, Exception):
                raise content
        return content

    def _next_names(self, name: str) -> list[str]:
        index = self._indices[name]
        names = self._names[index : index + PREFETCH_FILES]
        total_sizes = accumulate(self._sizes[following] for following in names)
        count = sum(total <= PREFETCH_BYTES for total in total_sizes)
        return list(names[: max(1, count)])


@contextmanager
def _wrap_access_errors(address: str) -> Iterator[None]:
    """Turn any exception of a remote file system into a UserError that names the address."""
    try:
        yield
    except ImportError as error:
        raise UserError(f"{address} needs another library: pip install 'infogan[remote]'") from error
    except FileNotFoundError as error:
        raise UserError(f"{address} does not exist or is not readable") from error
    except Exception as error:  # each kind of file system raises its own exceptions
        raise UserError(f"{address} cannot be reached: {error_reason(error)}") from error
