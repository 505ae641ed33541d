"""How this process holds its memory, and what it says when there is not enough."""

import ctypes
import errno
import functools
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infogan.utils.errors import UserError

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
# What errors of the kind say that have no class of their own: PyTorch's on the CPU and on a GPU, oneDNN's, and those of
# the loader of libraries.
SHORT = (
    *("can't allocate memory", "not enough memory", "out of memory"),
    *("could not create a primitive", "failed to map segment"),
)

# Names and values of glibc's `mallopt` (malloc.h), and the largest that they may be.
MMAP_THRESHOLD, LARGEST_THRESHOLD = -3, 32 * 2**20
TRIM_THRESHOLD, NEVER = -1, 2**31 - 1
TOP_PAD, AT_ONCE = -2, 64 * 2**20


@functools.cache
def keep_freed_blocks() -> bool:
    """Has the C library keep memory that is freed, up to what was in use at once; says whether it does.

    glibc, as it comes, may give large blocks back to the system at once: it depends on how they happen to lie, and so
    differs from process to process. A training step frees and asks for the same large blocks again and again, and then
    the system clears each page anew: a tenth of a step of the paper's networks. Other libraries are left as they are.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    wanted = ((MMAP_THRESHOLD, LARGEST_THRESHOLD), (TRIM_THRESHOLD, NEVER), (TOP_PAD, AT_ONCE))
    return all([library.mallopt(name, value) == 1 for name, value in wanted])


def usable_bytes() -> int:
    """Bytes of memory that this process may use: the machine's, or less where a container is given less."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(physical, int(CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):  # no container, or one without a limit, which is "max"
        return physical


@contextmanager
def report_memory_shortage() -> Iterator[None]:
    """Turns what Python, NumPy, the system and PyTorch raise where memory runs out into one sentence.

    Raises:
        UserError: memory ran out meanwhile.
    """
    try:
        yield
    except (MemoryError, OSError, RuntimeError, ImportError) as error:
        if not _is_shortage(error):
            raise
        raise UserError(
            "there is not enough memory: end other programs, or ask for less at once, "
            "such as smaller batches (--set train.batch_size=...), smaller images or fewer of them"
        ) from error


def _is_shortage(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or any(phrase in str(error) for phrase in SHORT)
