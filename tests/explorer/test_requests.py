"""Bodies of requests: sizes, lengths that are declared, and connections, over real sockets."""

import contextlib
import http.client
import socket
import time

import pytest

from infogan.explorer.app import MAX_UPLOADS
from tests.explorer_client import ExplorerClient


def send(client: ExplorerClient, head: str, *, endless: bool = False) -> tuple[int, dict[str, str], float]:
    """Send the head of a request over a socket, then perhaps a body without end; return status, headers and seconds."""
    start = time.monotonic()
    with socket.create_connection(("127.0.0.1", client.port), timeout=20) as connection:
        connection.sendall(f"{head}\r\nHost: {client.host}\r\n\r\n".encode())
        with contextlib.suppress(ConnectionError):
            while endless and time.monotonic() < start + 15:
                connection.sendall(b"%x\r\n%s\r\n" % (2**20, bytes(2**20)))  # a chunk, if the body has chunks
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        seconds = time.monotonic() - start
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, seconds


HUGE = f"Content-Length: {100 * 2**30}"


@pytest.mark.parametrize("endless", [False, True])
@pytest.mark.parametrize(
    ("line", "status"),
    [
        (f"POST /api/read HTTP/1.1\r\n{HUGE}", 413),
        (f"POST /api/read HTTP/1.1\r\n{HUGE}\r\nExpect: 100-continue", 413),
        (f"POST /api/name HTTP/1.1\r\n{HUGE}", 413),
        (f"POST /api/undo HTTP/1.1\r\n{HUGE}", 413),
        (f"POST /api/state HTTP/1.1\r\n{HUGE}", 405),
        (f"POST /api/nothing HTTP/1.1\r\n{HUGE}", 404),
        (f"GET /api/state HTTP/1.1\r\n{HUGE}", 200),
        ("POST /api/read HTTP/1.1\r\nContent-Length: 99999999999999999999", 413),
        ("POST /api/read HTTP/1.1\r\nContent-Length: -1", 400),
        ("POST /api/read HTTP/1.1\r\nContent-Length: 1e3", 400),
        (f"POST /api/read HTTP/1.1\r\nContent-Length: {'9' * 5000}", 400),
        (f"POST /api/read HTTP/1.1\r\n{HUGE}\r\nContent-Length: 5", 400),
        (f"POST /api/read HTTP/1.1\r\nContent-Length: 5\r\n{HUGE}", 400),
        (f"POST /api/read HTTP/1.1\r\n{HUGE}\r\n{HUGE}", 413),
        (f"POST /api/read HTTP/1.1\r\nTransfer-Encoding: chunked\r\n{HUGE}", 413),
        ("POST /api/nothing HTTP/1.1\r\nTransfer-Encoding: chunked", 404),
    ],
)
def test_a_body_of_100_gb_is_answered_at_once(client: ExplorerClient, line: str, status: int, endless: bool) -> None:
    answered, headers, seconds = send(client, f"{line}\r\nCookie: {client.cookie}", endless=endless)
    assert answered == status
    assert headers["connection"].lower() == "close"
    assert seconds < 3


def test_a_body_of_100_gb_from_a_stranger_is_answered_at_once(client: ExplorerClient) -> None:
    for endless in (False, True):
        status, headers, seconds = send(client, f"POST /api/read HTTP/1.1\r\n{HUGE}", endless=endless)
        assert (status, headers["connection"]) == (401, "close")
        assert seconds < 3


def test_a_body_that_is_too_large_is_refused_while_others_are_still_sent(client: ExplorerClient) -> None:
    head = f"POST /api/read HTTP/1.1\r\nHost: {client.host}\r\nCookie: {client.cookie}\r\nContent-Length: 9\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(MAX_UPLOADS):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", client.port)))
            connection.sendall(head.encode())
        time.sleep(0.2)
        status, _, seconds = send(client, f"POST /api/read HTTP/1.1\r\n{HUGE}\r\nCookie: {client.cookie}")
    assert status == 413
    assert seconds < 3
    assert client.post("/api/read", b"GIF89a")[0] == 400  # read, and no image


def test_a_connection_stays_open_after_a_body_that_was_read(client: ExplorerClient) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", client.port)
    for _ in range(2):
        connection.request("POST", "/api/undo", b'{"id": 0}', {"Cookie": client.cookie})
        answer = connection.getresponse()
        assert answer.status == 400
        assert answer.getheader("connection") is None
        answer.read()
        assert connection.sock is not None
    connection.close()
