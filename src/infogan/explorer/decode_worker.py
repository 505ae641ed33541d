"""Decoding of uploaded images in a separate process with limits on time and memory.

A hostile file can crash or kill only that process, which is then replaced.
"""

import asyncio
import contextlib
import io
import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from starlette.exceptions import HTTPException

from infogan.data.preprocess import ImageTooLargeError, Target, error_reason, open_image, render

try:
    import resource
except ModuleNotFoundError:  # not on Windows
    resource = None  # type: ignore[assignment]

MAX_PIXELS = 32 * 2**20  # 128 MiB as RGBA; a JPEG is decoded at a fraction of its size
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")  # what browsers and cameras write; other decoders stay unused
CPU_SECONDS = 10  # for one image
MEMORY_BYTES = 2**30  # for one image: the largest in the deepest format takes three quarters of that
TIMEOUT_S = 60.0  # wall-clock limit for one image, and for the start of the process


class UnreadableImage(HTTPException):
    """An upload that cannot be decoded, with the HTTP status and one sentence for the user."""


class DecodeWorker:
    """A process that decodes one image at a time; it is replaced if it dies or takes too long.

    Args:
        cpu_seconds: CPU time limit for one image, where the platform has one.
        memory_bytes: Memory limit for one image, where the platform has one.
        timeout_s: Wall-clock limit for one image in seconds.
    """

    def __init__(
        self, cpu_seconds: int = CPU_SECONDS, memory_bytes: int = MEMORY_BYTES, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._cpu_seconds, self._memory_bytes, self._timeout_s = cpu_seconds, memory_bytes, timeout_s
        self._pool: ProcessPoolExecutor | None = None
        self._pid: Future[int] = Future()
        self._turn = asyncio.Lock()

    def start(self) -> None:
        """Start the process if it is not running, without waiting for it."""
        if self._pool is None:
            context = multiprocessing.get_context("spawn")  # the child inherits no sockets, threads or memory
            with _safe_path():
                self._pool = ProcessPoolExecutor(1, context, _limit_process, (self._memory_bytes,))
                self._pid = self._pool.submit(os.getpid)

    async def decode(self, content: bytes, target: Target, *, enlarge: bool = True) -> NDArray[np.uint8]:
        """Decode an image file to uint8 pixels (1, channels, size, size), as a target says.

        Args:
            content: The file.
            target: What it is converted to.
            enlarge: Whether an image that is smaller than the target is enlarged.

        Raises:
            UnreadableImage: not an image, a damaged one, or one that exceeds a limit.
        """
        async with self._turn:
            self.start()
            pool, start = self._pool, time.monotonic()
            assert pool is not None
            try:
                await asyncio.wait_for(asyncio.wrap_future(self._pid), TIMEOUT_S)
                start = time.monotonic()
                job = asyncio.wrap_future(pool.submit(decode, content, target, self._cpu_seconds, enlarge=enlarge))
                return (await asyncio.wait_for(job, self._timeout_s))[np.newaxis]
            except (BrokenProcessPool, TimeoutError):
                seconds = time.monotonic() - start
                if self._pool is pool:  # else `stop` ended it
                    self.stop()
                    self.start()  # ready for the next image
        if seconds >= min(self._cpu_seconds, self._timeout_s):
            raise UnreadableImage(422, f"the image takes more than {self._cpu_seconds} seconds to decode")
        raise UnreadableImage(400, "the image cannot be read: its decoder crashed")

    def stop(self) -> None:
        """Kill the process and what it is decoding."""
        if self._pool is None:
            return
        if self._pid.done() and not self._pid.cancelled() and not self._pid.exception():
            with contextlib.suppress(OSError):  # it has ended already
                os.kill(self._pid.result(), getattr(signal, "SIGKILL", signal.SIGTERM))
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = None


@contextlib.contextmanager
def _safe_path() -> Iterator[None]:
    """Keep processes that are started meanwhile from importing modules in the working directory.

    Multiprocessing starts Python with ``-c``, which would search there first, e.g. in a run folder from a stranger.
    """
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before


# In the worker process.


def _limit_process(memory_bytes: int) -> None:
    """Prepare the worker process: load the decoders, limit its memory, and end it together with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends this process
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    Image.init()  # decoders are loaded before memory is counted
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError, ValueError):  # the platform cannot tell or limit memory
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            _set_soft_limit(resource.RLIMIT_AS, pages * resource.getpagesize() + memory_bytes)


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def decode(content: bytes, target: Target, cpu_seconds: int, *, enlarge: bool = True) -> NDArray[np.uint8]:
    """Decode an image file to uint8 pixels (channels, size, size); the process is killed after ``cpu_seconds``.

    See `DecodeWorker.decode` for the arguments.

    Raises:
        UnreadableImage: not an image, a damaged one, or one that is too large.
    """
    if resource is not None:
        # CPU time, because wall-clock time depends on what else the machine does.
        _set_soft_limit(resource.RLIMIT_CPU, math.ceil(time.process_time()) + cpu_seconds)
    try:
        with open_image(io.BytesIO(content), max_pixels=MAX_PIXELS, formats=FORMATS) as image:
            if not enlarge:
                target = target._replace(size=min(target.size, *image.size))
            return render(image, *target)
    except (ImageTooLargeError, Image.DecompressionBombError) as error:
        raise UnreadableImage(413, f"the image is too large: {str(error).splitlines()[0]}") from None
    except MemoryError:
        raise UnreadableImage(413, "the image is too large: decoding it exceeds the memory limit") from None
    except Exception as error:  # Pillow's decoders raise nearly anything on a damaged file
        raise UnreadableImage(400, f"the image cannot be read: {error_reason(error).splitlines()[0]}") from None


def _set_soft_limit(kind: int, value: int) -> None:
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(kind, (value, resource.getrlimit(kind)[1]))
