"""The server of the studio: what may be asked for, and how it is answered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from glyffctl.core.errors import GlyffError, UsageError
from glyffctl.core.text.prompt import LONGEST_PROMPT
from glyffctl.studio import files, wishes
from glyffctl.studio.gallery import MOST_COLLECTED, Gallery, Glyph
from glyffctl.studio.gate import Gate
from glyffctl.studio.options import DATA
from glyffctl.studio.page import policy, studio_page
from glyffctl.studio.painter import Painter, Said
from glyffctl.studio.surroundings import Surroundings
from glyffctl.version import __version__

LARGEST_BODY = 16 * 2**10
"""Bytes of a request; a prompt of 2,000 characters takes up to 12,000 as JSON."""
BODY_SECONDS = 10.0
"""For a request to arrive whole."""
MOST_WINDOWS = 16
"""Windows that draw at once."""
_STREAM = "application/x-ndjson"

Result = TypeVar("Result")


class Studio:
    """The drawings of all windows. One thread computes; windows that draw at once take turns, step by step."""

    def __init__(self, painter: Painter, gallery: Gallery, surroundings: Surroundings | None) -> None:
        self.painter, self.gallery, self.surroundings = painter, gallery, surroundings
        self._thread = ThreadPoolExecutor(1, "studio")
        self._drawings: dict[str, object] = {}  # by window; another object there tells a drawing to stop
        self._reading: asyncio.Lock | None = None
        self._closing = False

    def close(self) -> None:
        """Stop all drawings."""
        self._closing = True
        self._drawings.clear()

    def end(self) -> None:
        """Wait for the step that is being taken."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    # What is asked for

    async def page(self, request: Request) -> Response:  # noqa: ARG002
        """The page."""
        return HTMLResponse(studio_page(), headers={"content-security-policy": policy()})

    async def about(self, request: Request) -> Response:  # noqa: ARG002
        """What the page must know at its start."""
        missing = (
            f"there are no real glyphs here to compare with: no folder {DATA}; name one with glyffctl studio --data"
        )
        return JSONResponse(
            {
                **self.painter.about,
                "version": __version__,
                "data": {"missing": missing} if self.surroundings is None else self.surroundings.about,
                "fonts": ["ttf", "otf", *(["woff2"] if find_spec("brotli") is not None else [])],
                "longest": LONGEST_PROMPT,
                "collected": self._collection(),
                "mostCollected": MOST_COLLECTED,
                "drawing": len(self._drawings),
            }
        )

    async def draw(self, request: Request) -> Response:
        """A sheet, as it is drawn."""
        wish = wishes.draw_wish(await self._asked(request))
        return self._stream(wish.window, self.painter.draw(wish))

    async def enlarge(self, request: Request) -> Response:
        """A glyph, enlarged."""
        window, name = wishes.enlarge_wish(await self._asked(request))
        return self._stream(window, self.painter.enlarge(name))

    async def glyph(self, request: Request) -> Response:
        """What is known of a glyph."""
        glyph = self._named(request)
        return JSONResponse(
            {
                "prompt": glyph.prompt,
                "seed": glyph.seed,
                "recipe": glyph.recipe,
                "lineage": list(glyph.lineage),
                "steps": len(glyph.frames),
                "file": files.file_name(glyph),
                "large": None if glyph.large is None else len(glyph.large[0]),
            }
        )

    async def steps(self, request: Request) -> Response:
        """The steps of the drawing of a glyph: one PNG, a step beneath the other."""
        glyph = self._named(request)
        return Response(await self._computed(lambda: files.film_strip(glyph)), media_type="image/png")

    async def around(self, request: Request) -> Response:
        """The real neighbours of a glyph, and its place in the map."""
        glyph, surroundings = self._named(request), self._surroundings()
        self._reading = self._reading or asyncio.Lock()
        async with self._reading:  # all glyphs are read once, not once for each window
            await self._through(surroundings.get_ready())
        return JSONResponse(await self._computed(lambda: surroundings.around(glyph.pixels)))

    async def map(self, request: Request) -> Response:  # noqa: ARG002
        """The map of real glyphs."""
        surroundings = self._surroundings()
        return JSONResponse(await self._computed(lambda: surroundings.map))

    async def save(self, request: Request) -> Response:
        """A glyph as a file."""
        glyph, ending = self._named(request), request.path_params["ending"]
        content = await self._computed(lambda: files.picture_file(glyph, ending))
        return Response(content, media_type=files.MEDIA_TYPES[ending])

    async def save_large(self, request: Request) -> Response:
        """An enlarged glyph as a file."""
        glyph, ending = self._named(request), request.path_params["ending"]
        content = await self._computed(lambda: files.large_file(glyph, ending))
        return Response(content, media_type=files.MEDIA_TYPES[ending])

    async def collect(self, request: Request) -> Response:
        """Put a glyph into the collection, or take it out."""
        self.gallery.collect(*wishes.collect_wish(await self._asked(request)))
        return JSONResponse({"collected": self._collection()})

    async def font(self, request: Request) -> Response:
        """A font of the collection."""
        ending, name = wishes.font_wish(await self._asked(request))
        glyphs = self.gallery.collected
        content = await self._computed(lambda: files.font_file(glyphs, ending, name))
        return Response(content, media_type=files.MEDIA_TYPES[ending])

    # How it is answered

    async def _asked(self, request: Request) -> Mapping[str, Any]:
        """The JSON object of a request, which may not be large or slow to come."""
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise HTTPException(415, "a request must be application/json")
        body = b""
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > LARGEST_BODY:
                        raise HTTPException(413, f"a request may have {LARGEST_BODY:,} bytes at most")
        except TimeoutError:
            raise HTTPException(408, "the request did not come to its end") from None
        return wishes.read_object(body)

    def _named(self, request: Request) -> Glyph:
        return self.gallery.find(wishes.glyph_of({"glyph": request.path_params["glyph"]}))

    def _surroundings(self) -> Surroundings:
        if self.surroundings is None:
            raise UsageError("there are no real glyphs to compare with")
        return self.surroundings

    def _collection(self) -> list[dict[str, Any]]:
        return [
            {"glyph": glyph.name, "prompt": glyph.prompt, "seed": glyph.seed, "picture": files.thumbnail(glyph)}
            for glyph in self.gallery.collected
        ]

    def _stream(self, window: str, work: Iterator[Said]) -> Response:
        """Answer with lines of JSON as they come. A new drawing of a window takes the place of the one before."""
        if len(self._drawings) >= MOST_WINDOWS and window not in self._drawings:
            raise HTTPException(429, f"{MOST_WINDOWS} windows draw already; close one")
        return StreamingResponse(self._lines(window, work), media_type=_STREAM)

    async def _lines(self, window: str, work: Iterator[Said]) -> AsyncIterator[str]:
        loop, ticket = asyncio.get_running_loop(), object()
        self._drawings[window] = ticket  # here, since a window that is closed at once never gets so far
        try:
            while self._drawings.get(window) is ticket:
                said = await loop.run_in_executor(self._thread, _next, work)
                if said is None:
                    return
                yield json.dumps(said) + "\n"
            yield json.dumps({"stopped": True}) + "\n"
        finally:  # also where the window was closed
            if self._drawings.get(window) is ticket:
                del self._drawings[window]
            if isinstance(work, Generator) and not self._closing:
                self._thread.submit(work.close)  # after the step that is being taken

    async def _computed(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _through(self, work: Generator[float, None, None]) -> None:
        """Run work to its end; drawings go on between its parts."""
        while await self._computed(lambda: next(work, None)) is not None:
            pass


def make_app(studio: Studio, port: int, token: str) -> ASGIApp:
    """The server's application, behind its gate."""
    endings = {"png", "svg", "gif"}
    routes = [
        Route("/", studio.page, methods=["GET"]),
        Route("/about", studio.about, methods=["GET"]),
        Route("/map", studio.map, methods=["GET"]),
        Route("/glyph/{glyph}", studio.glyph, methods=["GET"]),
        Route("/glyph/{glyph}/steps", studio.steps, methods=["GET"]),
        Route("/glyph/{glyph}/around", studio.around, methods=["GET"]),
        *(_of_ending("/glyph/{glyph}/save.", ending, studio.save) for ending in endings),
        *(_of_ending("/glyph/{glyph}/large.", ending, studio.save_large) for ending in endings - {"gif"}),
        Route("/draw", studio.draw, methods=["POST"]),
        Route("/enlarge", studio.enlarge, methods=["POST"]),
        Route("/collect", studio.collect, methods=["POST"]),
        Route("/font", studio.font, methods=["POST"]),
    ]
    handlers: dict[Any, Any] = {GlyffError: _refused, HTTPException: _refused, Exception: _failed}
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return Gate(app, port, token)


def _of_ending(path: str, ending: str, answer: Callable[[Request], Awaitable[Response]]) -> Route:
    async def with_ending(request: Request) -> Response:
        request.path_params["ending"] = ending
        return await answer(request)

    return Route(path + ending, with_ending, methods=["GET"])


def _next(work: Iterator[Said]) -> Said | None:
    """The next line of a drawing; an error is its last one; None at its end."""
    try:
        return next(work, None)
    except Exception as error:  # the stream has begun: there is no other way to say it
        return {"error": said_of(error)}


def said_of(error: Exception) -> str:
    """One plain line for the page."""
    if isinstance(error, GlyffError):
        return str(error).replace("`", "")
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
        return "there is not enough memory for this; close other programs"
    if isinstance(error, OSError):
        return f"the disk does not take it: {error.strerror or error}"
    return f"a bug in glyffctl {__version__}, {type(error).__name__}: {str(error)[:200]}; please report it"


async def _refused(request: Request, error: Exception) -> Response:  # noqa: ARG001
    if isinstance(error, HTTPException):
        return JSONResponse({"error": error.detail}, error.status_code)
    return JSONResponse({"error": said_of(error)}, 400)


async def _failed(request: Request, error: Exception) -> Response:  # noqa: ARG001
    return JSONResponse({"error": said_of(error)}, 500)
