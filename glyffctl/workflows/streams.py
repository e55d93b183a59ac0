"""A GPU works off streams of kernels in its own time: a second stream beside the first, and a bound on the first."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_STEPS_AHEAD = 3  # enough that a GPU never runs dry, and few enough that a clock beside it tells the truth


class SideStream:
    """A stream of a GPU for one other thread. On other devices there is none, and nothing happens."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def follow(self) -> None:
        """Make what will come wait for all that the caller's stream was asked for so far; the caller does not wait."""
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(self._device))

    @contextmanager
    def use(self) -> Iterator[None]:
        """Use it for what this thread asks for in the block, and wait for that at the end."""
        if self._stream is None:
            yield
            return
        with torch.cuda.stream(self._stream):
            try:
                yield
            finally:
                # Memory of the caller's stream that was read here may be given back after this, and used anew.
                self._stream.synchronize()


class StepsAhead:
    """Keeps a CPU at most a few steps ahead of its GPU.

    Otherwise the whole of a budget could be asked for in a moment, long before any of it is done.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._asked: deque[torch.cuda.Event] | None = deque() if device.type == "cuda" else None

    def asked(self) -> None:
        """Note that a step was asked for; wait for the one `_STEPS_AHEAD` before it."""
        if self._asked is None:
            return
        event = torch.cuda.Event(blocking=True)  # a thread that waits sleeps
        event.record(torch.cuda.current_stream(self._device))
        self._asked.append(event)
        if len(self._asked) > _STEPS_AHEAD:
            self._asked.popleft().synchronize()
