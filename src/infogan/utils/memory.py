"""The memory of this process: how freed blocks are kept, how much there is, and errors when it runs out."""

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
# Messages of errors that have no class of their own: PyTorch's on the CPU and on a GPU, oneDNN's, and the dynamic
# loader's.
SHORTAGE_MESSAGES = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "could not create a primitive",
    "failed to map segment",
)

# Parameters of glibc's `mallopt` (malloc.h) and their values.
MMAP_THRESHOLD, LARGEST_THRESHOLD = -3, 32 * 2**20
TRIM_THRESHOLD, NEVER = -1, 2**31 - 1
TOP_PAD, AT_ONCE = -2, 64 * 2**20


@functools.cache
def keep_freed_blocks() -> bool:
    """Make the C library keep freed memory, up to what was in use at once; return whether it does.

    By default glibc may return large blocks to the system at once, depending on their position, which differs from
    process to process. A training step frees and requests the same large blocks again and again, and the system then
    clears each page anew, which takes a tenth of a step of the `paper` networks. Other C libraries stay unchanged.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    settings = ((MMAP_THRESHOLD, LARGEST_THRESHOLD), (TRIM_THRESHOLD, NEVER), (TOP_PAD, AT_ONCE))
    return all([library.mallopt(name, value) == 1 for name, value in settings])


def usable_bytes() -> int:
    """Return the memory that this process may use in bytes: the machine's, or the limit of a container."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(physical, int(CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):  # no container, or one whose limit is "max"
        return physical


@contextmanager
def report_memory_shortage() -> Iterator[None]:
    """Turn what Python, NumPy, the system and PyTorch raise when memory runs out into one sentence.

    Raises:
        UserError: Memory ran out.
    """
    try:
        yield
    except (MemoryError, OSError, RuntimeError, ImportError) as error:
        if not _is_shortage(error):
            raise
        raise UserError(
            "there is not enough memory: close other programs, or use smaller batches "
            "(--set train.batch_size=...), smaller images or fewer of them"
        ) from error


def _is_shortage(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or any(message in str(error) for message in SHORTAGE_MESSAGES)
