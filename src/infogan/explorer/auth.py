"""Access control of the explorer: a one-time token, a session cookie, and headers that keep other pages out.

The server listens on 127.0.0.1 only, but any page in a browser can send requests there, and DNS rebinding would let it
read the answers. A request must therefore name this machine as its host, come from no other origin, and carry a cookie.
The cookie is given in exchange for the token in the printed address. Each token works once; the next one is printed
when it is used.
"""

import hmac
import re
import secrets
from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infogan.explorer.requests import close_if_unread

HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?")  # any port, because a tunnel may start at another one
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}
NO_ACCESS_PAGE = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>infogan</title><p>Open this page with the last address "
    "printed in the terminal. Each address works once."
)


class AuthMiddleware:
    """ASGI middleware that passes on requests with a valid session and refuses all others.

    Args:
        app: Application to protect.
        port: Port that the server listens on.
        announce: Called with each new address.
    """

    def __init__(self, app: ASGIApp, port: int, announce: Callable[[str], None]) -> None:
        self._app, self._port, self._announce = app, port, announce
        self._session = secrets.token_urlsafe(32)
        self._cookie = f"infogan-{port}"  # cookies ignore ports: two explorers must not share one
        self._token = secrets.token_urlsafe(24)

    @property
    def address(self) -> str:
        """Address that opens the page once."""
        return f"http://127.0.0.1:{self._port}/?token={self._token}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; the security headers are added to every answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        receive, send_closing = close_if_unread(scope, receive, send)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send_closing(message)

        answer = self._refusal(Request(scope)) or self._app
        await answer(scope, receive, send_with_headers)

    def _refusal(self, request: Request) -> Response | None:
        """Return the answer to a request that the application must not see, or None."""
        if reason := _foreign(request):
            return JSONResponse({"error": reason}, 403)
        has_session = _equal(request.cookies.get(self._cookie, ""), self._session)
        opens_page = request.scope["path"] == "/" and request.method == "GET"
        token = request.query_params.get("token", "") if opens_page else ""
        if _equal(token, self._token):
            self._token = secrets.token_urlsafe(24)
            self._announce(self.address)
            response = RedirectResponse("/", 303)
            response.set_cookie(self._cookie, self._session, httponly=True, samesite="lax")
            return response
        if has_session:
            return RedirectResponse("/", 303) if token else None  # a link with a used token opens the page too
        if opens_page:
            return HTMLResponse(NO_ACCESS_PAGE, 401)
        return JSONResponse({"error": "open the address that the terminal printed"}, 401)


def _foreign(request: Request) -> str:
    """Return why a request did not come from the explorer's own page, or an empty string."""
    hosts = request.headers.getlist("host")
    if len(hosts) != 1 or not HOST.fullmatch(hosts[0]):
        return "this server answers only requests to 127.0.0.1"
    if any(origin != f"http://{hosts[0]}" for origin in request.headers.getlist("origin")):
        return "requests from other pages are refused"
    # A link on another page may lead here; an image or a script of another page must not.
    navigates = request.method == "GET" and request.headers.getlist("sec-fetch-mode") == ["navigate"]
    if not navigates and not {"same-origin", "none"}.issuperset(request.headers.getlist("sec-fetch-site")):
        return "requests from other pages are refused"
    return ""


def _equal(text: str, secret: str) -> bool:
    return hmac.compare_digest(text.encode("utf-8", "surrogateescape"), secret.encode())
