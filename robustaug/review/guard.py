"""Who may ask: requests to this address, from this page, with the token, and nobody else.

The server listens on 127.0.0.1 only. What is left are other users of the machine, who lack the token, and other pages
in the user's browser, which can send requests here but neither know the token nor come from this origin; a name that
such a page makes point at 127.0.0.1 (DNS rebinding) shows in the Host header.
"""

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

TOKEN_HEADER = "X-Review-Token"

_POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",  # the first address holds the token
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Guard:
    """Lets through what may pass, and says no (403) to the rest; every answer gets headers that keep it in bounds.

    Args:
        app: What is guarded.
        port: Where the server listens: the only Host is 127.0.0.1, or localhost, with it.
        token: What a request has to know: in a header, in a cookie, or, for the page itself, in the address.
    """

    def __init__(self, app: App, port: int, token: str) -> None:
        self._app, self._token = app, token
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        if port == 80:
            self._hosts |= {"127.0.0.1", "localhost"}
        self._cookie = f"robustaug-review-{port}"  # cookies do not tell ports apart

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        request = Request(scope)
        refusal = self._refusal(request)

        async def send_bounded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
                if not refusal and self._knows(request.query_params.get("token")):
                    headers.append("Set-Cookie", f"{self._cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict")
            await send(message)

        answer = PlainTextResponse(refusal, 403) if refusal else self._app
        await answer(scope, receive, send_bounded)

    def _refusal(self, request: Request) -> str:
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        if host not in self._hosts:
            return "This host is not the review's; open the address that robustaug review printed."
        if origin is not None and origin != f"http://{host}":
            return "This request comes from another page."
        if self._knows(request.headers.get(TOKEN_HEADER)):
            return ""
        is_reading = request.method in ("GET", "HEAD")
        if is_reading and request.url.path == "/" and self._knows(request.query_params.get("token")):
            return ""  # the page takes it out of the address at once
        if self._knows(request.cookies.get(self._cookie)) and (is_reading or origin is not None):
            return ""
        return "The token is missing or old; open the address that robustaug review printed."

    def _knows(self, token: str | None) -> bool:
        return token is not None and secrets.compare_digest(token.encode(errors="replace"), self._token.encode())
