"""How this process holds its memory: freed blocks are kept for the next step instead of being given back."""

import ctypes
import functools
import platform

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
