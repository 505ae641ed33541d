"""Files: atomic writes, locks between processes, and reads of bounded size."""

import contextlib
import errno
import io
import json
import os
import re
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from infogan.utils.errors import UserError
from infogan.utils.in_place import is_stdout, is_written_in_place, write_in_place
from infogan.utils.names import MAX_BYTES

TEMPORARY_NAME = re.compile(r"\..+\.[a-z0-9_]{8}\.[A-Za-z0-9]+")  # of a file that is being written
TEMPORARY_LIFETIME_S = 600  # after which such a file belongs to a process that was killed
SMALL_READ = 2**16  # bytes that a reader may request of any file
BUSY = "is being written by"  # part of the message for a locked file
LOCK_NAME = ".lock"  # of the file that locks a folder
MAX_SUFFIX = 16  # bytes of the suffix of a temporary file


@contextmanager
def _report_write_errors(path: Path) -> Iterator[None]:
    """Turn an OSError into a UserError that names the path."""
    try:
        yield
    except OSError as error:
        if isinstance(error, BrokenPipeError) and is_stdout(path):
            raise  # the reader, such as `head`, has enough: no mistake
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Make other processes that lock the same folder wait. For moments only: there is no timeout.

    Nothing is locked if the folder does not exist, is read-only, or its file system has no locks.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError, NotImplementedError):
            if folder.is_dir():
                stack.enter_context(FileLock(folder / LOCK_NAME))
        yield


@contextmanager
def file_lock(path: Path, name: str, timeout: float = 0.0) -> Iterator[None]:
    """Allow one writer at a time, until the block or the process ends.

    Args:
        path: The lock file. It names the process that has the lock, or had it last.
        name: What is locked, for the error message.
        timeout: Seconds to wait for another process.

    Raises:
        UserError: Another process has the lock, or the file cannot be written.
    """
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    lock = FileLock(path, mode=0o666 & ~_umask())
    with contextlib.ExitStack() as stack:
        try:
            if not path.parent.is_dir():  # FileLock would create it
                raise FileNotFoundError(2, "No such file or directory")
            if path.exists() and not stat.S_ISREG(path.lstat().st_mode):
                raise OSError(0, "it is not a regular file")
            stack.enter_context(lock.acquire(timeout=timeout, poll_interval=0.1))
            path.write_text(json.dumps(holder) + "\n", encoding="utf-8")
        except Timeout:
            raise UserError(f"{name} {BUSY} {_read_holder(path)}: wait for it, or stop it") from None
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror or error}") from error
        yield


def is_locked(path: Path) -> bool:
    """Return whether a process has the `file_lock` on a path."""
    if not path.is_file():
        return False
    try:
        with FileLock(path, blocking=False):
            return False
    except Timeout:
        return True
    except OSError:
        return False


def _read_holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_bytes())
        return f"process {holder['pid']} on {holder['host']}, since {holder['since']}"
    except (OSError, ValueError, TypeError, KeyError):  # it has the lock, but has not written its name yet
        return "another process"


class BoundedReader(io.BufferedReader):
    """A file whose reads allocate no more memory than the file has bytes, whatever size is requested.

    Decoders of images and archives trust the lengths in a file, and Python allocates what they request.

    Args:
        path: The file.
    """

    def __init__(self, path: str | Path) -> None:
        raw = io.FileIO(path)
        super().__init__(raw)
        self._size = os.fstat(raw.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to ``size`` bytes; without a size, the rest of the file."""
        if size is not None and 0 <= size <= SMALL_READ:
            return super().read(size)
        rest = max(0, self._size - self.tell())
        return super().read(rest if size is None or size < 0 else min(size, rest))


def remove_temporary_files(folder: Path) -> None:
    """Remove the temporary files of writers that were killed, in a folder and below; recent ones stay."""
    for path in folder.rglob(".*"):
        with contextlib.suppress(OSError):
            if TEMPORARY_NAME.fullmatch(path.name) and path.lstat().st_mtime < time.time() - TEMPORARY_LIFETIME_S:
                path.unlink()


def append_line(path: Path, line: str) -> None:
    """Append a line to a file and sync it to disk; after a torn line, which a crash can leave, start a new one.

    Raises:
        UserError: The file cannot be written.
    """
    with _report_write_errors(path), _open_regular_file(path) as file:
        is_torn = False
        if file.seek(0, os.SEEK_END) > 0:
            file.seek(-1, os.SEEK_END)
            is_torn = file.read(1) != b"\n"
        file.write((b"\n" if is_torn else b"") + line.encode("utf-8", "backslashreplace") + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _open_regular_file(path: Path) -> IO[bytes]:
    """Open a file for reading and appending; raise OSError if it is a link or no regular file.

    In a folder from a stranger, a link could redirect the writes to any file of the user.
    """
    flags = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # missing on Windows
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | flags, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("it is not a regular file")
    return os.fdopen(descriptor, "a+b")


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; afterwards sync it to disk and move it to ``path``.

    The folder is created if it is missing. After an error the temporary file is removed, and ``path`` is unchanged.
    Standard output (``-``), pipes and devices are not replaced: the content is copied to them.

    Raises:
        UserError: The file cannot be written (read-only, disk full, a folder has that name).
        BrokenPipeError: ``path`` is standard output, and its reader has ended.

    Example:
        >>> with atomic_write(Path("data.npy")) as temporary:
        ...     np.save(temporary, array)
    """
    if is_written_in_place(path):
        with _report_write_errors(path), write_in_place(path) as temporary:
            yield temporary
        return
    with _report_write_errors(path):
        make_folder(path.parent)
        suffix = path.suffix if 1 < len(os.fsencode(path.suffix)) <= MAX_SUFFIX else ".tmp"
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=_temporary_prefix(path), suffix=suffix)
        os.close(descriptor)
        temporary = Path(name)
        try:
            yield temporary
            os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes it private to its owner
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
            fsync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def _temporary_prefix(path: Path) -> str:
    """Return how names of temporary files for a path begin; random letters and a suffix fit into the name as well."""
    name, room = os.fsencode(path.name), MAX_BYTES - MAX_SUFFIX - len(".." + "random__")
    return f".{path.name if len(name) <= room else name[:room].decode('utf-8', 'ignore')}."


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder; afterwards move it to ``path``, in place of what is there.

    Raises:
        UserError: As `atomic_write`; the old folder is then put back.
    """
    with _report_write_errors(path):
        make_folder(path.parent)
        if os.path.lexists(path) and not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "it is not a folder")
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=_temporary_prefix(path), suffix=".tmp"))
        old = temporary.with_suffix(".old")
        try:
            yield temporary
            os.chmod(temporary, 0o777 & ~_umask())  # mkdtemp makes it private to its owner
            fsync_folder(temporary)
            if os.path.lexists(path):
                os.rename(path, old)
            os.rename(temporary, path)
            fsync_folder(path.parent)
        finally:
            if old.exists() and not os.path.lexists(path):
                os.rename(old, path)
            for folder in (temporary, old):
                shutil.rmtree(folder, ignore_errors=True)


def make_folder(path: Path) -> None:
    """Create a folder and its missing parents, and sync the folders that contain new ones."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        fsync_folder(folder.parent)


def make_output_folder(path: Path) -> None:
    """Create a folder as `make_folder` does; raise UserError if that fails."""
    try:
        make_folder(path)
    except OSError as error:
        raise UserError(f"cannot create the folder {path}: {error.strerror or error}") from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically; raise UserError if that fails."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON atomically; raise UserError if that fails."""
    write_bytes(path, to_json(value))


def to_json(value: Any) -> bytes:
    """Return a value as indented JSON."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # A lone surrogate, in the place of a byte that is not UTF-8, becomes the escape that JSON has for it.
    return text.encode("utf-8", "backslashreplace")


def _umask() -> int:
    # No system call only reads the mask.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def fsync_folder(folder: Path) -> None:
    """Sync the names in a folder to disk: a new name is durable only after that."""
    if hasattr(os, "O_DIRECTORY"):  # not every platform can open a folder
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
