"""Signals: a command ends within two seconds of the first one, with 128 + its number as the exit code.

The handler raises SystemExit, so that locks are released and temporary files removed; training finishes its step first
(`cli.terminal.Signals`). Python runs a handler only between two of its own instructions, and a call of a library can
take seconds (20,000 nearest neighbours, a large backward pass). A thread therefore repeats the signal, for a step that
takes too long, and finally ends the process.
"""

import _thread
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn

# From Ctrl-C, from `kill` or a shutdown, and (except on Windows) from a terminal that is closed.
NUMBERS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
PATIENCE_S = 1.2  # until the signal is repeated
LAST_S = 0.4  # from then until the process ends, whatever it does
WORKER_PATIENCE_S = 25.0  # of several workers, which stop after the same step; torchrun waits 30 s for them


class _Watch:
    """What the watching thread knows of the command.

    Attributes:
        is_installed: Whether the thread was started.
        patience: Seconds until a signal is repeated.
        overdue: Whether the signal was repeated.
        last_action: Called before the process is ended while its main thread still computes.
        temporary: The last temporary files and folders that were created.
    """

    def __init__(self) -> None:
        self.is_installed = False
        self.patience = PATIENCE_S
        self.overdue = False
        self.last_action: Callable[[], None] = lambda: None
        self.temporary: deque[str] = deque(maxlen=1_000)

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Note a temporary file or folder, whichever part of the program or of a library creates it."""
        if event in ("tempfile.mkstemp", "tempfile.mkdtemp"):
            self.temporary.append(arguments[0])


WATCH = _Watch()  # signals belong to the process


def caught_numbers() -> list[signal.Signals]:
    """Return the signals to handle: those that are not ignored, as nohup ignores SIGHUP."""
    return [number for number in NUMBERS if signal.getsignal(number) is not signal.SIG_IGN]


def install() -> None:
    """Let signals end this process, and watch that they do; nothing changes if they do already."""
    if WATCH.is_installed:
        return
    WATCH.is_installed = True
    sys.addaudithook(WATCH.audit)
    for number in caught_numbers():
        signal.signal(number, _exit)
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    # Not `Thread.start`: it waits for ever for a thread that lacks the memory to begin.
    with suppress(RuntimeError):  # without memory for a thread, a signal ends the command between two instructions
        _thread.start_new_thread(_watch, (reader, writer))
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)  # written to even while a library computes


def ignore() -> None:
    """Ignore the signals from now on: the command is ending already."""
    for number in caught_numbers():
        signal.signal(number, signal.SIG_IGN)


def end(code: int) -> NoReturn:
    """End this process at once: without what Python does at its end, which takes up to a second."""
    for path in list(WATCH.temporary):  # most have been moved or removed
        with suppress(OSError):
            shutil.rmtree(path, ignore_errors=True) if os.path.isdir(path) else os.unlink(path)
    os._exit(code)


def release() -> None:
    """Let the system end the process on a signal: the command has ended, and Python is about to."""
    for number in caught_numbers():
        signal.signal(number, signal.SIG_DFL)


def _exit(number: int, frame: FrameType | None) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    if number != signal.SIGINT and callable(handler) and handler is not _exit:
        signal.raise_signal(signal.SIGTERM)  # the explorer's server has a handler of its own, but none for SIGHUP
        return
    ignore()  # a second one would interrupt the removal of temporary files
    sys.exit(128 + number)


def _watch(reader: socket.socket, writer: socket.socket) -> None:
    """Wait for the first signal, repeat it if the process does not end, and then end the process."""
    number = reader.recv(1)[0]
    while number not in NUMBERS:
        number = reader.recv(1)[0]
    time.sleep(WATCH.patience)
    WATCH.overdue = True
    main_thread = threading.main_thread().ident
    if main_thread is not None and hasattr(signal, "pthread_kill"):
        signal.pthread_kill(main_thread, number)
    time.sleep(LAST_S)
    with suppress(Exception):  # the disk may be full
        WATCH.last_action()
    if multiprocessing := sys.modules.get("multiprocessing"):
        for child in multiprocessing.active_children():
            child.kill()
    end(128 + number)
