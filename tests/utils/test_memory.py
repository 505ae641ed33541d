"""Freed memory is kept: whether the C library took what it was told. What it gains is for `benchmarks.speed`.

And where there is not enough, that is said in a sentence.
"""

import errno
import platform
import subprocess
import sys

import numpy as np
import pytest
import torch

from infogan.utils import memory
from infogan.utils.errors import UserError
from infogan.utils.memory import report_memory_shortage


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library, which is left as it is")
def test_the_c_library_takes_what_it_is_told() -> None:
    script = "from infogan import memory; print(memory.keep_freed_blocks())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "True"


def test_another_c_library_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))
    memory.keep_freed_blocks.cache_clear()
    assert memory.keep_freed_blocks() is False
    memory.keep_freed_blocks.cache_clear()


@pytest.mark.parametrize(
    "shortage",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("could not create a primitive"),
        ImportError("libx.so: failed to map segment from shared object"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: 8 bytes"),
    ],
)
def test_a_shortage_is_told_in_a_sentence(shortage: Exception) -> None:
    with (
        pytest.raises(UserError, match=r"^there is not enough memory: [^\n]*batch_size[^\n]*$"),
        report_memory_shortage(),
    ):
        raise shortage


def test_real_shortages_are_known_and_nothing_else_is_taken_for_one() -> None:
    huge = 2**58  # numbers; more is no size at all
    for ask in (lambda: np.empty(huge), lambda: torch.empty(huge), lambda: bytearray(2**62)):
        with pytest.raises(UserError, match="not enough memory"), report_memory_shortage():
            ask()
    for other in (OSError(errno.ENOENT, "no such file"), RuntimeError("shapes differ"), ValueError("memory")):
        with pytest.raises(type(other)) as caught, report_memory_shortage():
            raise other
        assert caught.value is other
