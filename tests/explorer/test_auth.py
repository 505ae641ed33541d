"""Access control: tokens, the cookie, and requests from other pages."""

import json
from pathlib import Path

import pytest

from infogan.explorer.routes import ROUTES
from tests.explorer_client import ExplorerClient, explorer_process, explorer_thread
from tests.helpers import small_model


def test_token_works_once_and_the_next_is_announced(tmp_path: Path) -> None:
    small_model().save(tmp_path / "model")
    with explorer_thread(tmp_path / "model") as client:
        first = client.addresses[0].removeprefix(client.home[:-1])
        assert client.request("/")[0] == 401
        assert client.request(f"{first}x")[0] == 401
        status, headers, _ = client.request(first)
        assert (status, headers["location"]) == (303, "/")
        cookie, *attributes = headers["set-cookie"].split("; ")
        assert cookie.startswith(f"infogan-{client.port}=")
        assert {"httponly", "samesite=lax", "path=/"} <= {attribute.lower() for attribute in attributes}
        assert client.request(first)[0] == 401
        client.cookie = cookie
        assert client.get("/api/state")[0] == 200
        # A link with a used token still opens the page in a browser that has the cookie.
        assert client.request(first, headers={"Cookie": cookie})[0] == 303
        second = client.addresses[1].removeprefix(client.home[:-1])
        assert second != first
        assert client.request(second)[0] == 303


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Cookie": "infogan-{port}=guessed"}, 401),
        ({"Cookie": "infogan-{port}=\xff; ,;=\x01"}, 401),
        ({"Cookie": "{cookie}", "Host": "evil.example"}, 403),
        ({"Cookie": "{cookie}", "Host": "127.0.0.1.evil.example:{port}"}, 403),
        ({"Cookie": "{cookie}", "Host": "[::1"}, 403),
        ({"Cookie": "{cookie}", "Host": ""}, 403),
        ({"Cookie": "{cookie}", "Origin": "http://evil.example"}, 403),
        ({"Cookie": "{cookie}", "Origin": "null"}, 403),
        ({"Cookie": "{cookie}", "Origin": "http://127.0.0.1:1"}, 403),
        ({"Cookie": "{cookie}", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ({"Cookie": "{cookie}", "Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ({"Cookie": 'prefs={"theme":"dark"}; broken; {cookie}'}, 200),
        ({"Cookie": "{cookie}", "Origin": "http://127.0.0.1:{port}"}, 200),
        ({"Cookie": "other=1; {cookie}", "Host": "localhost:9999"}, 200),
    ],
)
def test_only_the_explorers_own_page_gets_answers(client: ExplorerClient, headers: dict[str, str], status: int) -> None:
    for name, value in headers.items():
        headers = headers | {name: value.replace("{port}", str(client.port)).replace("{cookie}", client.cookie)}
    answered, answer_headers, content = client.request("/api/state", headers=headers)
    assert answered == status
    if status != 200:
        assert isinstance(json.loads(content)["error"], str)
    assert "default-src 'none'" in answer_headers["content-security-policy"]
    assert answer_headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer_headers
    assert "server" not in answer_headers


def test_every_address_refuses_foreign_requests(client: ExplorerClient) -> None:
    before = client.state()
    assert len(ROUTES) == 24
    for method, path, _ in ROUTES:
        for headers, status in (
            ({}, 401),
            ({"Cookie": client.cookie, "Host": "evil.example"}, 403),
            ({"Cookie": client.cookie, "Origin": "http://evil.example"}, 403),
            ({"Cookie": client.cookie, "Sec-Fetch-Site": "cross-site"}, 403),
        ):
            body = b"{}" if method == "POST" else None
            answered, _, _ = client.request(path.format(name="main.js"), method, body, headers)
            assert (method, path, answered) == (method, path, status)
    assert client.state() == before


@pytest.mark.integration
def test_command_prints_an_address_and_ends_on_ctrl_c(digits_run: Path) -> None:
    with explorer_process(digits_run) as (client, process):
        client.log_in()
        assert client.get("/api/state")[0] == 200
        assert f"http://{client.host}/?token=" in process.errors()  # for another browser
        assert client.addresses[0] not in process.errors()
        assert process.stop() == 130
