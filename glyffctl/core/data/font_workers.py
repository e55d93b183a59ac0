"""Fonts read and drawn in processes of their own: on all cores, and at arm's length.

A font is a program from a stranger. One that makes FreeType crash, hang or swallow memory takes a worker with it, and
is named; the program goes on. Workers are started afresh ("spawn"): a script of yours that calls this has to keep its
own work under `if __name__ == "__main__"`, as Python asks of all scripts that start processes so.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import resource
import signal
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, TimeoutError
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pebble import ProcessExpired, ProcessPool

from glyffctl.core.data.fonts import Face, Fit, GlyphRenderer, Picture, read_faces
from glyffctl.core.errors import FontError, GlyffError

MEMORY = 4 * 2**30
"""Address space of a worker, in bytes; one at work takes a tenth of it."""
SECONDS = 60.0
"""For reading one file, or drawing `CHUNK` glyphs: a hundred times what that takes."""
CHUNK, CHUNK_BYTES = 256, 1 << 22
"""Glyphs drawn at once, at most: 256 of 128×128, four of 1024×1024."""
_PREFETCH = 3  # chunks in flight for each worker: as much as the parent may have to hold


class RenderedGlyph(NamedTuple):
    """One glyph, or why there is none."""

    face: Face
    codepoint: int
    picture: Picture | None
    """None where the glyph is blank, or could not be drawn."""
    failure: FontError | None = None
    """Why this glyph could not be drawn."""
    checksum: int = 0
    """CRC-32 of the picture."""
    missing: bool = False
    """Whether the picture is the one that the face shows for a character that it lacks."""


class _RenderedChunk(NamedTuple):
    """What a worker has drawn: of each glyph its checksum, None if it is blank, or why it could not be drawn."""

    outcomes: list[int | str | None]
    pictures: Picture  # (those with a checksum, size, size)
    missing: int | None  # the checksum of .notdef


class FontWorkers:
    """A pool of workers; made by `font_workers`."""

    def __init__(self, pool: ProcessPool, count: int) -> None:
        self._pool, self._count = pool, count

    def read(self, files: Iterable[Path], weight: int | None = None) -> Iterator[tuple[Path, list[Face] | FontError]]:
        """The faces of each file, or why there are none, in the order of the files: see `fonts.read_faces`."""
        tasks = ((file, self._pool.schedule(read_faces, (file, weight), timeout=SECONDS)) for file in files)
        for file, task in _prefetched(tasks, self._count * _PREFETCH):
            try:
                yield file, _result(task, file, "read")
            except FontError as error:
                yield file, error

    def draw(self, jobs: Iterable[tuple[Face, Sequence[int]]], size: int, fit: Fit = "ink") -> Iterator[RenderedGlyph]:
        """Draw these characters of these faces, in this order: see `fonts.draw_glyphs`.

        A glyph that FreeType cannot draw is told, and where one breaks its worker, the chunk of at most `CHUNK` it is
        in; the others are drawn.
        """
        length = max(1, min(CHUNK, CHUNK_BYTES // size**2))
        chunks = (
            (face, list(codepoints[start : start + length]))
            for face, codepoints in jobs
            for start in range(0, len(codepoints), length)
        )
        tasks = (
            ((face, chunk), self._pool.schedule(_draw, (_without_characters(face), chunk, size, fit), timeout=SECONDS))
            for face, chunk in chunks
        )
        for (face, chunk), task in _prefetched(tasks, self._count * _PREFETCH):
            try:
                drawn: _RenderedChunk = _result(task, face.file, "draw with")
            except FontError as error:
                yield from (RenderedGlyph(face, codepoint, None, error) for codepoint in chunk)
                continue
            left = iter(drawn.pictures)
            for codepoint, outcome in zip(chunk, drawn.outcomes, strict=True):
                if isinstance(outcome, int):
                    yield RenderedGlyph(face, codepoint, next(left), None, outcome, outcome == drawn.missing)
                else:
                    yield RenderedGlyph(face, codepoint, None, None if outcome is None else FontError(outcome))


@contextmanager
def font_workers() -> Iterator[FontWorkers]:
    """Workers for all cores; they end with the block, however it ends."""
    count = os.cpu_count() or 1
    pool = ProcessPool(count, context=multiprocessing.get_context("spawn"), initializer=_limit_worker)
    try:
        yield FontWorkers(pool, count)
    finally:
        pool.stop()
        pool.join()


def _limit_worker() -> None:
    """Before a worker's first task."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its workers
    with suppress(ValueError, OSError):  # a system that has a smaller limit, or none to set
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _without_characters(face: Face) -> Face:
    """What drawing needs: not the tens of thousands of characters that could be drawn."""
    return replace(face, codepoints=frozenset(), without_glyph=frozenset(), shared=())


_cached_renderer = lru_cache(maxsize=1)(
    GlyphRenderer
)  # in a worker, where the next chunk is mostly one of the same face


def _draw(face: Face, codepoints: list[int], size: int, fit: Fit) -> _RenderedChunk:
    renderer = _cached_renderer(face, size, fit)
    outcomes: list[int | str | None] = []
    pictures: list[Picture] = []
    for codepoint in codepoints:
        try:
            picture = renderer.draw(codepoint)
        except FontError as error:
            outcomes.append(str(error))
            continue
        outcomes.append(None if picture is None else zlib.crc32(picture.data))
        if picture is not None:
            pictures.append(picture)
    stacked = np.stack(pictures) if pictures else np.empty((0, size, size), np.uint8)
    return _RenderedChunk(outcomes, stacked, renderer.missing)


def _prefetched(tasks: Iterator[tuple[Any, Future[Any]]], most: int) -> Iterator[tuple[Any, Future[Any]]]:
    """The tasks in their order, with `most` of them begun before the first is asked for."""
    begun = deque(itertools.islice(tasks, most))
    while begun:
        yield begun.popleft()
        begun.extend(itertools.islice(tasks, 1))


def _result(task: Future[Any], file: Path, what: str) -> Any:
    try:
        return task.result()
    except TimeoutError:
        why = f"it took longer than {SECONDS:.0f} seconds; the font is damaged, or the machine is very busy"
    except ProcessExpired as expired:
        why = f"the process that did it ended with code {expired.exitcode}; the font, or the font library, has a fault"
    except MemoryError:
        why = f"it wanted more than {MEMORY / 2**30:.0f} GB of memory; the font is damaged"
    except BrokenProcessPool as error:
        raise GlyffError(
            "the processes that read fonts cannot be started; a script of yours that calls this needs its own work "
            'under `if __name__ == "__main__"`'
        ) from error
    raise FontError(f"cannot {what} {file}: {why}") from None
