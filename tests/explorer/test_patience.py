"""Slow and vanishing clients: each is given up in its time, and nobody else waits for it."""

import contextlib
import http.client
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from infogan.explorer import patience
from tests.explored import explored_here
from tests.helpers import small_model

ASKED = 40
LARGE = "/api/lattice?codes=0,0,0&across=-1&down=-1&columns=16&rows=16"


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, str]]:
    """A server that is soon out of patience, of a model of 64x64 images: its port, and the cookie."""
    monkeypatch.setattr(patience, "LONGEST_HEADERS", 0.5)
    monkeypatch.setattr(patience, "LONGEST_REQUEST", 0.5)
    monkeypatch.setattr(patience, "LONGEST_TAKING", 0.5)
    small_model(size=64, channels=3).save(tmp_path / "model")
    with explored_here(tmp_path / "model") as address:
        parts = urlsplit(address)
        assert parts.port
        connection = http.client.HTTPConnection("127.0.0.1", parts.port)
        connection.request("GET", f"/?{parts.query}")
        cookie = connection.getresponse().headers["set-cookie"].partition(";")[0]
        connection.close()
        yield parts.port, cookie


def ask(port: int, cookie: str, path: str = "/api/state") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nCookie: {cookie}\r\n\r\n".encode()


def seconds_until_closed(client: socket.socket, trickle: bytes = b"") -> float:
    """How long until the server has closed a connection, into which a byte is dripped every tenth of a second."""
    begun = time.monotonic()
    client.settimeout(0.1)
    while time.monotonic() - begun < 20:
        try:
            if trickle:
                client.sendall(trickle)
            if client.recv(2**16) == b"":
                break
        except TimeoutError:
            continue
        except ConnectionError:
            break
    return time.monotonic() - begun


@pytest.mark.parametrize("said", ["nothing", "half a request", "headers without end", "a body that nobody waits for"])
def test_who_does_not_say_what_is_wanted_is_given_up(said: str, opened: tuple[int, str]) -> None:
    port, cookie = opened
    whole = ask(port, cookie)
    with socket.create_connection(("127.0.0.1", port)) as client:
        if said == "half a request":
            client.sendall(whole[: len(whole) // 2])
        elif said == "headers without end":
            client.sendall(whole[:-2] + b"X-Slow: ")
        elif said == "a body that nobody waits for":
            client.sendall(whole[:-2] + b"Content-Length: 1000\r\n\r\n")
        trickle = b"x" if said not in ("nothing", "half a request") else b""
        assert 0.3 < seconds_until_closed(client, trickle) < 4


def test_a_second_request_has_its_own_time(opened: tuple[int, str]) -> None:
    port, cookie = opened
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for _ in range(4):  # together longer than the limit
        connection.request("GET", "/api/state", headers={"Cookie": cookie})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        time.sleep(0.3)
    assert connection.sock is not None
    connection.sock.sendall(ask(port, cookie)[:30])
    assert 0.3 < seconds_until_closed(connection.sock) < 4
    connection.close()


def test_who_does_not_take_the_answer_is_given_up(opened: tuple[int, str]) -> None:
    port, cookie = opened
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.sendall(ask(port, cookie, LARGE) * ASKED)  # one answer would fit into what the system keeps for it
        time.sleep(6)
        taken = 0
        client.settimeout(20)
        with contextlib.suppress(ConnectionResetError):
            while piece := client.recv(2**20):
                taken += len(piece)
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", LARGE, headers={"Cookie": cookie})
    answer = connection.getresponse()
    time.sleep(0.2)
    whole = len(answer.read())
    connection.close()
    assert answer.status == 200
    assert whole < taken < ASKED * whole / 2


def test_who_takes_the_answer_slowly_is_not(opened: tuple[int, str]) -> None:
    port, cookie = opened
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
        client.connect(("127.0.0.1", port))
        count = 10
        client.sendall(ask(port, cookie, LARGE) * count)
        client.settimeout(20)
        content, begun = bytearray(), time.monotonic()
        while content.count(b"HTTP/1.1 200 OK") < count:
            piece = client.recv(2**16)
            assert piece, f"closed after {time.monotonic() - begun:.1f} s"
            content += piece
            time.sleep(0.02)
    assert time.monotonic() - begun > 1.5  # three times what nobody may be idle for


def test_many_who_vanish_keep_nobody_from_being_served(opened: tuple[int, str]) -> None:
    port, cookie = opened
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(400)]
    for number, client in enumerate(clients):
        client.sendall(ask(port, cookie, LARGE)[: None if number % 20 == 0 else 40])
        if number % 4 == 0:
            client.close()
    time.sleep(1.5)  # more are left than there are places for, until they are given up
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    begun = time.monotonic()
    while True:
        connection.request("GET", "/api/state", headers={"Cookie": cookie})
        answer = connection.getresponse()
        answer.read()
        if answer.status == 200:
            break
        assert answer.status == 503
        assert time.monotonic() - begun < 20
        time.sleep(0.1)
    connection.close()
    for client in clients:
        client.close()
