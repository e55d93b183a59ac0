"""A studio that is served to a test, and a window that asks it, without a browser."""

from __future__ import annotations

import http.client
import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glyffctl.studio.app import Studio
from glyffctl.studio.gallery import Gallery
from glyffctl.studio.options import StudioOptions
from glyffctl.studio.painter import load_painter
from glyffctl.studio.serve import listen, make_server
from glyffctl.studio.surroundings import find_surroundings
from glyffctl.workflows.events import finish

TOKEN = "the-token-of-a-test"


@dataclass(frozen=True)
class Served:
    """A studio with the address of its page."""

    studio: Studio
    port: int
    address: str


@contextmanager
def serving(options: StudioOptions, folder: Path) -> Iterator[Served]:
    """A studio on a free port while the block runs."""
    gallery = Gallery()
    painter = finish(load_painter(options, gallery, folder))
    studio = Studio(painter, gallery, find_surroundings(options.data))
    with listen(0) as listening:
        server, address = make_server(studio, listening, TOKEN)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield Served(studio, listening.getsockname()[1], address)
        finally:
            studio.close()
            server.should_exit = True
            thread.join(60)
            studio.end()
            assert not thread.is_alive()


@dataclass
class Window:
    """A window of the page."""

    port: int
    token: str = TOKEN
    name: str = field(default_factory=lambda: str(uuid.uuid4()))

    def ask(self, path: str, body: Any = None) -> tuple[int, bytes]:
        """The status and the answer of a request."""
        connection = self.begin(path, body)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content

    def get(self, path: str, body: Any = None) -> Any:
        """The JSON of an answer."""
        status, content = self.ask(path, body)
        assert status == 200, content
        return json.loads(content)

    def refused(self, path: str, body: Any = None) -> str:
        """The line with which a request is refused."""
        status, content = self.ask(path, body)
        assert 400 <= status < 500, (status, content)
        line: str = json.loads(content)["error"]
        return line

    def draw(self, prompt: str = "gold", **other: Any) -> list[dict[str, Any]]:
        """All that is said of a sheet."""
        status, content = self.ask("/draw", self.wish(prompt, **other))
        assert status == 200, content
        return [json.loads(line) for line in content.splitlines()]

    def wish(self, prompt: str = "gold", **other: Any) -> dict[str, Any]:
        """A wish for a sheet."""
        usual: dict[str, Any] = {"seed": 0, "passes": None, "steps": 3, "guidance": 2, "from": None}
        return {"window": self.name, "prompt": prompt, **usual, **other}

    def begin(self, path: str, body: Any = None) -> http.client.HTTPConnection:
        """A connection on which a request was made."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        headers = {"Authorization": f"Bearer {self.token}"}
        if body is None:
            connection.request("GET", path, headers=headers)
        else:
            headers |= {"Origin": f"http://127.0.0.1:{self.port}", "Content-Type": "application/json"}
            connection.request("POST", path, json.dumps(body), headers)
        return connection
