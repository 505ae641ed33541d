"""Uploads: limits on size, time and memory, and the process that decodes them."""

import asyncio
import http.client
import io
import os
import signal
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from infogan.data.preprocess import Target
from infogan.explorer.decode_worker import DecodeWorker, UnreadableImage
from tests.explorer_client import ExplorerClient, explorer_process
from tests.helpers import image_set


@pytest.fixture(scope="module")
def worker() -> Iterator[DecodeWorker]:
    worker = DecodeWorker(timeout_s=200)
    yield worker
    worker.stop()


def decode(worker: DecodeWorker, content: bytes) -> NDArray[np.uint8]:
    return asyncio.run(worker.decode(content, Target(8, 1, "crop")))


def small_png() -> tuple[bytes, NDArray[np.uint8]]:
    pixels = image_set(1).images
    buffer = io.BytesIO()
    Image.fromarray(pixels[0, 0]).save(buffer, "PNG")
    return buffer.getvalue(), pixels


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """Return a PNG file with a size in its header and some chunks."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), *chunks, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


ZEROS = zlib.compress(bytes(200 * 2**20), 9)  # 200 KB that unpack to 200 MiB
BLACK = (b"IDAT", zlib.compress(bytes(72)))  # 8x8 pixels
HOSTILE = {
    "10000x10000": (png(10_000, 10_000, (b"IDAT", zlib.compress(bytes(10_001 * 10_000), 9))), {413}),
    "2^31": (png(2**31 - 1, 2**31 - 1, (b"IDAT", ZEROS)), {400, 413}),
    "more data than pixels": (png(8, 8, (b"IDAT", ZEROS)), {200, 400}),
    "long text": (png(8, 8, (b"zTXt", b"text\0\0" + ZEROS), BLACK), {200, 400}),
    "long profile": (png(8, 8, (b"iCCP", b"profile\0\0" + ZEROS), BLACK), {200, 400}),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n", {400}),
    "no image": (b"GIF89a", {400}),
    "empty": (b"", {400}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(worker: DecodeWorker, name: str) -> None:
    content, statuses = HOSTILE[name]
    try:
        decode(worker, content)
        status = 200
    except UnreadableImage as error:
        status = error.status_code
        assert "\n" not in error.detail
    assert status in statuses


@pytest.mark.integration
def test_hostile_uploads_leave_the_servers_memory_unchanged(digits_run: Path) -> None:
    with explorer_process(digits_run) as (client, process):
        client.log_in()
        client.state()
        client.post("/api/read", small_png()[0])
        before = process.memory()
        for content, statuses in [*HOSTILE.values(), (bytes(33 * 2**20), {413})]:
            try:
                status, answer = client.post("/api/read", content)
            except (http.client.IncompleteRead, ConnectionError):
                assert statuses == {413}  # the connection is closed while the body is sent, which can lose the answer
                continue
            assert status in statuses
            assert status == 200 or list(answer) == ["error"]
            assert process.memory() - before < 100 * 2**20
        assert client.get("/api/state")[0] == 200


def test_a_declared_length_beyond_the_limit_is_refused_at_once(client: ExplorerClient) -> None:
    headers = {"Cookie": client.cookie, "Content-Length": str(33 * 2**20)}
    assert client.request("/api/read", "POST", b"only the first bytes", headers)[0] == 413


def test_a_body_of_undeclared_length_is_cut_off(client: ExplorerClient) -> None:
    headers = {"Cookie": client.cookie, "Transfer-Encoding": "chunked"}
    chunk = b"%x\r\n%s\r\n" % (2**20, bytes(2**20))
    assert client.request("/api/read", "POST", chunk * 33, headers)[0] == 413


def slow_jpeg(scans: int = 3000) -> bytes:
    """Return a JPEG file of 200 KB that takes many seconds to decode: one scan many times."""
    buffer = io.BytesIO()
    Image.new("L", (5600, 5600), 128).save(buffer, "JPEG", progressive=True)
    content = buffer.getvalue()
    scan = content.rindex(b"\xff\xda")
    return content[:scan] + content[scan:-2] * scans + content[-2:]


@pytest.mark.parametrize(
    "worker",
    [
        DecodeWorker(cpu_seconds=1, timeout_s=200),
        pytest.param(DecodeWorker(cpu_seconds=100, timeout_s=1), marks=pytest.mark.integration),
    ],
    ids=["CPU time", "wall-clock time"],
)
def test_an_image_that_takes_too_long_is_refused_and_the_next_is_decoded(worker: DecodeWorker) -> None:
    content, pixels = small_png()
    try:
        with pytest.raises(UnreadableImage, match="seconds to decode") as caught:
            decode(worker, slow_jpeg())
        assert caught.value.status_code == 422
        assert np.array_equal(decode(worker, content), pixels)
    finally:
        worker.stop()


@pytest.mark.integration
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this platform cannot limit memory")
def test_an_image_that_takes_too_much_memory_is_refused() -> None:
    content = png(5000, 5000, (b"IDAT", zlib.compress(bytes(5001 * 5000), 9)))
    worker = DecodeWorker(memory_bytes=2**24)
    try:
        for _ in range(2):
            with pytest.raises(UnreadableImage, match="memory limit") as caught:
                decode(worker, content)
            assert caught.value.status_code == 413
    finally:
        worker.stop()


@pytest.mark.integration
@pytest.mark.parametrize(("mode", "kind"), [("RGBA", "PNG"), ("I;16", "PNG"), ("F", "TIFF")])
def test_the_largest_images_of_every_depth_are_decoded(worker: DecodeWorker, mode: str, kind: str) -> None:
    buffer = io.BytesIO()
    Image.new(mode, (5600, 5600)).save(buffer, kind, **({"compress_level": 1} if kind == "PNG" else {}))
    assert decode(worker, buffer.getvalue()).shape == (1, 1, 8, 8)


def test_modules_in_the_working_directory_are_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("multiprocessing", "numpy"):
        (tmp_path / f"{name}.py").write_text("open('imported', 'w')\nraise SystemExit\n")
    monkeypatch.chdir(tmp_path)
    worker = DecodeWorker(timeout_s=200)
    try:
        content, pixels = small_png()
        assert np.array_equal(decode(worker, content), pixels)
        assert not (tmp_path / "imported").exists()
    finally:
        worker.stop()


def test_a_killed_process_is_replaced(worker: DecodeWorker) -> None:
    content, pixels = small_png()
    assert np.array_equal(decode(worker, content), pixels)
    os.kill(worker._pid.result(), signal.SIGKILL)
    with pytest.raises(UnreadableImage, match="crashed"):
        decode(worker, content)
    assert np.array_equal(decode(worker, content), pixels)
