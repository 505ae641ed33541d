"""Remote images: in the memory file system of fsspec, and on an HTTP server."""

import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from infogan.data import has_test_split, load, prepare_shards
from infogan.data.readers import remote
from infogan.data.readers.remote import PrefetchingReader, Remote, parse_location
from infogan.utils.errors import UserError
from tests.data.readers.test_parquet import png, save
from tests.helpers import bar_images, image_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """40 images of two classes in two splits, two of them broken."""

    def path(number: int) -> str:
        return f"{'test' if number % 4 == 3 else 'train'}/{('lying', 'upright')[number % 2]}/{number}.png"

    return image_folder(tmp_path / "pictures", path, 40, (2, 20))


@pytest.fixture
def in_memory(folder: Path) -> Iterator[str]:
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/photos", recursive=True)
    memory.pipe("/photos/.hidden/1.png", b"hidden")
    memory.pipe("/photos/notes.txt", b"no image")
    yield "memory://photos"
    memory.rm("/photos", recursive=True)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of an HTTP server of ``tmp_path``."""
    application = Starlette(routes=[Mount("/", StaticFiles(directory=tmp_path))])
    server = uvicorn.Server(uvicorn.Config(application, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    (socket,) = server.servers[0].sockets
    yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    server.should_exit = True
    thread.join(20)


def test_a_remote_folder_is_read_like_a_local_one(folder: Path, in_memory: str) -> None:
    for split in ("train", "test"):
        local, distant = load(folder, split=split), load(in_memory, split=split)
        assert np.array_equal(local.images, distant.images)
        assert list(local.names) == list(distant.names)
        assert local.skipped == distant.skipped
        assert local.labels is not None
        np.testing.assert_array_equal(distant.labels, local.labels)
    assert has_test_split(in_memory)
    prepared = prepare_shards(in_memory, folder.parent / "prepared")
    assert prepared["train"].images == len(load(folder))
    assert np.array_equal(np.asarray(load(folder.parent / "prepared").images), load(folder).images)


def test_several_files_are_fetched_together_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = fsspec.filesystem("memory")
    names = [f"{number}.bin" for number in range(10)]
    for number, name in enumerate(names):
        memory.pipe(f"/many/{name}", bytes([number]) * 10)
    folder, request_sizes = Remote("memory://many"), []
    fetch = Remote.fetch

    def counted(self: Remote, requested: list[str]) -> dict[str, bytes | Exception]:
        request_sizes.append(len(requested))
        return fetch(self, requested)

    monkeypatch.setattr(Remote, "fetch", counted)
    monkeypatch.setattr(remote, "PREFETCH_FILES", 4)
    fetched = PrefetchingReader(folder, names, folder.find())
    assert [fetched(name) for name in names] == [bytes([number]) * 10 for number in range(10)]
    assert request_sizes == [4, 4, 2]
    assert fetched("3.bin") == bytes([3]) * 10  # also out of order
    monkeypatch.setattr(remote, "PREFETCH_BYTES", 25)
    request_sizes.clear()
    fetched = PrefetchingReader(folder, names, folder.find())
    assert [fetched(name)[0] for name in names[:5]] == list(range(5))
    assert request_sizes == [2, 2, 2]
    memory.rm("/many/9.bin")
    with pytest.raises(FileNotFoundError):
        fetched("9.bin")


def test_a_zip_and_a_table_are_read_from_a_web_server(folder: Path, served: str) -> None:
    archive = Path(shutil.make_archive(str(folder.parent / "photos"), "zip", folder))
    local, distant = load(archive), load(f"{served}/photos.zip")
    assert np.array_equal(local.images, distant.images)
    assert list(local.names) == list(distant.names)
    save(folder.parent / "images.parquet", [png(image) for image in bar_images(20)])
    assert np.array_equal(load(f"{served}/images.parquet").images, bar_images(20))
    prepared = prepare_shards(f"{served}/photos.zip", folder.parent / "prepared", workers=2)
    assert prepared["train"].images == len(local)


def test_file_addresses_are_paths(folder: Path) -> None:
    assert parse_location(folder.as_uri()) == folder
    assert parse_location("photos") == Path("photos")
    assert np.array_equal(load(folder.as_uri()).images, load(folder).images)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("github://someone:repo@/photos", "github://"),
        ("simplecache::http://127.0.0.1/x.zip", "kind of address"),
        ("memory://nothing/here", "memory://nothing/here does not exist"),
        ("http://127.0.0.1:9/photos.zip", "http://127.0.0.1:9/photos.zip"),
        ("memory://photos/notes.txt", "a folder, a .zip nor a .parquet"),
        ("gs://bucket/photos", r"pip install 'infogan\[remote\]'"),
    ],
)
def test_addresses_that_cannot_be_read_are_refused_in_one_line(
    in_memory: str, address: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)  # as if not installed
    with pytest.raises(UserError, match=message) as error:
        load(address, size=8, channels=1)
    assert "\n" not in str(error.value)


def test_a_lost_connection_is_an_error_and_skips_no_images(folder: Path, in_memory: str) -> None:
    def lost(self: Remote, requested: list[str]) -> dict[str, bytes | Exception]:
        return {name: ConnectionError("connection reset") for name in requested}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Remote, "fetch", lost)
        with pytest.raises(UserError, match="connection reset"):
            load(in_memory)
