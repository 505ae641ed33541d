"""Processes that share the work of a command and end with it."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from infogan.utils.errors import UserError
from infogan.utils.processes import process_pool


def double(number: int) -> int:
    return 2 * number


def remember(path: Path) -> None:
    """Write down the process and how it handles signals."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    (path / str(os.getpid())).write_text(" ".join(str(signal.getsignal(number)) for number in numbers))


def test_a_pool_computes(tmp_path: Path) -> None:
    with process_pool(2, remember, (tmp_path,)) as pool:
        assert list(pool.map(double, range(3))) == [0, 2, 4]
    assert {path.read_text() for path in tmp_path.iterdir()} == {"1 0 1"}  # a signal is for the parent
    assert not multiprocessing.active_children()


def test_an_error_ends_the_processes_and_no_others() -> None:
    other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    other.start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), process_pool(2) as pool:
        pool.map(time.sleep, [60.0] * 4)
        time.sleep(0.2)
        raise KeyboardInterrupt
    assert time.monotonic() - started < 10
    assert multiprocessing.active_children() == [other]
    other.kill()
    other.join()


def test_a_process_that_ends_by_itself_is_reported() -> None:
    with pytest.raises(UserError, match="worker process ended"), process_pool(2) as pool:
        list(pool.map(os._exit, [3]))
