"""`glyffctl studio`: serve the page on 127.0.0.1 until it is stopped."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Generator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

import uvicorn

from glyffctl.core.errors import UsageError
from glyffctl.studio.app import Studio, make_app
from glyffctl.studio.gallery import Gallery
from glyffctl.studio.gate import LARGEST_HEADERS
from glyffctl.studio.options import StudioOptions
from glyffctl.studio.painter import load_painter
from glyffctl.studio.surroundings import find_surroundings
from glyffctl.workflows.events import Event, Note

HOST = "127.0.0.1"
_TOKEN_BYTES = 24
_MOST_CONNECTIONS = 64


def studio(options: StudioOptions) -> Generator[Event, None, None]:
    """Load the model, and serve the page until a signal comes.

    Raises:
        GlyffError: the model, the data or the port cannot be used.
    """
    listening = listen(options.port)
    with listening, TemporaryDirectory(prefix="glyffctl-studio-") as folder:
        surroundings = find_surroundings(options.data)
        gallery = Gallery()
        painter = yield from load_painter(options, gallery, Path(folder))
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        served = Studio(painter, gallery, surroundings)
        server, address = make_server(served, listening, token)
        yield Note(f"studio: {address} (Ctrl-C ends it)", "studio-open", {"address": address})
        try:
            server.run(sockets=[listening])
        finally:
            served.end()


def listen(port: int) -> socket.socket:
    """A socket on this machine alone.

    Raises:
        UsageError: the port is taken, or not ours to take.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen()  # who opens the address at once waits for a moment, and is not refused
    except OSError as error:
        listening.close()
        raise UsageError(
            f"cannot use port {port} ({error.strerror}); name another with --port, or leave --port out"
        ) from error
    return listening


def make_server(studio: Studio, listening: socket.socket, token: str) -> tuple[uvicorn.Server, str]:
    """A server for a socket, which it is run with, and the address of its page."""
    port = listening.getsockname()[1]
    config = uvicorn.Config(
        make_app(studio, port, token),
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        h11_max_incomplete_event_size=LARGEST_HEADERS,
        timeout_graceful_shutdown=2,
    )
    return _Server(config, studio), f"http://{HOST}:{port}/?token={token}"


class _Server(uvicorn.Server):
    """Stops drawings as soon as it is asked to end: a server waits for its answers to end."""

    def __init__(self, config: uvicorn.Config, studio: Studio) -> None:
        super().__init__(config)
        self._studio = studio

    def handle_exit(self, sig: int, frame: FrameType | None) -> Any:
        self._studio.close()
        return super().handle_exit(sig, frame)
