"""A picture from a browser, decoded by another process within bounds, in the shape that a model reads."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

import infogan
from infogan.explorer.decoding import Unreadable
from infogan.models.infogan import InfoGAN

MOST_BYTES = 32 * 2**20
LONGEST = 10  # seconds that a picture may take of a processor
PATIENCE = 60  # seconds by the clock, where the platform counts no others or is busy; and until a decoder is ready
MOST_MEMORY = 2**30  # bytes that a picture may take: the largest in the deepest format takes three quarters of that
OUT_OF_TIME = getattr(signal, "SIGXCPU", 0)  # ends who has used up a processor's seconds


class Decoder:
    """A process that decodes, kept warm, and replaced when it is ended. For one thread.

    Args:
        longest: Seconds that a picture may take of a processor, where the platform can tell.
        memory: Bytes that it may take, where the platform can tell.
        patience: Seconds that it may take by the clock.
    """

    def __init__(self, longest: int = LONGEST, memory: int = MOST_MEMORY, patience: int = PATIENCE) -> None:
        self._longest, self._memory, self._patience = longest, memory, patience
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = self._closed = False

    def start(self) -> None:
        """Begins a process where there is none, and does not wait for it."""
        if self._closed or (self._process is not None and self._process.poll() is None):
            return
        self._end()
        # The package is found where it is, and nothing in the folder that the user happens to be in.
        places = [str(Path(infogan.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "infogan.explorer.decoding", str(self._memory), str(self._longest)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Threads of a library for linear algebra that is not used would count as memory.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places)), "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is for the server, whose end ends this
        )

    def decode(self, content: bytes, model: InfoGAN, fit: str = "crop") -> NDArray[np.uint8]:
        """A picture's file as uint8 (1, channels, height, width).

        Raises:
            Unreadable: it is no picture, a broken one, or one that takes more time or memory than it is given.
        """
        self.start()
        process, shape = self._process, model.shape
        if process is None:
            raise Unreadable("the explorer is ending", 503)
        asked = {"bytes": len(content), "size": shape.size, "channels": shape.channels, "fit": fit}
        if not self._ready:
            with _killed_after(PATIENCE, process):
                self._ready = _output(process).readline() == b"ready\n"
        began = time.monotonic()
        with _killed_after(self._patience, process):
            head, pixels = _answer(process, json.dumps(asked).encode() + b"\n" + content)
        if head is None:
            late = time.monotonic() - began >= self._patience
            self._end()
            self.start()  # so that the next picture finds it warm
            if late or process.returncode == -OUT_OF_TIME:
                raise Unreadable(f"the picture takes more than {self._longest} seconds to decode", 422)
            raise Unreadable("the picture can not be read: its decoder broke on it", 400)
        if head["status"] != 200:
            raise Unreadable(head["error"], head["status"])
        return np.frombuffer(bytearray(pixels), np.uint8).reshape(1, shape.channels, shape.size, shape.size)

    def stop(self) -> None:
        """Ends the process, for good, and what is being decoded with it; from any thread."""
        self._closed = True
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """Ends the process, for good; when nothing is being decoded."""
        self._closed = True
        self._end()

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):  # what was not sent yet
                        stream.close()
            self._process.wait()
        self._process, self._ready = None, False


@contextlib.contextmanager
def _killed_after(seconds: float, process: subprocess.Popen[bytes]) -> Iterator[None]:
    clock = threading.Timer(seconds, process.kill)
    clock.start()
    try:
        yield
    finally:
        clock.cancel()


def _output(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdout is not None
    return process.stdout


def _answer(process: subprocess.Popen[bytes], request: bytes) -> tuple[dict[str, Any] | None, bytes]:
    """What a process answers, and the bytes that follow; None where it ended before it had."""
    assert process.stdin is not None
    with contextlib.suppress(OSError):  # it has ended: there will be no answer
        process.stdin.write(request)
        process.stdin.flush()
    line = _output(process).readline()
    if not line.endswith(b"\n"):
        return None, b""
    head = json.loads(line)
    content = _output(process).read(head["bytes"])
    return (head, content) if len(content) == head["bytes"] else (None, b"")
