"""Decodes pictures in a process of its own: one that takes too long, or too much memory, ends nothing else.

``python -m infogan.explorer.decoding MEMORY SECONDS`` says ``ready`` and then answers requests, one after the other,
until its input ends. Each is a line of JSON and raw bytes: a request says ``bytes``, ``size``, ``channels`` and ``fit``
and brings the picture's file, an answer says ``status``, as HTTP has it, and brings the ``bytes`` of the pixels, or has
an ``error``. `uploads` is at the other end.
"""

import contextlib
import io
import json
import math
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from infogan.data.preprocess import TooLarge, opened, reason, render

try:
    import resource
except ModuleNotFoundError:  # not on Windows
    resource = None  # type: ignore[assignment]

MOST_PIXELS = 32 * 2**20  # 128 MiB as RGBA; a JPEG is decoded at a fraction of that
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")  # what browsers and cameras make, and no more decoders


class Unreadable(Exception):
    """A picture that can not be decoded; ``status`` is HTTP's."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


def decoded(content: bytes, size: int, channels: int, fit: str) -> bytes:
    """The pixels of a picture's file: bytes, row by row, of one channel after the other.

    Raises:
        Unreadable: it is no picture, a broken one, or a larger one than is decoded.
    """
    try:
        with opened(io.BytesIO(content), most_pixels=MOST_PIXELS, formats=FORMATS) as picture:
            return render(picture, size, channels, fit).tobytes()
    except (TooLarge, Image.DecompressionBombError) as error:
        raise Unreadable(f"the picture is too large: {str(error).splitlines()[0]}", 413) from None
    except MemoryError:
        raise Unreadable("the picture is too large: it takes more memory to decode than it is given", 413) from None
    except Exception as error:  # Pillow's decoders raise nearly anything on a broken file
        raise Unreadable(f"the picture can not be read: {reason(error).splitlines()[0]}", 400) from None


def answer(requests: BinaryIO, answers: BinaryIO, seconds: int) -> None:
    """Answers until the requests end, or one of them takes more than ``seconds``."""
    while line := requests.readline():
        asked = json.loads(line)
        limit_time(seconds)
        content = requests.read(asked["bytes"])
        head: dict[str, Any]
        try:
            pixels = decoded(content, asked["size"], asked["channels"], asked["fit"])
            head = {"status": 200, "bytes": len(pixels)}
        except Unreadable as error:
            pixels, head = b"", {"status": error.status, "bytes": 0, "error": str(error)}
        answers.write(json.dumps(head).encode() + b"\n" + pixels)
        answers.flush()


def limit_memory(more: int) -> None:
    """Lets this process take so many bytes more than it has; where the platform knows no such limit, any number."""
    if resource is not None:
        with contextlib.suppress(OSError, ValueError):
            now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (now + more, resource.getrlimit(resource.RLIMIT_AS)[1]))


def limit_time(more: int) -> None:
    """Ends this process once it has computed for so many seconds more, where the platform knows such a limit.

    Of its own time: on a machine that does much else, a picture takes longer by the clock.
    """
    if resource is not None:
        with contextlib.suppress(OSError, ValueError):
            soft = math.ceil(time.process_time()) + more
            resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


if __name__ == "__main__":
    Image.init()  # the decoders are loaded before memory is counted
    limit_memory(int(sys.argv[1]))
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # what is ended for its time leaves none of its memory behind
    sys.stdout.buffer.write(b"ready\n")
    sys.stdout.buffer.flush()
    answer(sys.stdin.buffer, sys.stdout.buffer, int(sys.argv[2]))
