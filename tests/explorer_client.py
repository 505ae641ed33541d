"""An explorer to test, in a thread of this process or in a separate one, and a client that talks to it."""

import contextlib
import http.client
import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from benchmarks.exploring import ExplorerProcess

from infogan.explorer.app import Explorer
from infogan.explorer.auth import AuthMiddleware
from infogan.explorer.routes import create_app
from infogan.explorer.server import http_server, load_explorer
from infogan.training.run_dir import RunFolder
from tests.helpers import small_config, small_model


class ExplorerClient:
    """A client of an explorer.

    Args:
        run: The run folder or model folder that is explored.
        address: Address of the page with a token.
    """

    def __init__(self, run: Path, address: str) -> None:
        self.run = run
        self.addresses = [address]  # the last one is unused
        self.port = urlsplit(address).port or 0
        self.host = f"127.0.0.1:{self.port}"
        self.home = f"http://{self.host}/"
        self.cookie = ""
        self.log: list[str] = []

    def request(
        self, path: str, method: str = "GET", body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Send a request with exactly these headers (Host and Content-Length by default); return the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            sent = {"Host": self.host, **(headers or {})}
            if body is not None and "Transfer-Encoding" not in sent:
                sent.setdefault("Content-Length", str(len(body)))
            for name, value in sent.items():
                connection.putheader(name, value)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused before all was sent
                connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def log_in(self) -> None:
        """Exchange the token for the cookie."""
        status, headers, _ = self.request(self.addresses[-1].removeprefix(self.home[:-1]))
        assert status == 303
        self.cookie = headers["set-cookie"].partition(";")[0]

    def get(self, path: str, **values: Any) -> tuple[int, Any]:
        """Return the status and the JSON of an answer."""
        path = f"{path}?{urlencode(values)}" if values else path
        status, _, content = self.request(path, headers={"Cookie": self.cookie})
        return status, json.loads(content)

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        """Send JSON, or bytes; return the status and the JSON of the answer."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, _, answer = self.request(path, "POST", content, {"Cookie": self.cookie})
        return status, json.loads(answer)

    def state(self) -> Any:
        """Return the state once all real images are encoded."""
        while True:
            _, state = self.get("/api/state")
            if not state["images"] or state["images"]["encoded"] == state["images"]["count"]:
                return state
            time.sleep(0.02)

    def undo_all(self) -> None:
        """Undo all changes."""
        while (state := self.get("/api/state")[1])["undo"]:
            status, answer = self.post("/api/undo", {"id": state["undo"]["id"]})
            assert status == 200, answer


@contextlib.contextmanager
def explorer_thread(path: Path, limit: int = 100_000) -> Iterator[ExplorerClient]:
    """Serve a folder from a thread of this process; yields a client that is not logged in."""
    log: list[str] = []
    explorer = load_explorer(path, limit, log.append)
    with serving(explorer, path) as client:
        client.log = log
        yield client


@contextlib.contextmanager
def serving(explorer: Explorer, path: Path) -> Iterator[ExplorerClient]:
    """Serve an explorer from a thread of this process."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        addresses: list[str] = []
        auth = AuthMiddleware(create_app(explorer), listener.getsockname()[1], addresses.append)
        client = ExplorerClient(path, auth.address)
        addresses.append(auth.address)
        client.addresses = addresses
        server = http_server(auth)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield client
        finally:
            server.should_exit = True
            thread.join(20)


@contextlib.contextmanager
def explorer_process(run: Path, *arguments: str) -> Iterator[tuple[ExplorerClient, ExplorerProcess]]:
    """Run `infogan explore` in a separate process; yields a client that is not logged in, and the process."""
    process = ExplorerProcess(run, *arguments)
    try:
        yield ExplorerClient(run, process.address), process
    finally:
        process.stop()


def copy_run(run: Path, folder: Path) -> Path:
    """Copy a run that a test changes."""
    shutil.copytree(run, folder)
    return folder


def run_with_two_categories(folder: Path) -> Path:
    """Make an untrained run on digits with categories of four and two values and a knob."""
    codes: list[dict[str, Any]] = [
        {"kind": "categorical", "name": "shape", "size": 4},
        {"kind": "categorical", "name": "weight", "size": 2},
        {"kind": "continuous"},
    ]
    run = RunFolder.at(folder)
    run.begin(small_config(codes=codes, data={"source": "digits"}), "")
    small_model(codes=codes).save(run.model)
    return run.path
