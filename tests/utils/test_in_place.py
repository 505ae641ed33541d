"""Outputs that are written to as they are: standard output, pipes and devices."""

import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from infogan.utils.errors import UserError
from infogan.utils.files import atomic_write, write_bytes
from infogan.utils.in_place import is_stdout, is_written_in_place

NEEDS_DESCRIPTORS = pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="this platform has no /dev/stdout")
NEEDS_PIPES = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no named pipes")
CONTENT = bytes(range(256)) * 1000  # more than a pipe holds

WRITE = """
import sys
from pathlib import Path
from infogan.utils.files import write_bytes
print("before")
write_bytes(Path(sys.argv[1]), b"\\xffcontent\\n")
print("after")
"""


def run_script(script: str, path: str | Path, **options: object) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-c", script, str(path)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    options["env"] = environment
    return subprocess.run(command, check=False, **{"capture_output": True, **options})  # type: ignore[call-overload, no-any-return]


@NEEDS_PIPES
@pytest.mark.parametrize("through_link", [False, True])
def test_a_pipe_is_written_to_and_stays(tmp_path: Path, through_link: bool) -> None:
    pipe = path = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    if through_link:
        path = tmp_path / "link.png"
        path.symlink_to("pipe.png")
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    write_bytes(path, CONTENT)
    reader.join()
    assert received == [CONTENT]
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    assert path.is_symlink() == through_link
    assert {entry.name for entry in tmp_path.iterdir()} == {"pipe.png", path.name}


@NEEDS_PIPES
def test_a_pipe_whose_reader_ends_is_a_user_error(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)

    def read_a_little() -> None:
        with open(pipe, "rb") as file:
            file.read(10)
        os.close(descriptor)

    reader = threading.Thread(target=read_a_little)
    reader.start()
    with pytest.raises(UserError, match=r"cannot write .*Broken pipe"):
        write_bytes(pipe, CONTENT)
    reader.join()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this platform has no /dev/full")
def test_devices_are_written_to_and_stay(tmp_path: Path) -> None:
    null = tmp_path / "null"
    null.symlink_to("/dev/null")
    for path in (Path("/dev/null"), null):
        write_bytes(path, CONTENT)
    assert stat.S_ISCHR(Path("/dev/null").lstat().st_mode)
    assert null.is_symlink()
    with pytest.raises(UserError, match="cannot write /dev/full: No space left"):
        write_bytes(Path("/dev/full"), CONTENT)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this platform has no sockets in folders")
def test_sockets_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket has 107 bytes at most
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        with pytest.raises(UserError, match="cannot write socket: it is a block device or a socket"):
            write_bytes(Path("socket"), CONTENT)
    assert stat.S_ISSOCK(Path("socket").lstat().st_mode)


@pytest.mark.skipif(not hasattr(os, "mknod"), reason="this platform cannot make devices")
def test_block_devices_are_refused(tmp_path: Path) -> None:
    try:
        os.mknod(tmp_path / "disk", stat.S_IFBLK | 0o600, os.makedev(7, 255))  # a loop device without a file
    except OSError:
        pytest.skip("only root may make devices")
    with pytest.raises(UserError, match="it is a block device"):
        write_bytes(tmp_path / "disk", CONTENT)
    assert stat.S_ISBLK((tmp_path / "disk").lstat().st_mode)


def test_an_error_within_a_write_writes_nothing(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with open(target, "wb") as file, pytest.raises(ZeroDivisionError):
        path = Path(f"/dev/fd/{file.fileno()}")
        if not path.exists():
            pytest.skip("this platform has no /dev/fd")
        with atomic_write(path) as temporary:
            temporary.write_bytes(CONTENT)
            raise ZeroDivisionError
    assert target.read_bytes() == b""


@NEEDS_DESCRIPTORS
@pytest.mark.parametrize("path", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
@pytest.mark.parametrize("redirected", [False, True])
def test_standard_output_is_written_to_in_order(tmp_path: Path, path: str, redirected: bool) -> None:
    if path.startswith("/proc") and not Path(path).exists():
        pytest.skip("this platform has no /proc")
    (tmp_path / "link").symlink_to("/dev/stdout")
    expected = b"earlier\nbefore\n\xffcontent\nafter\n"
    target = tmp_path / "target"
    target.write_bytes(b"earlier\n")
    if redirected:  # standard output is a regular file, which is neither replaced nor truncated
        with open(target, "ab") as file:
            ended = run_script(WRITE, path, cwd=tmp_path, stdout=file, capture_output=False)
        assert target.read_bytes() == expected
    else:
        ended = run_script(WRITE, path, cwd=tmp_path)
        assert b"earlier\n" + ended.stdout == expected
    assert ended.returncode == 0
    assert Path("/dev/stdout").is_symlink() or sys.platform != "linux"
    assert {entry.name for entry in tmp_path.iterdir()} == {"link", "target"}


def test_a_closed_standard_output_is_a_user_error(tmp_path: Path) -> None:
    script = WRITE.replace('print("before")', "import os; os.close(1)").replace('print("after")', "")
    ended = run_script(script, "-", cwd=tmp_path)
    assert b"UserError: cannot write -: Bad file descriptor" in ended.stderr


def test_ordinary_paths_are_replaced(tmp_path: Path) -> None:
    target, link, number = tmp_path / "target", tmp_path / "link", tmp_path / "1"
    target.write_text("old")
    number.write_text("old")
    link.symlink_to(target)
    for path in (target, link, number, tmp_path, tmp_path / "missing", tmp_path / "loop"):
        assert not is_written_in_place(path)
        assert not is_stdout(path)
    write_bytes(link, b"new")
    assert target.read_text() == "old"
    assert not link.is_symlink()
    (tmp_path / "loop").symlink_to("loop")
    assert not is_written_in_place(tmp_path / "loop")
