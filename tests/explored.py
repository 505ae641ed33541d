"""A real run and a real explorer in a process of its own, for the tests that talk to it."""

import contextlib
import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from benchmarks.exploring import resident

from infogan.config.schema import CategoricalCode, Code, NetworkSettings, NoiseSettings
from infogan.explorer.guard import Guard
from infogan.explorer.server import explorer_of, server_of
from infogan.models.architectures import ImageShape
from infogan.models.infogan import InfoGAN
from infogan.models.latents import CodeLayout
from infogan.models.networks import build_networks
from infogan.models.serialization import ModelConfig
from infogan.training.run_dir import RunFolder
from tests.helpers import small_config, small_model


class Explored:
    """`infogan explore` in a process of its own. Leaving the context ends it as Ctrl-C does."""

    def __init__(self, run: Path, *arguments: str) -> None:
        self.run = run
        command = [sys.executable, "-m", "infogan", "explore", str(run), *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        assert self.address.startswith("http://127.0.0.1:"), self._errors()
        self.port = urlsplit(self.address).port or 0
        self.host = f"127.0.0.1:{self.port}"
        self.cookie = ""
        self.said: list[str] = []
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def __enter__(self) -> "Explored":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(20)
        self._listener.join(20)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)

    def _errors(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read()

    def request(
        self, path: str, method: str = "GET", body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """One request with exactly these headers, and a Host where none is given."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            given = {"Host": self.host, **(headers or {})}
            if body is not None:
                given.setdefault("Content-Length", str(len(body)))
            for name, value in given.items():
                connection.putheader(name, value)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused before all was sent
                connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def enter(self) -> None:
        """Exchanges the token for the cookie."""
        status, headers, _ = self.request(self.address.removeprefix(f"http://{self.host}"))
        assert status == 303
        found = re.match(r"[^;]+", headers["set-cookie"])
        assert found
        self.cookie = found[0]

    def another_address(self) -> str:
        """Where one more browser opens the page."""
        while not self.said or "token=" not in self.said[-1]:
            time.sleep(0.01)
        return self.said.pop().split()[-1]

    def undo_all(self) -> None:
        """Takes back all that was changed."""
        while (state := self.get("/api/state")[1])["undo"]:
            status, told = self.post("/api/undo", {"id": state["undo"]["id"]})
            assert status == 200, told

    def get(self, path: str, **values: Any) -> tuple[int, Any]:
        """A status and what the answer's JSON says."""
        status, _, content = self.request(
            f"{path}?{urlencode(values)}" if values else path, headers={"Cookie": self.cookie}
        )
        return status, json.loads(content)

    def post(self, path: str, words: Any) -> tuple[int, Any]:
        """The same for a request that changes something."""
        body = words if isinstance(words, bytes) else json.dumps(words).encode()
        status, _, content = self.request(path, "POST", body, {"Cookie": self.cookie})
        return status, json.loads(content)

    def memory(self) -> int:
        """Resident bytes of the process."""
        return resident(self.process.pid)

    def settled(self) -> Any:
        """The state once all real images are read."""
        while True:
            _, state = self.get("/api/state")
            if not state["images"] or state["images"]["read"] == state["images"]["count"]:
                return state


def copy_of(run: Path, folder: Path) -> Path:
    """A run of one's own to change."""
    shutil.copytree(run, folder)
    return folder


@contextlib.contextmanager
def explored_here(path: Path) -> Iterator[str]:
    """Serves a folder from a thread of this process, which begins at once; yields the address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        explorer = explorer_of(path, 100_000, lambda _: None)
        guard = Guard(explorer.app(), listening.getsockname()[1], lambda _: None)
        server = server_of(guard)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield guard.address
        finally:
            server.should_exit = True
            thread.join(20)


def model_without_recognizer(kind: str) -> InfoGAN:
    """An untrained gan, or a cgan of three labels."""
    codes: tuple[Code, ...] = (CategoricalCode(name="label", size=3),) if kind == "cgan" else ()
    noise, shape, settings = NoiseSettings(size=5), ImageShape(1, 8), NetworkSettings(width=4)
    networks = build_networks(settings, CodeLayout(noise, codes), shape, kind=kind, seed=0)
    config = {"kind": kind, "channels": 1, "size": 8, "noise": noise, "codes": codes, "networks": settings}
    return InfoGAN(ModelConfig.model_validate(config), networks)


def run_with_two_categories(folder: Path) -> Path:
    """A run on digits that never began to train: a category of four values, one of two and a knob."""
    codes: list[dict[str, Any]] = [
        {"kind": "categorical", "name": "shape", "size": 4},
        {"kind": "categorical", "name": "weight", "size": 2},
        {"kind": "continuous"},
    ]
    run = RunFolder.at(folder)
    run.begin(small_config(codes=codes, data={"source": "digits"}), "")
    small_model(codes=codes).save(run.model)
    return run.path
