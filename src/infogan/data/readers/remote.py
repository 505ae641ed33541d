"""Images that are not on this machine: addresses such as ``s3://bucket/photos``, by way of fsspec.

In flows what a user writes for DATA; out flows a ``Path``, or a `Remote` that lists its files and reads them. Only the
kinds of addresses in ``PROTOCOLS`` are opened, so that a configuration from somebody can have no other code run.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from infogan.utils.errors import UserError, unknown_name

PREFETCH_FILES, PREFETCH_BYTES = (
    64,
    2**26,
)  # files that are fetched together: at most so many, and no more than so large

PROTOCOLS = {
    "s3": "Amazon S3 and what answers like it",
    "gs": "Google Cloud Storage",
    "hf": "Hugging Face: hf://datasets/USER/NAME/...",
    "https": "one file on the web",
    "http": "one file on the web",
    "memory": "this process",
    "file": "this machine",
}


@dataclass(frozen=True)
class Remote:
    """A file or folder that is not on this machine.

    Attributes:
        address: As it was given.
    """

    address: str

    def __str__(self) -> str:
        return self.address

    @property
    def name(self) -> str:
        """Its last part."""
        return PurePosixPath(urlsplit(self.address).path or self.address).name

    @property
    def suffix(self) -> str:
        """Of its name, with the dot."""
        return PurePosixPath(self.name).suffix

    def is_dir(self) -> bool:
        """Whether it is a folder; raises UserError where it is not there or can not be reached."""
        system, path = self._opened()
        with _reaching(self.address):
            return bool(system.isdir(path))

    def exists(self) -> bool:
        """Whether there is something at the address; raises UserError where that can not be told."""
        system, path = self._opened()
        with _reaching(self.address):
            return bool(system.exists(path))

    def open(self) -> BinaryIO:
        """The file, to be read in any order; raises UserError where it can not be."""
        system, path = self._opened()
        with _reaching(self.address):
            return cast(BinaryIO, system.open(path, "rb"))

    def find(self) -> dict[str, int]:
        """The size in bytes of each file in the folder, at any depth, by its path in it; raises UserError as `open`."""
        system, path = self._opened()
        root = path.rstrip("/") + "/"
        with _reaching(self.address):
            found = system.find(path, detail=True)
        return {name.removeprefix(root): int(known.get("size") or 0) for name, known in found.items()}

    def child(self, name: str) -> "Remote":
        """What the folder has under a name."""
        return Remote(f"{self.address.rstrip('/')}/{name}")

    def fetch(self, names: Sequence[str]) -> dict[str, bytes | Exception]:
        """The contents of files in the folder, all at once, or why one can not be had; raises UserError as `open`."""
        system, path = self._opened()
        root = path.rstrip("/") + "/"
        with _reaching(self.address):
            found = system.cat([root + name for name in names], recursive=False, on_error="return")
        return {name: found[root + name] for name in names}

    def _opened(self) -> tuple[Any, str]:
        with _reaching(self.address):
            import fsspec

            system, path = fsspec.core.url_to_fs(self.address)
        return system, str(path)


Location = Path | Remote


def parse_location(source: str | Path) -> Location:
    """Where a source is; raises UserError for an address of a kind that is not opened."""
    if not isinstance(source, str) or "://" not in source:
        return Path(source)
    protocol = source.split("://")[0].lower()
    if protocol not in PROTOCOLS:
        raise unknown_name("kind of address", f"{protocol}://", [f"{known}://" for known in PROTOCOLS])
    if protocol == "file":
        return Path(url2pathname(unquote(urlsplit(source).path)))
    return Remote(source)


class PrefetchingReader:
    """Reads files of a remote folder, the next ones together with the one that is asked for: each way there is long.

    Args:
        folder: Where they are.
        names: In the order in which they will be asked for.
        sizes: In bytes, by name.
    """

    def __init__(self, folder: Remote, names: Sequence[str], sizes: dict[str, int]) -> None:
        self._folder, self._names, self._sizes = folder, names, sizes
        self._places = {name: place for place, name in enumerate(names)}
        self._held: dict[str, bytes | Exception] = {}

    def __call__(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            FileNotFoundError: it is gone.
            UserError: it can not be reached, and so perhaps nothing can.
        """
        if name not in self._held:
            wanted, size = [name], self._sizes[name]
            for after in self._names[self._places[name] + 1 : self._places[name] + PREFETCH_FILES]:
                size += self._sizes[after]
                if size > PREFETCH_BYTES:
                    break
                wanted.append(after)
            self._held = self._folder.fetch(wanted)
        content = self._held.pop(name)
        if isinstance(content, FileNotFoundError):
            raise content
        with _reaching(str(self._folder.child(name))):
            if isinstance(content, Exception):
                raise content
        return content


@contextmanager
def _reaching(address: str) -> Iterator[None]:
    """Turns whatever a file system raises of an address into one sentence."""
    try:
        yield
    except ImportError as error:
        raise UserError(f"{address} needs another library: pip install 'infogan[remote]'") from error
    except FileNotFoundError as error:
        raise UserError(f"there is nothing at {address}, or nothing that may be seen") from error
    except Exception as error:  # each kind of file system raises its own
        words = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{address} can not be reached: {words}") from error
