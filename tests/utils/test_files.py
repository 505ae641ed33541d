"""Files: writes that are complete or not done at all, and locks between processes."""

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infogan.utils.errors import UserError
from infogan.utils.files import (
    LOCK_NAME,
    TEMPORARY_LIFETIME_S,
    TEMPORARY_NAME,
    append_line,
    atomic_folder,
    atomic_write,
    file_lock,
    folder_lock,
    is_locked,
    make_output_folder,
    remove_temporary_files,
    to_json,
    write_bytes,
    write_json,
)

AS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
NEEDS_PERMISSIONS = pytest.mark.skipif(AS_ROOT, reason="root may write to read-only folders")


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """Return a folder that nobody but root may write to."""
    folder = tmp_path / "read-only"
    folder.mkdir()
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)


# Atomic writes.


def test_write_replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    for content in (b"one", b"two"):
        write_bytes(path, content)
        assert path.read_bytes() == content
    write_json(path, {"é": 1})
    assert path.read_bytes() == to_json({"é": 1}) == '{\n  "é": 1\n}\n'.encode()
    assert [entry.name for entry in path.parent.iterdir()] == ["a.json"]
    umask = os.umask(0o022)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_error_within_a_write_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_full_disk_is_a_user_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot write .*a\.txt: No space left"):
        write_bytes(path, b"new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_write_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="cannot write"):
        write_bytes(tmp_path / "folder", b"")
    write_bytes(tmp_path / "file", b"")
    with pytest.raises(UserError, match="cannot write"):
        write_bytes(tmp_path / "file" / "a", b"")
    with pytest.raises(UserError, match="cannot create the folder"):
        make_output_folder(tmp_path / "file" / "a")


def test_names_as_long_as_file_systems_allow_are_written(tmp_path: Path) -> None:
    for name in ("x" * 255, "é" * 125 + ".json", "a." + "x" * 253):
        write_bytes(tmp_path / name, b"content")
        assert (tmp_path / name).read_bytes() == b"content"
        with atomic_folder(tmp_path / "folder" / name) as temporary:
            assert TEMPORARY_NAME.fullmatch(temporary.name)
        assert (tmp_path / "folder" / name).is_dir()
    with atomic_write(tmp_path / ("é" * 125 + ".json")) as temporary:
        assert temporary.suffix == ".json"
        assert TEMPORARY_NAME.fullmatch(temporary.name)


def test_folder_does_not_replace_what_is_no_folder(tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("precious")
    link.symlink_to("/dev/null")
    for path in (file, link):
        with pytest.raises(UserError, match="it is not a folder"), atomic_folder(path):
            pytest.fail("it was begun")
    assert file.read_text() == "precious"
    assert link.is_symlink()


def test_text_that_is_not_utf_8_is_written_with_escapes(tmp_path: Path) -> None:
    value = {"name": os.fsdecode(b"caf\xe9"), "other": "\ud800é"}
    write_json(tmp_path / "a.json", value)
    assert json.loads((tmp_path / "a.json").read_bytes()) == value
    append_line(tmp_path / "a.txt", value["name"])
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "caf\\udce9\n"


def test_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for name in ("one", "two"):
        with atomic_folder(path) as temporary:
            (temporary / name).touch()
        assert [entry.name for entry in path.iterdir()] == [name]
    with pytest.raises(ZeroDivisionError), atomic_folder(path) as temporary:
        (temporary / "three").touch()
        raise ZeroDivisionError
    assert [entry.name for entry in path.iterdir()] == ["two"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_folder_is_put_back_if_it_cannot_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.mkdir()
    (path / "old").touch()
    rename = os.rename

    def failing(source: Path, target: Path) -> None:
        if target == path and source.suffix == ".tmp":
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(UserError, match="Input/output error"), atomic_folder(path) as temporary:
        (temporary / "new").touch()
    assert [entry.name for entry in path.iterdir()] == ["old"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_old_temporary_files_are_removed(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    old, recent = tmp_path / "below" / ".a.json.ab_d3f9x.json", tmp_path / ".a.json.zzzzzzzz.json"
    foreign = tmp_path / ".gitignore"
    for path in (old, recent, foreign):
        path.touch()
    for path in (old, foreign):
        os.utime(path, (time.time() - TEMPORARY_LIFETIME_S - 10,) * 2)
    remove_temporary_files(tmp_path)
    assert [path.exists() for path in (old, recent, foreign)] == [False, True, True]
    remove_temporary_files(tmp_path / "nothing")


# Lines.


def test_lines_are_appended_and_torn_ones_end(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for line in ("first", "second"):
        append_line(path, line)
    assert path.read_text() == "first\nsecond\n"
    path.write_text("first\nsec")
    append_line(path, "third")
    assert path.read_text() == "first\nsec\nthird\n"
    with pytest.raises(UserError, match="cannot write"):
        append_line(tmp_path, "a folder")


def test_lines_are_not_appended_through_links(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("precious")
    link.symlink_to(target)
    with pytest.raises(UserError, match="cannot write"):
        append_line(link, "line")
    assert target.read_text() == "precious"


# Locks of files.

HOLD = """
import sys, time
from pathlib import Path
from infogan.utils.files import file_lock, folder_lock
path = Path(sys.argv[1])
with folder_lock(path) if path.is_dir() else file_lock(path, "the run"):
    print("locked", flush=True)
    time.sleep(600)
"""


@contextmanager
def locked_by_another_process(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Let another process hold the lock of a file, or of a folder that exists."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_lock_names_its_holder_and_ends_with_it(tmp_path: Path) -> None:
    path = tmp_path / "writer.json"
    with locked_by_another_process(path) as process:
        assert is_locked(path)
        holder = json.loads(path.read_text())
        assert holder["pid"] == process.pid
        sentence = f"the run is being written by process {process.pid} on {holder['host']}, since {holder['since']}"
        with pytest.raises(UserError, match=sentence), file_lock(path, "the run"):
            pytest.fail("it was locked twice")
        assert json.loads(path.read_text()) == holder
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not is_locked(path)
    with file_lock(path, "the run"):
        assert json.loads(path.read_text())["pid"] == os.getpid()
        assert is_locked(path)
    assert not is_locked(path)


def test_lock_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "writer.json"
    with locked_by_another_process(path) as process:
        started = time.monotonic()
        with pytest.raises(UserError, match="is being written by"), file_lock(path, "the run", timeout=0.3):
            pytest.fail("it was locked twice")
        assert time.monotonic() - started >= 0.3
        timer = threading.Timer(0.2, process.kill)
        timer.start()
        with file_lock(path, "the run", timeout=30):
            assert json.loads(path.read_text())["pid"] == os.getpid()
        timer.join()


def test_errors_within_a_lock_are_not_errors_of_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "writer.json"
    with pytest.raises(FileNotFoundError), file_lock(path, "the run"):
        (tmp_path / "missing").read_bytes()
    assert not is_locked(path)


def test_lock_in_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "writer.json"
    with pytest.raises(UserError, match=r"cannot write .*No such file"), file_lock(path, "the run"):
        pytest.fail("it was locked")
    assert not path.parent.exists()
    assert not is_locked(path)


def test_damaged_lock_file_can_be_locked(tmp_path: Path) -> None:
    path = tmp_path / "writer.json"
    path.write_text("torn {")
    with file_lock(path, "the run"):
        path.write_text("torn {")
        with pytest.raises(UserError, match="is being written by another process"), file_lock(path, "the run"):
            pytest.fail("it was locked twice")


def test_link_as_lock_file_is_refused(tmp_path: Path) -> None:
    target, path = tmp_path / "target", tmp_path / "writer.json"
    target.write_text("precious")
    path.symlink_to(target)
    with pytest.raises(UserError, match="cannot write"), file_lock(path, "the run"):
        pytest.fail("it was locked")
    target.unlink()
    with pytest.raises(UserError, match="cannot write"), file_lock(path, "the run"):
        pytest.fail("it was locked")
    assert not target.exists()  # was not created through the link


@NEEDS_PERMISSIONS
def test_lock_in_a_read_only_folder_is_refused(read_only: Path) -> None:
    with pytest.raises(UserError, match="cannot write"), file_lock(read_only / "writer.json", "the run"):
        pytest.fail("it was locked")


# Locks of folders.


def test_folder_lock_waits_for_other_processes(tmp_path: Path) -> None:
    with locked_by_another_process(tmp_path) as process:
        timer = threading.Timer(0.3, process.kill)
        started = time.monotonic()
        timer.start()
        with folder_lock(tmp_path):
            assert time.monotonic() - started >= 0.3
        timer.join()
    assert (tmp_path / LOCK_NAME).is_file()


def test_folder_lock_does_nothing_if_there_is_no_folder(tmp_path: Path) -> None:
    with folder_lock(tmp_path / "missing"):
        assert not (tmp_path / "missing").exists()


@NEEDS_PERMISSIONS
def test_folder_lock_does_nothing_in_a_read_only_folder(read_only: Path) -> None:
    with folder_lock(read_only):
        assert list(read_only.iterdir()) == []


def test_locks_do_nothing_on_file_systems_without_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object, **__: object) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr("infogan.utils.files.FileLock.acquire", unsupported)
    with folder_lock(tmp_path):
        pass


def test_folder_lock_through_a_link_is_not_taken(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (tmp_path / LOCK_NAME).symlink_to(target)
    with folder_lock(tmp_path):
        pass
    assert not target.exists()


def test_errors_within_a_folder_lock_are_raised(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="the disk"), folder_lock(tmp_path):
        raise OSError("the disk")
    with pytest.raises(NotImplementedError), folder_lock(tmp_path):
        raise NotImplementedError
