"""The explorer in a separate process on a small run, and raw requests to it, for the fuzz and soak benchmarks."""

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

from infogan.api import resolve, train_run
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError

TIMEOUT_S = 30.0  # for an answer


def small_run(folder: Path, seed: int = 0) -> Path:
    """Copy a short run on digits, which is trained once, to a folder."""
    shutil.copytree(_trained(seed), folder)
    return folder


@functools.cache
def _trained(seed: int) -> Path:
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    train_run.train_run(small_plan(seed), RunFolder.at(folder / "run"))
    return folder / "run"


def small_plan(seed: int = 0) -> resolve.Plan:
    """Return the plan of a short run on 8x8 digits that writes everything a long run writes."""
    settings = {
        "data": {"source": "digits"},
        "networks": {"width": 4},
        "train": {"steps": 8, "batch_size": 16, "log_every": 2, "sample_every": 4, "seed": seed},
        "evaluation": {"samples": 300, "bootstrap_draws": 20},
    }
    return train_run.plan(resolve.compose("robust", [settings]))


class ExplorerProcess:
    """`infogan explore` in a separate process, until `stop`.

    Args:
        run: The run folder or model folder.
        arguments: Further arguments of the command.
    """

    def __init__(self, run: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "infogan", "explore", str(run), *arguments]
        descriptor, name = tempfile.mkstemp()
        self._log = Path(name)
        atexit.register(self._log.unlink, missing_ok=True)
        with open(descriptor, "w") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        assert self.address.startswith("http://127.0.0.1:"), self.errors()
        self.port = urlsplit(self.address).port or 0
        self.cookie = ""

    def log_in(self) -> None:
        """Exchange the token for the cookie, and wait until all images are read."""
        path = self.address.partition(f":{self.port}")[2]
        status, content = self.exchange(self.raw_request("GET", path))
        match = re.search(rb"set-cookie: ([^;]+)", content)
        assert status == 303, content
        assert match
        self.cookie = match[1].decode()
        while not re.search(rb'"encoded":\s*1437', self.exchange(self.raw_request("GET", "/api/state"))[1]):
            time.sleep(0.1)

    def raw_request(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Return the bytes of a request."""
        length = f"Content-Length: {len(body)}\r\n" if method == "POST" else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nCookie: {self.cookie}\r\n{length}\r\n"
        return head.encode() + body

    def exchange(self, raw: bytes) -> tuple[int, bytes]:
        """Send bytes; return the status of the answer (0 if the connection was closed without one) and the answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_S) as client:
            answer = bytearray()
            try:
                client.sendall(raw)
                if not complete(raw):  # the server would wait for the rest
                    client.shutdown(socket.SHUT_WR)
                while not answered(answer):
                    chunk = client.recv(2**16)
                    if not chunk:
                        break
                    answer += chunk
            except ConnectionError:
                pass
        match = re.match(rb"HTTP/1\.1 (\d{3})", answer)
        return (int(match[1]) if match else 0), bytes(answer)

    def memory(self) -> int:
        """Return the resident memory of the process in bytes."""
        return resident_bytes(self.process.pid)

    def errors(self) -> str:
        """Return what the process wrote to its standard error."""
        return self._log.read_text(errors="replace")

    def stop(self) -> int:
        """End the process as Ctrl-C does and return its exit code."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


def resident_bytes(process: int) -> int:
    """Return the resident memory of a process in bytes."""
    match = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    assert match
    return int(match[1]) * 1024


def complete(raw: bytes) -> bool:
    """Return whether bytes are a complete request, or can never become one."""
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
    """Return whether bytes are a complete answer."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    connection.send(h11.EndOfMessage())
    if not raw:  # h11 takes empty bytes as the end of the connection
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


def judged(explorer: ExplorerProcess, raw: bytes) -> object:
    """Send arbitrary bytes as a request and return the answer.

    Raises:
        UserError: the status is 4xx, or the connection was closed.
        AssertionError: the status is 5xx, or the process has ended.
    """
    status, answer = explorer.exchange(raw)
    assert explorer.process.poll() is None, "the server ended"
    assert status < 500, f"{status}: {answer[-200:]!r}"
    if status in (0, *range(400, 500)):
        raise UserError(f"answered {status}")
    return answer


def requests(explorer: ExplorerProcess, image: bytes) -> tuple[bytes, ...]:
    """Return one complete request for each address."""
    view = "codes=3,0.5,-0.25&across=0&down=1&columns=10&rows=3&seed=7"
    get = [
        *("/", "/static/main.js", "/api/state", f"/api/lattice?{view}&channel=table&centre=1&zoom=2&way=0.5&pick=3"),
        *(f"/api/lattice.png?{view}", f"/api/traversal.gif?{view}&code=1", "/api/queue?count=20&from=10"),
        *("/api/groups?code=0", "/api/thumbnail?index=5&side=64", "/api/queue?count=20&order=typical&skipped=1,2"),
        "/api/gallery?code=0&group=3&order=between&other=4&from=0&count=50",
        *("/api/image?index=5", "/api/evidence", "/api/figure?step=8&code=0", "/api/codes.csv", "/api/labels.csv"),
    ]
    post = {
        "/api/name": b'{"code": 0, "value": 3, "name": "seven"}',
        "/api/order": b'{"code": 0, "values": [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]}',
        "/api/join": b'{"code": 0, "values": [1, 2]}',
        "/api/label": b'{"indices": [12], "label": "seven"}',
        "/api/undo": b'{"id": 1}',
        "/api/refine": b'{"undo": true}',
        "/api/read": image,
    }
    return (
        *(explorer.raw_request("GET", path) for path in get),
        *(explorer.raw_request("POST", path, body) for path, body in post.items()),
    )
