"""Parsing and drawing fonts in worker processes: on all cores, and isolated.

Fonts are untrusted programs. One that makes FreeType crash, hang or exhaust memory ends only a worker and is reported
by name. Workers start with "spawn": scripts that call this keep their own code under `if __name__ == "__main__"`.
"""

from __future__ import annotations

import itertools
import resource
import signal
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, TimeoutError
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import lru_cache
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from pebble import ProcessExpired, ProcessPool

from glyffctl.core.data.fonts import Face, Fit, GlyphRenderer, Picture, read_face, share_sets
from glyffctl.core.errors import FontError, GlyffError
from glyffctl.core.io.cores import usable_cores

MEMORY = 4 * 2**30
"""Limit of a worker's address space, in bytes; ten times what it needs."""
SECONDS = 60.0
"""Time limit for parsing some faces of a file, or drawing `CHUNK` glyphs: a hundred times what that takes."""
CHUNK, CHUNK_BYTES = 128, 1 << 21
"""Limits of the glyphs, and their bytes, in one task: 128 of 128×128, two of 1024×1024."""
_PREFETCH = 3  # tasks in flight for each worker, whose results the parent may have to hold
_Part = TypeVar("_Part")
_Result = TypeVar("_Result")


class DrawnChunk(NamedTuple):
    """Characters of a face, drawn by one task."""

    face: Face
    codepoints: list[int]
    outcomes: list[int | str | None]
    """For each character the CRC-32 of its picture, None if it is blank, or why it cannot be drawn."""
    kept: Any
    """What `keep` made of the pictures of those with a checksum; None if the whole task failed."""
    notdef: int | None
    """The CRC-32 of the picture of .notdef, which stands for missing characters; None if it has none."""


class FontWorkers:
    """A pool of workers; `font_workers` makes one."""

    def __init__(self, pool: ProcessPool, count: int) -> None:
        self._pool, self._count = pool, count

    def start(self) -> None:
        """Start the workers, which otherwise start with the first task."""
        _ = self._pool.active

    def read(self, files: Iterable[Path], weight: int | None = None) -> Iterator[tuple[Path, list[Face] | FontError]]:
        """Parse files in order: the faces of each, see `fonts.read_faces`, or the error.

        The work begins with the call, and the faces of a file are divided among the workers.
        """
        tasks = _prefetched(((file, self._read(file, weight)) for file in files), self._count * _PREFETCH)
        return map(_collect, tasks)

    def _read(self, file: Path, weight: int | None) -> tuple[Future[Any], Future[list[Future[Any]]]]:
        """The task for the first face, which also counts them, and those for the others, which begin after it."""
        others: Future[list[Future[Any]]] = Future()

        def begin(task: Future[Any]) -> None:
            slices: list[Future[Any]] = []
            try:
                _, count = task.result()
                # As many tasks as workers: a file may claim millions of faces.
                length = -(-(count - 1) // self._count)
                for start in range(1, count, length or 1):
                    some = range(start, min(start + length, count))
                    slices.append(self._pool.schedule(_read_some, (file, some, weight), timeout=SECONDS))
            except BaseException as error:  # of the task, where it is raised first; or of a pool that has stopped
                others.set_exception(error)
            else:
                others.set_result(slices)

        first = self._pool.schedule(read_face, (file, 0, weight), timeout=SECONDS)
        first.add_done_callback(begin)
        return first, others

    def draw(
        self,
        jobs: Iterable[tuple[Face, Sequence[int]]],
        size: int,
        fit: Fit = "ink",
        keep: Callable[[int, Picture], Any] | None = None,
    ) -> Iterator[DrawnChunk]:
        """Draw characters of faces, in order; see `fonts.draw_glyphs`.

        A glyph that FreeType cannot draw fails alone. One that crashes its worker fails with its whole task, which has
        at most `CHUNK` glyphs.

        Args:
            jobs: faces, and the code points to draw with each.
            size: of the pictures, in pixels.
            fit: see `fonts.draw_glyphs`.
            keep: called in the worker with the pictures of a task, (B, size, size) uint8, and the row at which the
                first of them is if no character before is blank or fails. It is pickled, and so is what it returns,
                by default the pictures.

        Yields:
            Some characters of one face at a time.

        Raises:
            OSError: of `keep`.
        """
        length = max(1, min(CHUNK, CHUNK_BYTES // size**2))
        chunks = (
            (face, list(codepoints[start : start + length]))
            for face, codepoints in jobs
            for start in range(0, len(codepoints), length)
        )
        tasks = self._draw_tasks(chunks, size, fit, keep or _as_they_are)
        for (face, chunk), task in _prefetched(tasks, self._count * _PREFETCH):
            try:
                outcomes, kept, notdef = _result(task, face.file, "draw with")
            except FontError as error:
                outcomes, kept, notdef = [str(error)] * len(chunk), None, None
            yield DrawnChunk(face, chunk, outcomes, kept, notdef)

    def _draw_tasks(
        self, chunks: Iterable[tuple[Face, list[int]]], size: int, fit: Fit, keep: Callable[[int, Picture], Any]
    ) -> Iterator[tuple[tuple[Face, list[int]], Future[Any]]]:
        row = 0
        for face, chunk in chunks:
            arguments = (_without_characters(face), chunk, size, fit, row, keep)
            yield (face, chunk), self._pool.schedule(_draw, arguments, timeout=SECONDS)
            row += len(chunk)

    def map(self, function: Callable[[_Part], _Result], parts: Iterable[_Part]) -> Iterator[_Result]:
        """Apply a function of glyffctl to each part in the workers, in order; all of them begin with the call.

        Raises:
            GlyffError: a worker ended, which can only be for want of memory.
        """
        tasks = [self._pool.schedule(function, (part,)) for part in parts]
        return map(_plain_result, tasks)


class _Worker(SpawnProcess):
    """A worker that never hears of Ctrl-C, not even while it starts: the parent ends it."""

    def start(self) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # children inherit it
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Context(SpawnContext):
    Process = _Worker


class _Pool(ProcessPool):
    def _stop_pool(self) -> None:
        """End the workers, and only then what they share: one that still starts would report that it is missing."""
        if self._pool_manager_loop is not None:
            self._pool_manager_loop.join()  # it replaces workers that end
        workers = list(self._pool_manager.worker_manager.workers.values())
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.join()
        super()._stop_pool()


@contextmanager
def font_workers() -> Iterator[FontWorkers]:
    """A worker for each core; they start with the first task, and end with the block."""
    count = usable_cores()
    pool = _Pool(count, context=_Context(), initializer=_limit_worker)
    try:
        yield FontWorkers(pool, count)
    finally:
        pool.stop()
        pool.join()


def _limit_worker() -> None:
    """Set the limits of a worker before its first task."""
    with suppress(ValueError, OSError):  # the system has a smaller limit, or none
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _read_some(path: Path, indices: range, weight: int | None) -> list[Face]:
    return share_sets(read_face(path, index, weight)[0] for index in indices)


def _collect(
    task: tuple[Path, tuple[Future[Any], Future[list[Future[Any]]]]],
) -> tuple[Path, list[Face] | FontError]:
    """The faces of a file from the tasks that read them, or the error of the first that failed."""
    file, (first, others) = task
    try:
        face, _ = _result(first, file, "read")
        slices = (_result(some, file, "read") for some in others.result())
        return file, share_sets(itertools.chain([face], *slices))
    except FontError as error:
        return file, error


def _without_characters(face: Face) -> Face:
    """The face as drawing needs it, without its tens of thousands of code points."""
    return replace(face, codepoints=frozenset(), without_glyph=frozenset(), shared=())


_cached_renderer = lru_cache(maxsize=1)(
    GlyphRenderer
)  # in a worker, where the next chunk is mostly one of the same face


def _as_they_are(row: int, pictures: Picture) -> Picture:  # noqa: ARG001
    return pictures


def _draw(
    face: Face, codepoints: list[int], size: int, fit: Fit, row: int, keep: Callable[[int, Picture], Any]
) -> tuple[list[int | str | None], Any, int | None]:
    """The last three fields of `DrawnChunk`."""
    renderer = _cached_renderer(face, size, fit)
    outcomes: list[int | str | None] = []
    pictures = np.empty((len(codepoints), size, size), np.uint8)
    count = 0
    for codepoint in codepoints:
        try:
            picture = renderer.draw(codepoint)
        except FontError as error:
            outcomes.append(str(error))
            continue
        outcomes.append(None if picture is None else zlib.crc32(picture.data))
        if picture is not None:
            pictures[count] = picture
            count += 1
    return outcomes, keep(row, pictures[:count]), renderer.notdef_checksum


def _prefetched(tasks: Iterator[tuple[Any, Any]], most: int) -> Iterator[tuple[Any, Any]]:
    """Iterate over tasks in order, and keep `most` of them running, from this call on."""
    begun = deque(itertools.islice(tasks, most))

    def rest() -> Iterator[tuple[Any, Any]]:
        while begun:
            yield begun.popleft()
            begun.extend(itertools.islice(tasks, 1))

    return rest()


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
        raise _cannot_start() from error
    raise FontError(f"cannot {what} {file}: {why}") from None


def _plain_result(task: Future[Any]) -> Any:
    try:
        return task.result()
    except (ProcessExpired, MemoryError) as error:
        raise GlyffError("a worker process ran out of memory; close other programs and try again") from error
    except BrokenProcessPool as error:
        raise _cannot_start() from error


def _cannot_start() -> GlyffError:
    return GlyffError(
        "the worker processes for fonts cannot start; a script that calls `prepare` needs its own code "
        'under `if __name__ == "__main__"`'
    )
