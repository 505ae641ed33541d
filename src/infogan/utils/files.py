"""Writing files so that a reader, or a crash, never meets half of one, and reading those that may claim too much."""

import contextlib
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

from infogan.utils.errors import UserError

try:
    import fcntl
except ModuleNotFoundError:  # not on Windows
    fcntl = None  # type: ignore[assignment]


# What `replacing` calls a file until it is whole, and for how many seconds a file may be just that.
TEMPORARY_NAME = re.compile(r"\..+\.[a-z0-9_]{8}\.[A-Za-z0-9]+")
TEMPORARY_LIFETIME_S = 600
SMALL_READ = 2**16  # bytes that may be asked for of any file
BUSY = "is being written by"  # says whoever finds a folder held


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Holds a folder so that what others look at and then write in it, under a claim of their own, waits.

    For moments only. Where the platform or the file system knows no such locks, or there is no folder, it is not held.
    """
    descriptor = None
    with contextlib.suppress(OSError):
        if fcntl is not None:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


@contextmanager
def file_lock(path: Path, what: str, patience: float = 0.0) -> Iterator[None]:
    """Holds ``what``, of which there is one writer at a time, as long as this lasts or the process lives.

    The lock is the operating system's, on the file at ``path``, and ends with the process however that ends. The file
    says who holds it, or held it last. Where the platform or the file system knows no such locks, nothing is held.

    Args:
        path: The file.
        what: Is held, in words.
        patience: Seconds to wait for another process that holds it.

    Raises:
        UserError: another process holds it, or the file can not be written.
    """
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(_own_file(path))
            until = time.monotonic() + patience
            while not (locked := _locked(file)) and time.monotonic() < until:
                time.sleep(0.1)
            if not locked:
                file.seek(0)
                raise UserError(f"{what} {BUSY} {_holder(file.read())}: wait for it, or stop it")
            file.truncate(0)
            file.write((json.dumps(holder) + "\n").encode())
            file.flush()
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror or error}") from error
        yield


def is_locked(path: Path) -> bool:
    """Whether some process holds what `held` locks by this file."""
    if not path.is_file():
        return False
    try:
        with _own_file(path) as file:
            return not _locked(file)
    except OSError:
        return False


def _own_file(path: Path) -> IO[bytes]:
    """A file to read and to add to, made if missing; raises OSError where it is a link, or no file at all.

    A folder from a stranger may have a link in a file's place, which would lead what is written to any file of the
    user's.
    """
    only = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # neither is known on Windows
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | only, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("it is no regular file")
    return os.fdopen(descriptor, "a+b")


def _locked(file: IO[bytes]) -> bool:
    """Takes the lock of a file unless another process has it; True where there are no locks."""
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


class BoundedReader(io.BufferedReader):
    """A file to read, of which no more memory is asked for than it has bytes, however many its reader asks for.

    Readers of pictures and archives believe the lengths in a file, and Python makes room for what is asked.

    Args:
        path: Of the file.
    """

    def __init__(self, path: str | Path) -> None:
        raw = io.FileIO(path)
        super().__init__(raw)
        self._size = os.fstat(raw.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to so many bytes; all that are left, without a number."""
        if size is not None and 0 <= size <= SMALL_READ:
            return super().read(size)
        left = max(0, self._size - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))


def remove_temporary_files(folder: Path) -> None:
    """Removes what writers that were killed have left half-written, here and below; not what is being written."""
    for path in folder.rglob(".*"):
        with contextlib.suppress(OSError):
            if TEMPORARY_NAME.fullmatch(path.name) and path.lstat().st_mtime < time.time() - TEMPORARY_LIFETIME_S:
                path.unlink()


def _holder(text: bytes) -> str:
    try:
        known = json.loads(text)
        return f"process {known['pid']} on {known['host']}, since {known['since']}"
    except (ValueError, TypeError, KeyError):  # it has taken hold, and not said yet who it is
        return "another process"


def append_line(path: Path, line: str) -> None:
    """Adds a line to a file, synced to disk; after half a line, which a crash can leave, on a line of its own.

    Raises:
        UserError: it can not be written.
    """
    try:
        with _own_file(path) as file:
            if file.seek(0, os.SEEK_END) > 0:
                file.seek(-1, os.SEEK_END)
                torn = file.read(1) != b"\n"
            else:
                torn = False
            file.write((b"\n" if torn else b"") + line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yields a temporary path in the same folder; on success it is synced to disk and takes the place of ``path``.

    The folder is created when missing. On any error the temporary file is removed and what stood at ``path`` stays.

    Raises:
        UserError: the folder or file can not be written (read-only, disk full, a folder in the file's place).
    """
    try:
        make_folder(path.parent)
        # mkstemp would make the file private to its owner; the umask decides, as for any other file.
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix or ".tmp")
        os.close(descriptor)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        fsync_folder(path.parent)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """`replacing`, for a folder: yields an empty one beside it that on success takes the place of ``path``.

    What stands at ``path`` is moved aside for that and removed afterwards, or put back.

    Raises:
        UserError: as `replacing`.
    """
    try:
        make_folder(path.parent)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    aside = temporary.with_suffix(".old")
    try:
        yield temporary
        os.chmod(temporary, 0o777 & ~_umask())  # mkdtemp makes it private to its owner
        fsync_folder(temporary)
        if os.path.lexists(path):
            os.rename(path, aside)
        os.rename(temporary, path)
        fsync_folder(path.parent)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if aside.exists() and not os.path.lexists(path):
            os.rename(aside, path)
        for left in (temporary, aside):
            shutil.rmtree(left, ignore_errors=True)


def make_folder(path: Path) -> None:
    """Makes a folder and those above it, where they are missing, and syncs what holds each new one."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        fsync_folder(folder.parent)


def make_output_folder(path: Path) -> None:
    """`make_folder`, which raises UserError where it can not."""
    try:
        make_folder(path)
    except OSError as error:
        raise UserError(f"cannot make the folder {path}: {error.strerror or error}") from error


def write_bytes(path: Path, content: bytes) -> None:
    """Writes ``content`` to ``path`` all or nothing; raises UserError where it can not."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Writes ``value`` as indented JSON to ``path`` all or nothing; raises UserError where it can not."""
    write_bytes(path, to_json(value))


def to_json(value: Any) -> bytes:
    """``value`` as indented JSON."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _umask() -> int:
    # There is no call that only reads the mask.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def fsync_folder(folder: Path) -> None:
    """Has the names in a folder kept on disk: a new or another name is durable only once its folder is."""
    # Not every platform can open a folder.
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
