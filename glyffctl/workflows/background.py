"""One piece of work beside the main loop: a generator that runs in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from glyffctl.workflows.events import finish

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Stopped(Exception):  # noqa: N818 (no error: the work ends as it was asked to)
    pass


@dataclass(frozen=True)
class _End(Generic[Result]):
    """The last thing in the queue: what the work returned, or what it raised."""

    result: Result | None = None
    error: BaseException | None = None


class Background(Generic[Item, Result]):
    """Runs one generator at a time in a thread, and hands what it yields, returns or raises to the thread that asks.

    The generator must share nothing with the main loop that either of them changes.
    """

    def __init__(self, around: Callable[[], AbstractContextManager[object]] = nullcontext) -> None:
        """`around` makes a context in which each piece of work runs, in its thread."""
        self._around = around
        self._queue: SimpleQueue[Item | _End[Result]] = SimpleQueue()
        self._works: SimpleQueue[Generator[Item, None, Result] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self.busy = False
        """Whether there is work whose end was not taken yet."""

    def start(self, work: Generator[Item, None, Result]) -> None:
        """Run `work`; the work before it must have been taken to its end."""
        assert not self.busy
        self.busy = True
        if self._thread is None:
            # One for all work: what cuDNN found out about the shapes that it meets belongs to a thread.
            self._thread = threading.Thread(target=self._run, name="checkpoint")
            self._thread.start()
        self._works.put(work)

    def take(self, *, wait: bool) -> Generator[Item, None, Result | None]:
        """Yield what the work has yielded since the last call; with `wait`, until it has ended.

        Returns what the work returned, or None if it has not ended; raises what it raised.
        """
        while self.busy:
            try:
                item = self._queue.get(block=wait)
            except Empty:
                return None
            if isinstance(item, _End):
                self.busy = False
                if item.error is not None:
                    raise item.error
                return item.result
            yield item
        return None

    def stop(self) -> None:
        """End the work where it yields next, wait for that, and forget what it has left to tell."""
        self._stop.set()
        if self._thread is not None:
            self._works.put(None)
            self._thread.join()
            self._thread = None
        self._queue, self.busy = SimpleQueue(), False
        self._stop.clear()

    def _run(self) -> None:
        while (work := self._works.get()) is not None:
            try:
                with self._around(), closing(work):
                    end = _End(finish(work, self._hand_on))
            except BaseException as error:
                end = _End(error=error)
            del work  # and the memory that it holds, before the main loop hears of the end
            self._queue.put(end)
            del end

    def _hand_on(self, item: Item) -> None:
        if self._stop.is_set():
            raise _Stopped
        self._queue.put(item)
