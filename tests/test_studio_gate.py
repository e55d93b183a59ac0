"""Requests to `glyffctl studio` that are not its page's, or no requests at all: each is refused, nothing is done."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from glyffctl.studio import app
from glyffctl.studio.app import LARGEST_BODY, MOST_WINDOWS
from glyffctl.studio.options import StudioOptions
from tests.studios import TOKEN, Served, Window, serving

pytestmark = pytest.mark.hostile

WINDOW = "00000000-0000-0000-0000-000000000000"
WISH = {"window": WINDOW, "prompt": "gold", "seed": 0, "passes": None, "steps": 2, "guidance": 2, "from": None}
BEGIN = {"glyph": "1-0", "keep": "left", "strength": 1}


@pytest.fixture(scope="module")
def served(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(StudioOptions(model=tiny_run), tmp_path_factory.mktemp("studio")) as studio:
        yield studio


def exchange(port: int, request: bytes, wait: float = 60) -> bytes:
    """What a server answers to bytes, until it closes or says nothing more."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as connection:
        answer = b""
        try:
            connection.sendall(request)
            while chunk := connection.recv(65536):
                answer += chunk
        except (TimeoutError, ConnectionError):
            pass
    return answer


def request(
    port: int,
    method: str = "POST",
    path: str = "/draw",
    body: Any = None,
    *,
    without: str = "",
    extra: tuple[str, ...] = (),
    **other: str,
) -> bytes:
    """A request as the page makes it, but for what is said otherwise."""
    content = body if isinstance(body, bytes) else json.dumps(WISH if body is None else body).encode()
    headers = {
        "Host": f"127.0.0.1:{port}",
        "Origin": f"http://127.0.0.1:{port}",
        "Authorization": f"Bearer {TOKEN}",
        "Content-Type": "application/json",
        "Content-Length": str(len(content)),
        "Connection": "close",
    }
    headers |= {name.replace("_", "-"): value for name, value in other.items()}
    lines = [f"{name}: {value}" for name, value in headers.items() if name != without]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, *extra, "", ""]).encode() + content


def hostile(port: int) -> dict[str, bytes]:
    """Requests by what is wrong with them."""

    def wish(**changed: Any) -> bytes:
        return request(port, body={**WISH, **changed})

    def raw(text: str) -> bytes:
        return request(port, body=text.encode())

    def get(path: str, **other: Any) -> bytes:
        return request(port, "GET", path, b"", **other)

    methods = ("PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "HEAD")
    nested = "[" * 5000 + "]" * 5000
    names = ("..", "%2e%2e", "....//", "1-0/../../etc", "%2Fetc%2Fpasswd", "1-0%00.png", "C:%5Cx", "9999999999-0")
    return {
        # who asks
        "no host": request(port, without="Host"),
        "another host": request(port, Host=f"evil.example:{port}"),
        "a host that leads here": request(port, Host=f"127.0.0.1.evil.example:{port}"),
        "another port": request(port, Host="127.0.0.1:1"),
        "no port": request(port, Host="127.0.0.1"),
        "all addresses": request(port, Host=f"0.0.0.0:{port}"),
        "two hosts": request(port, extra=("Host: evil.example",)),
        "another origin": request(port, Origin="http://evil.example"),
        "the origin of a file": request(port, Origin="null"),
        "an origin with another scheme": request(port, Origin=f"https://127.0.0.1:{port}"),
        "an origin with another port": request(port, Origin="http://127.0.0.1:80"),
        "an origin that begins like ours": request(port, Origin=f"http://127.0.0.1:{port}.evil.example"),
        "two origins": request(port, extra=("Origin: http://evil.example",)),
        "no origin": request(port, without="Origin"),
        "another site": request(port, Sec_Fetch_Site="cross-site"),
        "another site of the same name": request(port, Sec_Fetch_Site="same-site"),
        "a forwarded host": request(port, Host="evil.example", X_Forwarded_Host=f"127.0.0.1:{port}"),
        "no token": request(port, without="Authorization"),
        "another token": request(port, Authorization="Bearer wrong"),
        "a part of the token": request(port, Authorization=f"Bearer {TOKEN[:-1]}"),
        "a token that is no ASCII": request(port, Authorization="Bearer \u00fc\u00fc"),
        "a token as a password": request(port, Authorization=f"Basic {TOKEN}"),
        "two tokens": request(port, extra=("Authorization: Bearer wrong",)),
        "a token in the address": get(f"/about?token={TOKEN}", without="Authorization"),
        "a token as a cookie": get("/about", without="Authorization", Cookie=f"token={TOKEN}"),
        "the page without a token": get("/"),
        "the page with another token": get("/?token=wrong"),
        "the page with two tokens": get(f"/?token=wrong&token={TOKEN}"),
        "the page with a long token": get("/?token=" + "x" * 5000),
        # how
        **{f"method {method}": request(port, method) for method in methods},
        "a page that is asked to draw": get("/draw"),
        "an answer that is told something": request(port, path="/about"),
        "a web socket": get("/draw", Upgrade="websocket", Connection="Upgrade", Sec_WebSocket_Key="x"),
        "a proxy": request(port, "CONNECT", "evil.example:443"),
        "another address": request(port, path="http://evil.example/draw", Host="evil.example"),
        # where
        **{f"the glyph {name}": get(f"/glyph/{name}/save.png") for name in names},
        "a file": get("/../../etc/passwd"),
        "a file of the page": get("/page.html"),
        "another ending": get("/glyph/1-0/save.exe"),
        "a line break in a path": request(port, "GET", "/glyph/1-0\r\nX: y", b""),
        # what
        "no JSON": raw("gold"),
        "nothing": raw(""),
        "a list": raw("[]"),
        "deep JSON": raw(nested),
        "a key twice": raw(json.dumps(WISH)[:-1] + ', "seed": 1}'),
        "half a pair": raw(json.dumps(WISH).replace("gold", "\\ud800")),
        "no UTF-8": request(port, body=json.dumps(WISH).encode().replace(b"gold", b"\xff\xfe")),
        "a form": request(port, Content_Type="application/x-www-form-urlencoded"),
        "plain text": request(port, Content_Type="text/plain"),
        "a large body": request(port, body=b" " * (LARGEST_BODY + 1)),
        "a length of exabytes": request(port, body=b" " * (LARGEST_BODY + 1), Content_Length=str(10**18)),
        "a negative length": request(port, Content_Length="-1"),
        "a length that is no number": request(port, Content_Length="many"),
        "two lengths": request(port, extra=("Content-Length: 5",)),
        "chunks without end": request(
            port, body=b"4000\r\n" + b" " * 0x4000 + b"\r\n" + b"4000\r\n" + b" " * 0x4000 + b"\r\n",
            without="Content-Length", Transfer_Encoding="chunked",
        ),
        "a chunk that is none": request(port, body=b"zz\r\n", without="Content-Length", Transfer_Encoding="chunked"),
        "headers without end": request(port, X="x" * 100_000),
        "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n",
        "zeros": bytes(40_000),
        "something missing": raw(json.dumps({k: v for k, v in WISH.items() if k != "seed"})),
        "something more": wish(out="/etc/passwd"),
        "a long prompt": wish(prompt="x" * 2001),
        "a prompt that is a number": wish(prompt=1),
        "a prompt that is a list": wish(prompt=["gold"]),
        "NaN steps": raw(json.dumps(WISH).replace('"steps": 2', '"steps": NaN')),
        "no step": wish(steps=0),
        "a million steps": wish(steps=10**6),
        "half a step": wish(steps=2.5),
        "true steps": wish(steps=True),
        "steps and passes": wish(passes=4),
        "steps with 400 digits": raw(json.dumps(WISH).replace('"steps": 2', '"steps": ' + "9" * 400)),
        "NaN guidance": raw(json.dumps(WISH).replace('"guidance": 2', '"guidance": NaN')),
        "infinite guidance": raw(json.dumps(WISH).replace('"guidance": 2', '"guidance": 1e999')),
        "large guidance": wish(guidance=101),
        "a negative seed": wish(seed=-1),
        "a large seed": wish(seed=2**62),
        "a window with another name": wish(window="../../x"),
        "a window with a long name": wish(window="0" * 1000),
        "a glyph that is a path": wish(**{"from": {**BEGIN, "glyph": "/etc/passwd"}}),
        "a glyph that is none": wish(**{"from": "1-0"}),
        "a half that is none": wish(**{"from": {**BEGIN, "keep": "middle"}}),
        "a half that is a list": wish(**{"from": {**BEGIN, "keep": []}}),
        "NaN strength": raw(json.dumps({**WISH, "from": BEGIN}).replace('"strength": 1', '"strength": NaN')),
        "a strength of 2": wish(**{"from": {**BEGIN, "strength": 2}}),
        "a font as a path": request(port, path="/font", body={"format": "../x", "name": "x"}),
        "a font without a name": request(port, path="/font", body={"format": "ttf"}),
        "what is no glyph, to collect": request(port, path="/collect", body={"glyph": "../1", "collect": True}),
        "a glyph that was never drawn": request(port, path="/collect", body={"glyph": "999-0", "collect": True}),
        "what is no glyph, to enlarge": request(port, path="/enlarge", body={"window": WINDOW, "glyph": "x"}),
    }  # fmt: skip


def test_hostile_requests_are_refused(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "BODY_SECONDS", 1.0)
    taken = served.studio.painter.steps
    attacks = hostile(served.port)
    assert len(attacks) >= 60
    for what, attack in attacks.items():
        answer = exchange(served.port, attack)
        status = answer.split(b" ", 2)[1] if answer.startswith(b"HTTP/1.1 ") else b""
        assert status in (b"400", b"401", b"403", b"404", b"405", b"408", b"413", b"415", b"431"), (what, answer[:300])
        _, _, content = answer.partition(b"\r\n\r\n")
        assert len(content) < 400 and b"Traceback" not in content and b"bug in glyffctl" not in content, (what, content)
    assert served.studio.painter.steps == taken, "a hostile request had something drawn"
    assert list(served.studio.painter.folder.iterdir()) == [] and served.studio.gallery.collected == []
    # And the page is served as before.
    assert exchange(served.port, request(served.port)).startswith(b"HTTP/1.1 200")


def test_what_does_not_come_to_its_end_is_given_up(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "BODY_SECONDS", 0.3)
    slow = request(served.port, Content_Length="5000")
    assert exchange(served.port, slow).startswith(b"HTTP/1.1 408")


def test_only_so_many_windows_draw_at_once(served: Served) -> None:
    drawings = served.studio._drawings
    try:
        drawings.update({f"other {k}": object() for k in range(MOST_WINDOWS)})
        assert exchange(served.port, request(served.port)).startswith(b"HTTP/1.1 429")
    finally:
        drawings.clear()
    assert len(Window(served.port).draw()) == 5
