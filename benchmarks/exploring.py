"""The explorer in a process of its own, on a small run, and raw requests to it: for the fuzz and the soak."""

import atexit
import functools
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import h11

from infogan.api import train_run
from infogan.config import presets
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError

PATIENCE = 30.0  # seconds for an answer


def small_run(folder: Path, seed: int = 0) -> Path:
    """A run of some steps on digits, with everything that a long one has; a copy of one that is trained once."""
    shutil.copytree(_trained(seed), folder)
    return folder


@functools.cache
def _trained(seed: int) -> Path:
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    train_run.train_run(small_plan(seed), RunFolder.at(folder / "run"))
    return folder / "run"


def small_plan(seed: int = 0) -> train_run.Plan:
    """A run of some steps on 8x8 digits, with everything that a long one has."""
    settings = {
        "data": {"source": "digits"},
        "networks": {"width": 4},
        "train": {"steps": 8, "batch_size": 16, "log_every": 2, "sample_every": 4, "seed": seed},
    }
    return train_run.plan(presets.compose("robust", [settings]))


class Explored:
    """`infogan explore` of a run, until `stop`.

    Args:
        run: The run folder.
    """

    def __init__(self, run: Path) -> None:
        command = [sys.executable, "-m", "infogan", "explore", str(run)]
        self.said = open(run.parent / "said", "w+")  # noqa: SIM115
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.said, text=True)
        assert self.process.stdout is not None
        parts = urlsplit(self.process.stdout.readline().strip())
        self.port = parts.port or 0
        status, content = self.asked(f"GET /?{parts.query} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n\r\n".encode())
        found = re.search(rb"set-cookie: ([^;]+)", content)
        assert status == 303, content
        assert found
        self.cookie = found[1].decode()
        while not re.search(rb'"read":\s*1437', self.asked(self.request("GET", "/api/state"))[1]):
            time.sleep(0.1)

    def request(self, method: str, path: str, body: bytes = b"") -> bytes:
        """A request as it goes over the wire."""
        length = f"Content-Length: {len(body)}\r\n" if method == "POST" else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nCookie: {self.cookie}\r\n{length}\r\n"
        return head.encode() + body

    def asked(self, raw: bytes) -> tuple[int, bytes]:
        """The status of the answer to bytes, 0 where the connection was closed without one, and the answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as client:
            answer = bytearray()
            try:
                client.sendall(raw)
                if not complete(raw):  # else the server would wait for the rest
                    client.shutdown(socket.SHUT_WR)
                while not answered(answer):
                    piece = client.recv(2**16)
                    if not piece:
                        break
                    answer += piece
            except ConnectionError:
                pass
        found = re.match(rb"HTTP/1\.1 (\d{3})", answer)
        return (int(found[1]) if found else 0), bytes(answer)

    def memory(self) -> int:
        """Resident bytes of the process."""
        return resident(self.process.pid)

    def errors(self) -> str:
        """What the process wrote to its standard error."""
        return Path(self.said.name).read_text(errors="replace")

    def stop(self) -> None:
        """Ends it as Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.said.close()


def resident(process: int) -> int:
    """Bytes of memory that a process holds."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    assert found
    return int(found[1]) * 1024


def complete(raw: bytes) -> bool:
    """Whether bytes are a whole request, or none that will ever be."""
    connection = h11.Connection(h11.SERVER)
    if not raw:
        return False
    try:
        connection.receive_data(raw)
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                return False
            if isinstance(event, h11.EndOfMessage) or event is h11.PAUSED:
                return True
    except h11.RemoteProtocolError:
        return True


def answered(raw: bytes | bytearray) -> bool:
    """Whether bytes are a whole answer."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    connection.send(h11.EndOfMessage())
    if not raw:  # which would mean the end to h11
        return False
    try:
        connection.receive_data(bytes(raw))
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                return False
            if isinstance(event, h11.EndOfMessage):
                return True
    except h11.RemoteProtocolError:
        return True


def judged(explored: Explored, raw: bytes) -> object:
    """Sends a request that may be anything; raises UserError where it is refused.

    Raises:
        UserError: an answer of 4xx, or the connection was closed.
        AssertionError: an answer of 5xx, or the process is no more.
    """
    status, answer = explored.asked(raw)
    assert explored.process.poll() is None, "the server ended"
    assert status < 500, f"{status}: {answer[-200:]!r}"
    if status in (0, *range(400, 500)):
        raise UserError(f"answered {status}")
    return answer


def requests(explored: Explored, picture: bytes) -> tuple[bytes, ...]:
    """One whole request for each address."""
    view = "codes=3,0.5,-0.25&across=0&down=1&columns=10&rows=3&seed=7"
    get = [
        *("/", "/static/main.js", "/api/state", f"/api/lattice?{view}&asker=table&centre=1&zoom=2&way=0.5&pick=3"),
        *(f"/api/lattice.png?{view}", f"/api/traversal.gif?{view}&code=1", "/api/queue?count=20&from=10"),
        "/api/gallery?code=0&group=3&order=between&other=4&from=0&count=50",
        *("/api/image?place=5", "/api/evidence", "/api/picture?step=8&code=0", "/api/codes.csv", "/api/labels.csv"),
    ]
    post = {
        "/api/name": b'{"code": 0, "value": 3, "name": "seven"}',
        "/api/order": b'{"code": 0, "values": [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]}',
        "/api/join": b'{"code": 0, "values": [1, 2]}',
        "/api/label": b'{"place": 12, "label": "seven"}',
        "/api/undo": b'{"id": 1}',
        "/api/read": picture,
    }
    return (
        *(explored.request("GET", path) for path in get),
        *(explored.request("POST", path, body) for path, body in post.items()),
    )
