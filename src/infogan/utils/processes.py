"""Processes that share the work of a command and end with it."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from infogan.utils.errors import UserError


@contextmanager
def process_pool(
    workers: int, initializer: Callable[..., None] | None = None, arguments: tuple[Any, ...] = ()
) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of processes; after an error or a signal they are killed, whatever they do.

    Args:
        workers: Number of processes.
        initializer: Called at the start of each process.
        arguments: Its arguments.

    Raises:
        UserError: A process ended by itself, e.g. because memory ran out.

    Example:
        >>> with process_pool(2) as pool:
        ...     sizes = list(pool.map(os.path.getsize, paths))
    """
    others = set(multiprocessing.active_children())
    # A fork of a process with threads (of PyTorch, of JAX in the caller's script) may deadlock.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _start, (initializer, arguments))
    try:
        yield pool
    except BaseException as error:
        for process in set(multiprocessing.active_children()) - others:
            process.kill()
        if isinstance(error, BrokenProcessPool):
            raise UserError(
                "a worker process ended unexpectedly, perhaps because memory ran out: use fewer --workers"
            ) from error
        raise
    finally:
        pool.shutdown(cancel_futures=True)


# In a worker process.


def _start(initializer: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    for number in (signal.SIGINT, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])):
        signal.signal(number, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    if initializer is not None:
        initializer(*arguments)


def _exit_with_parent() -> None:
    """End this process when its parent was killed; it would wait for work forever, and keep the parent's locks."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
