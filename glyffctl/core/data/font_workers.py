"""Parsing and drawing fonts in worker processes: on all cores, and isolated.

Fonts are untrusted programs. One that makes FreeType crash, hang or exhaust memory ends only a worker and is reported
by name. Workers start with "spawn": scripts that call this keep their own code under `if __name__ == "__main__"`.
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
"""Limit of a worker's address space, in bytes; ten times what it needs."""
SECONDS = 60.0
"""Time limit for parsing one file, or drawing `CHUNK` glyphs: a hundred times what that takes."""
CHUNK, CHUNK_BYTES = 256, 1 << 22
"""Limits of the glyphs, and their bytes, in one task: 256 of 128×128, four of 1024×1024."""
_PREFETCH = 3  # tasks in flight for each worker, whose results the parent may have to hold


class RenderedGlyph(NamedTuple):
    """A glyph as a picture, or the reason why there is none."""

    face: Face
    codepoint: int
    picture: Picture | None
    """None where the glyph is blank or cannot be drawn."""
    failure: FontError | None = None
    """Why the glyph cannot be drawn."""
    checksum: int = 0
    """CRC-32 of the picture."""
    is_notdef: bool = False
    """Whether the picture equals that of .notdef, which stands for missing characters."""


class _RenderedChunk(NamedTuple):
    """The result of one task: for each glyph its checksum, None if it is blank, or an error."""

    outcomes: list[int | str | None]
    pictures: Picture  # (those with a checksum, size, size)
    notdef: int | None  # the checksum of .notdef


class FontWorkers:
    """A pool of workers; `font_workers` makes one."""

    def __init__(self, pool: ProcessPool, count: int) -> None:
        self._pool, self._count = pool, count

    def read(self, files: Iterable[Path], weight: int | None = None) -> Iterator[tuple[Path, list[Face] | FontError]]:
        """Parse files in order: the faces of each, see `fonts.read_faces`, or the error."""
        tasks = ((file, self._pool.schedule(read_faces, (file, weight), timeout=SECONDS)) for file in files)
        for file, task in _prefetched(tasks, self._count * _PREFETCH):
            try:
                yield file, _result(task, file, "read")
            except FontError as error:
                yield file, error

    def draw(self, jobs: Iterable[tuple[Face, Sequence[int]]], size: int, fit: Fit = "ink") -> Iterator[RenderedGlyph]:
        """Draw characters of faces, in order; see `fonts.draw_glyphs`.

        A glyph that FreeType cannot draw has a `failure`. One that crashes its worker fails with its whole task, which
        has at most `CHUNK` glyphs.
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
                chunk_result: _RenderedChunk = _result(task, face.file, "draw with")
            except FontError as error:
                yield from (RenderedGlyph(face, codepoint, None, error) for codepoint in chunk)
                continue
            left = iter(chunk_result.pictures)
            for codepoint, outcome in zip(chunk, chunk_result.outcomes, strict=True):
                if isinstance(outcome, int):
                    yield RenderedGlyph(face, codepoint, next(left), None, outcome, outcome == chunk_result.notdef)
                else:
                    yield RenderedGlyph(face, codepoint, None, None if outcome is None else FontError(outcome))


@contextmanager
def font_workers() -> Iterator[FontWorkers]:
    """Start a worker for each core; they end with the block."""
    count = os.cpu_count() or 1
    pool = ProcessPool(count, context=multiprocessing.get_context("spawn"), initializer=_limit_worker)
    try:
        yield FontWorkers(pool, count)
    finally:
        pool.stop()
        pool.join()


def _limit_worker() -> None:
    """Set the limits of a worker before its first task."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C the parent ends its workers
    with suppress(ValueError, OSError):  # the system has a smaller limit, or none
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _without_characters(face: Face) -> Face:
    """The face as drawing needs it, without its tens of thousands of code points."""
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
    return _RenderedChunk(outcomes, stacked, renderer.notdef_checksum)


def _prefetched(tasks: Iterator[tuple[Any, Future[Any]]], most: int) -> Iterator[tuple[Any, Future[Any]]]:
    """Iterate over tasks in order, and keep `most` of them running."""
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
        why = (
            f"its worker process ended with code {expired.exitcode}; the font is damaged, or the font library has a bug"
        )
    except MemoryError:
        why = f"it needs more than {MEMORY / 2**30:.0f} GB of memory; the font is damaged"
    except BrokenProcessPool as error:
        raise GlyffError(
            "the worker processes for fonts cannot start; a script that calls `prepare` needs its own code "
            'under `if __name__ == "__main__"`'
        ) from error
    raise FontError(f"cannot {what} {file}: {why}") from None
