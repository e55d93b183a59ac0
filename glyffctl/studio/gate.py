"""Who may ask: the page that this server gave out, in a browser on this machine, and nobody else.

A site in the same browser can send requests to 127.0.0.1, too. It does not know the token; its requests carry its own
origin; and a name of its own that leads to 127.0.0.1 (DNS rebinding) stands in the header Host.
"""

from __future__ import annotations

import secrets
from urllib.parse import parse_qs

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = ("GET", "POST")
LARGEST_HEADERS = 16 * 2**10
"""Bytes; a browser sends less than one thousand."""
_OWN_SITES = {b"same-origin", b"none"}
_HEADERS = {
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Gate:
    """Lets through what has the right host, origin and token, and adds headers to what is answered."""

    def __init__(self, app: ASGIApp, port: int, token: str) -> None:
        self._app, self._token = app, token.encode()
        self._hosts = {f"{name}:{port}".encode() for name in ("127.0.0.1", "localhost")}
        self._origins = {b"http://" + host for host in self._hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *extra]
            await send(message)

        refusal = self._refusal(scope)
        app = self._app if refusal is None else JSONResponse({"error": refusal[1]}, refusal[0])
        await app(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """The status and the reason, if there is one."""
        if sum(len(name) + len(value) for name, value in scope["headers"]) > LARGEST_HEADERS:
            return 431, "the headers are too large"
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value)
        hosts, origins, sites = (headers.get(name, []) for name in (b"host", b"origin", b"sec-fetch-site"))
        foreign = not self._origins.issuperset(origins) or not _OWN_SITES.issuperset(sites)
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            return 403, "this server answers to 127.0.0.1 and localhost only"
        if foreign or len(origins) > 1 or (scope["method"] == "POST" and not origins):
            return 403, "only the page of this server may ask here"
        if scope["method"] not in METHODS:
            return 405, "there is no such method here"
        if not secrets.compare_digest(self._given(scope, headers), self._token):
            return 401, "open the address that glyffctl studio printed, with its token"
        return None

    def _given(self, scope: Scope, headers: dict[bytes, list[bytes]]) -> bytes:
        """The token of a request: of the page in its address, of all else in a header."""
        if scope["path"] == "/" and scope["method"] == "GET":
            fields = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=4) if _short(scope) else {}
            given = fields.get("token", [])
            return given[0].encode() if len(given) == 1 else b""
        given_headers = headers.get(b"authorization", [])
        return given_headers[0].removeprefix(b"Bearer ") if len(given_headers) == 1 else b""


def _short(scope: Scope) -> bool:
    query: bytes = scope["query_string"]
    return len(query) < 200 and query.count(b"&") < 4
