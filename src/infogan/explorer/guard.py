"""Who may ask: the token, the cookie it is exchanged for, and the headers that keep other pages out.

The server listens on this machine alone, but every page that a browser shows can send requests there, and a name that
is made to mean 127.0.0.1 (DNS rebinding) lets a page read the answers. So a request must name this machine as its host,
come from no other origin, and bring a cookie, which is had for the token in the address that the terminal prints. A
token serves once; another is printed when it is used.
"""

import hmac
import json
import secrets
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS = ("127.0.0.1", "localhost", "::1")  # of any port: a tunnel may begin at another one
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}
NO_ENTRY = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>infogan</title><p>This page opens with the address that "
    "the terminal printed last. Each address serves once."
)


class Guard:
    """Lets through what may ask, and answers the rest.

    Args:
        app: What is guarded.
        port: Where the server listens.
        announce: Told of every address with a fresh token.
    """

    def __init__(self, app: ASGIApp, port: int, announce: Callable[[str], None]) -> None:
        self._app, self._port, self._announce = app, port, announce
        self._session = secrets.token_urlsafe(32)
        self._cookie = f"infogan-{port}"  # cookies know no ports: two explorers must not share one
        self._token = secrets.token_urlsafe(24)

    @property
    def address(self) -> str:
        """Where the page opens, once."""
        return f"http://127.0.0.1:{self._port}/?token={self._token}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                raw = message.setdefault("headers", [])
                raw.extend((name.encode(), value.encode()) for name, value in HEADERS.items())
            await send(message)

        names: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            names.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
        refusal = _refused(scope["method"], names)
        if refusal:
            await _answer(guarded, 403, refusal)
            return
        tokens = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        entering = scope["path"] == "/" and scope["method"] == "GET"
        if entering and tokens:
            if _same(tokens[0], self._token):
                self._token = secrets.token_urlsafe(24)
                self._announce(self.address)
                cookie = f"{self._cookie}={self._session}; Path=/; HttpOnly; SameSite=Lax"
                await _redirect(guarded, [("set-cookie", cookie)])
                return
            if self._known(names):
                await _redirect(guarded, [])
                return
        if self._known(names):
            await self._app(scope, receive, guarded)
        elif entering:
            await _answer(guarded, 401, NO_ENTRY, "text/html; charset=utf-8")
        else:
            await _answer(guarded, 401, "open the address that the terminal printed")

    def _known(self, names: dict[str, list[str]]) -> bool:
        # Cookies know no ports: those of other servers on this machine come along, and may be of any form.
        pairs = [part.strip().partition("=") for text in names.get("cookie", []) for part in text.split(";")]
        return any(name == self._cookie and _same(value, self._session) for name, _, value in pairs)


def _refused(method: str, names: dict[str, list[str]]) -> str:
    """Why a request is no business of this server, if it is none."""
    hosts = names.get("host", [])
    if len(hosts) != 1 or _hostname(hosts[0]) not in HOSTS:
        return "this server answers on 127.0.0.1 alone"
    if any(origin != f"http://{hosts[0]}" for origin in names.get("origin", [])):
        return "another page may not ask this server"
    # A link elsewhere may lead here; a picture or a script elsewhere may not come from here.
    navigates = method == "GET" and names.get("sec-fetch-mode") == ["navigate"]
    if not navigates and not {"same-origin", "none"}.issuperset(names.get("sec-fetch-site", [])):
        return "another page may not ask this server"
    return ""


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "surrogateescape"), other.encode())


async def _redirect(send: Send, headers: list[tuple[str, str]]) -> None:
    raw = [(name.encode(), value.encode()) for name, value in [("location", "/"), *headers]]
    await send({"type": "http.response.start", "status": 303, "headers": raw})
    await send({"type": "http.response.body", "body": b""})


async def _answer(send: Send, status: int, text: str, kind: str = "application/json") -> None:
    body = (json.dumps({"error": text}) if kind == "application/json" else text).encode()
    raw = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
