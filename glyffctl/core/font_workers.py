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
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, TimeoutError
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pebble import ProcessExpired, ProcessPool

from glyffctl.core.errors import FontError
from glyffctl.core.fonts import Face, Fit, Picture, draw_glyphs, read_faces

MEMORY = 4 * 2**30
"""Address space of a worker, in bytes; one at work takes a tenth of it."""
SECONDS = 60.0
"""For reading one file, or drawing `CHUNK` glyphs: a hundred times what that takes."""
CHUNK, CHUNK_BYTES = 256, 1 << 22
"""Glyphs drawn at once, at most: 256 of 128×128, four of 1024×1024."""
_AHEAD = 3  # chunks in flight for each worker: as much as the parent may have to hold


class Drawn(NamedTuple):
    """One glyph, or the end of what can be had of a face."""

    face: Face
    codepoint: int
    picture: Picture | None
    """None where the glyph is blank, or could not be drawn."""
    failure: FontError | None = None
    """Why this glyph and others near it could not be drawn."""


class FontWorkers:
    """A pool of workers; made by `font_workers`."""

    def __init__(self, pool: ProcessPool, count: int) -> None:
        self._pool, self._count = pool, count

    def read(self, files: Iterable[Path]) -> Iterator[tuple[Path, list[Face] | FontError]]:
        """The faces of each file, or why there are none, in the order of the files."""
        tasks = ((file, self._pool.schedule(read_faces, (file,), timeout=SECONDS)) for file in files)
        for file, task in _ahead(tasks, self._count * _AHEAD):
            try:
                yield file, _result(task, file, "read")
            except FontError as error:
                yield file, error

    def draw(self, jobs: Iterable[tuple[Face, Sequence[int]]], size: int, fit: Fit = "ink") -> Iterator[Drawn]:
        """Draw these characters of these faces, in this order: see `fonts.draw_glyphs`.

        Where a glyph breaks its worker, the chunk of at most `CHUNK` it is in is lost, and nothing else.
        """
        length = max(1, min(CHUNK, CHUNK_BYTES // size**2))
        chunks = (
            (face, list(codepoints[start : start + length]))
            for face, codepoints in jobs
            for start in range(0, len(codepoints), length)
        )
        tasks = (
            ((face, chunk), self._pool.schedule(_draw, (_bare(face), chunk, size, fit), timeout=SECONDS))
            for face, chunk in chunks
        )
        for (face, chunk), task in _ahead(tasks, self._count * _AHEAD):
            try:
                blank, pictures = _result(task, face.file, "draw with")
            except FontError as error:
                yield from (Drawn(face, codepoint, None, error) for codepoint in chunk)
                continue
            left = iter(pictures)
            for codepoint, nothing in zip(chunk, blank, strict=True):
                yield Drawn(face, codepoint, None if nothing else next(left))


@contextmanager
def font_workers() -> Iterator[FontWorkers]:
    """Workers for all cores; they end with the block, however it ends."""
    count = os.cpu_count() or 1
    pool = ProcessPool(count, context=multiprocessing.get_context("spawn"), initializer=_limit)
    try:
        yield FontWorkers(pool, count)
    finally:
        pool.stop()
        pool.join()


def _limit() -> None:
    """Before a worker's first task."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its workers
    with suppress(ValueError, OSError):  # a system that has a smaller limit, or none to set
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _bare(face: Face) -> Face:
    """What drawing needs: not the tens of thousands of characters that could be drawn."""
    return replace(face, codepoints=frozenset())


def _draw(face: Face, codepoints: list[int], size: int, fit: Fit) -> tuple[list[bool], Picture]:
    """Which of the glyphs are blank, and the others (n, size, size)."""
    pictures = [picture for _, picture in draw_glyphs(face, codepoints, size, fit)]
    inked = [picture for picture in pictures if picture is not None]
    stacked = np.stack(inked) if inked else np.empty((0, size, size), np.uint8)
    return [picture is None for picture in pictures], stacked


def _ahead(tasks: Iterator[tuple[Any, Future[Any]]], most: int) -> Iterator[tuple[Any, Future[Any]]]:
    """The tasks in their order, with `most` of them begun before the first is asked for."""
    begun = deque(itertools.islice(tasks, most))
    while begun:
        yield begun.popleft()
        begun.extend(itertools.islice(tasks, 1))


def _result(task: Future[Any], file: Path, what: str) -> Any:
    try:
        return task.result()
    except TimeoutError:
        why = f"it took longer than {SECONDS:.0f} seconds"
    except ProcessExpired as expired:
        why = f"it brought the font library down (exit code {expired.exitcode})"
    except MemoryError:
        why = f"it wanted more than {MEMORY / 2**30:.0f} GB of memory"
    raise FontError(f"cannot {what} {file}: {why}; replace the file") from None
