"""How this process holds its memory: freed blocks are kept for the next step instead of being given back."""

import ctypes
import functools
import platform

# Names and values of glibc's `mallopt` (malloc.h), and the largest that they may be.
MMAP_THRESHOLD, LARGEST_THRESHOLD = -3, 32 * 2**20
TRIM_THRESHOLD, NEVER = -1, 2**31 - 1
TOP_PAD, AT_ONCE = -2, 64 * 2**20


@functools.cache
def keep_freed_blocks() -> None:
    """Lets the C library keep memory that is freed, up to what was in use at once; elsewhere than under glibc, nothing.

    It gives large blocks back to the system at once, as it comes. A training step frees and asks for the same large
    blocks again and again, and the system has to clear each page anew: a tenth of a step of the paper's networks.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    library = ctypes.CDLL(None)
    library.mallopt(MMAP_THRESHOLD, LARGEST_THRESHOLD)
    library.mallopt(TRIM_THRESHOLD, NEVER)
    library.mallopt(TOP_PAD, AT_ONCE)
