"""Outputs that are written to as they are, instead of being replaced: standard output, pipes and devices."""

import errno
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STDOUT = Path("-")
MAX_LINKS = 40  # as many as Linux follows


def is_stdout(path: Path) -> bool:
    """Return whether a path stands for the standard output of this process: ``-``, or a path such as /dev/stdout."""
    return _descriptor(path) == 1


def is_written_in_place(path: Path) -> bool:
    """Return whether a path is ``-``, a descriptor of this process, a pipe or a device; or a link to one."""
    if _descriptor(path) is not None:
        return True
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


@contextmanager
def write_in_place(path: Path) -> Iterator[Path]:
    """Yield a temporary path; afterwards copy its content to a path for which `is_written_in_place` is true.

    Raises:
        OSError: The path cannot be written, or is a block device or a socket.
    """
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / f"output{path.suffix}"
        yield temporary
        with open(temporary, "rb") as content, os.fdopen(_open(path), "wb") as target:
            shutil.copyfileobj(content, target)


def _open(path: Path) -> int:
    descriptor = _descriptor(path)
    if descriptor == 1 and sys.stdout is not None:
        sys.stdout.flush()  # what was printed before comes first
    if descriptor is not None:
        return os.dup(descriptor)
    mode = path.stat().st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)):
        raise OSError(errno.EINVAL, "it is a block device or a socket")
    return os.open(path, os.O_WRONLY | getattr(os, "O_NOCTTY", 0))


def _descriptor(path: Path) -> int | None:
    """Return the descriptor of this process that a path stands for, such as 1 for /dev/stdout; None for other paths."""
    if path == STDOUT:
        return 1
    for _ in range(MAX_LINKS):
        if path.name.isdecimal():
            folder = os.path.realpath(path.parent)
            if folder in (os.path.realpath("/dev/fd"), os.path.realpath("/proc/self/fd")):
                return int(path.name)
        if not path.is_symlink():
            return None
        path = path.parent / path.readlink()
    return None
