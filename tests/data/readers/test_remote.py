"""Images that are elsewhere: in memory as fsspec keeps it, and behind a real server."""

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
from tests.commands import infogan
from tests.data.readers.test_parquet import png, save
from tests.helpers import picture_folder, pictures


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """40 pictures of two classes in two splits, of which two are broken."""

    def place(number: int) -> str:
        return f"{'test' if number % 4 == 3 else 'train'}/{('lying', 'upright')[number % 2]}/{number}.png"

    return picture_folder(tmp_path / "pictures", place, 40, (2, 20))


@pytest.fixture
def in_memory(folder: Path) -> Iterator[str]:
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/photos", recursive=True)
    memory.pipe("/photos/.hidden/1.png", b"hidden")
    memory.pipe("/photos/notes.txt", b"no picture")
    yield "memory://photos"
    memory.rm("/photos", recursive=True)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of what is in ``tmp_path``."""
    application = Starlette(routes=[Mount("/", StaticFiles(directory=tmp_path))])
    server = uvicorn.Server(uvicorn.Config(application, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not server.started and time.monotonic() < until:
        time.sleep(0.01)
    (listening,) = server.servers[0].sockets
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(20)


def test_a_remote_folder_is_read_as_one_that_is_here(folder: Path, in_memory: str) -> None:
    for split in ("train", "test"):
        here, there = load(folder, split=split), load(in_memory, split=split)
        assert np.array_equal(here.images, there.images)
        assert list(here.names) == list(there.names)
        assert here.skipped == there.skipped
        assert here.labels is not None
        assert there.labels is not None
        assert np.array_equal(here.labels, there.labels)
    assert has_test_split(in_memory)
    made = prepare_shards(in_memory, folder.parent / "prepared")
    assert made["train"].images == len(load(folder))
    assert np.array_equal(np.asarray(load(folder.parent / "prepared").images), load(folder).images)


def test_files_are_fetched_together_and_not_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = fsspec.filesystem("memory")
    names = [f"{number}.bin" for number in range(10)]
    for number, name in enumerate(names):
        memory.pipe(f"/many/{name}", bytes([number]) * 10)
    folder, asked = Remote("memory://many"), []
    fetch = Remote.fetch

    def remember(self: Remote, wanted: list[str]) -> dict[str, bytes | Exception]:
        asked.append(len(wanted))
        return fetch(self, wanted)

    monkeypatch.setattr(Remote, "fetch", remember)
    monkeypatch.setattr(remote, "PREFETCH_FILES", 4)
    fetched = PrefetchingReader(folder, names, folder.find())
    assert [fetched(name) for name in names] == [bytes([number]) * 10 for number in range(10)]
    assert asked == [4, 4, 2]
    assert fetched("3.bin") == bytes([3]) * 10  # also when asked out of order
    monkeypatch.setattr(remote, "PREFETCH_BYTES", 25)
    asked.clear()
    fetched = PrefetchingReader(folder, names, folder.find())
    assert [fetched(name)[0] for name in names[:5]] == list(range(5))
    assert asked == [2, 2, 2]
    memory.rm("/many/9.bin")
    with pytest.raises(FileNotFoundError):
        fetched("9.bin")


def test_a_zip_and_a_table_on_the_web(folder: Path, served: str) -> None:
    archive = Path(shutil.make_archive(str(folder.parent / "photos"), "zip", folder))
    here, there = load(archive), load(f"{served}/photos.zip")
    assert np.array_equal(here.images, there.images)
    assert list(here.names) == list(there.names)
    save(folder.parent / "images.parquet", [png(image) for image in pictures(20)])
    assert np.array_equal(load(f"{served}/images.parquet").images, pictures(20))
    made = prepare_shards(f"{served}/photos.zip", folder.parent / "prepared", workers=2)
    assert made["train"].images == len(here)


def test_an_address_of_this_machine_is_a_path(folder: Path) -> None:
    assert parse_location(folder.as_uri()) == folder
    assert parse_location("photos") == Path("photos")
    assert infogan("data", "prepare", folder.as_uri(), folder.parent / "made.npz").returncode == 0
    assert np.array_equal(load(folder.parent / "made.npz").images, load(folder).images)


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("github://someone:repo@/photos", "kind of address 'github://'"),
        ("simplecache::http://127.0.0.1/x.zip", "kind of address"),
        ("memory://nothing/here", "there is nothing at memory://nothing/here"),
        ("http://127.0.0.1:9/photos.zip", r"http://127.0.0.1:9/photos.zip can not be reached"),
        ("memory://photos/notes.txt", "is neither a folder, a .zip nor a .parquet"),
        ("gs://bucket/photos", r"pip install 'infogan\[remote\]'"),
    ],
)
def test_an_address_that_can_not_be_read_is_refused_in_a_sentence(
    in_memory: str, address: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)  # as if it were not installed
    with pytest.raises(UserError, match=sentence) as caught:
        load(address, size=8, channels=1)
    assert "\n" not in str(caught.value)


def test_a_server_that_goes_away_is_no_reason_to_skip_what_it_had(folder: Path, in_memory: str) -> None:
    def lost(self: Remote, wanted: list[str]) -> dict[str, bytes | Exception]:
        return {name: ConnectionError("connection reset") for name in wanted}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Remote, "fetch", lost)
        with pytest.raises(UserError, match="can not be reached: connection reset"):
            load(in_memory)
