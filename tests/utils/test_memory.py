"""Memory: the C library keeps what is freed, containers have limits, and a shortage is one sentence."""

import errno
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from infogan.utils import memory
from infogan.utils.errors import UserError
from infogan.utils.memory import report_memory_shortage, usable_bytes


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library, which is left alone")
def test_c_library_accepts_the_settings() -> None:
    script = "from infogan.utils import memory; print(memory.keep_freed_blocks())"
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert process.stdout.strip() == "True"


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))
    memory.keep_freed_blocks.cache_clear()
    assert memory.keep_freed_blocks() is False
    memory.keep_freed_blocks.cache_clear()


def test_usable_memory_is_limited_by_the_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr("infogan.utils.memory.CGROUP_LIMIT", limit)
    physical = usable_bytes()  # without a container
    assert physical > 1e8
    for text, expected in (("max\n", physical), (f"{2 * physical}\n", physical), ("1000000\n", 1_000_000)):
        limit.write_text(text)
        assert usable_bytes() == expected


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("could not create a primitive"),
        ImportError("libx.so: failed to map segment from shared object"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: 8 bytes"),
    ],
)
def test_shortage_is_one_sentence_with_a_remedy(error: Exception) -> None:
    with (
        pytest.raises(UserError, match=r"^there is not enough memory: [^\n]*batch_size[^\n]*$"),
        report_memory_shortage(),
    ):
        raise error


def test_real_shortages_are_recognised() -> None:
    huge = 2**58  # numbers; NumPy and PyTorch refuse larger sizes as such
    for allocate in (lambda: np.empty(huge), lambda: torch.empty(huge), lambda: bytearray(2**62)):
        with pytest.raises(UserError, match="not enough memory"), report_memory_shortage():
            allocate()


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOENT, "no such file"), RuntimeError("shapes differ"), ValueError("memory")]
)
def test_other_errors_are_not_changed(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, report_memory_shortage():
        raise error
    assert caught.value is error
