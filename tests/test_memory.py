"""Freed memory is kept: whether the C library took what it was told. What it gains is for `benchmarks.speed`."""

import platform
import subprocess
import sys

import pytest

from infogan import memory


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
