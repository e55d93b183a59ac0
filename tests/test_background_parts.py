"""What lets a checkpoint run beside training: a thread, a stream of a GPU, memory, a log and pictures that two use."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.errors import OutputError
from glyffctl.workflows.background import Background
from glyffctl.workflows.checkpoint_work import has_room_beside_training
from glyffctl.workflows.run_log import RunLog
from glyffctl.workflows.streams import SideStream, StepsAhead
from tests.test_train import log

LONG = 30.0  # seconds until a test that hangs fails


def numbers(count: int, gate: threading.Event) -> Generator[int, None, str]:
    yield from range(count)
    assert gate.wait(LONG)
    yield count
    return "done"


def taken(background: Background[int, str], *, wait: bool) -> tuple[list[int], str | None]:
    found: list[int] = []
    work = background.take(wait=wait)
    while True:
        try:
            found.append(next(work))
        except StopIteration as stop:
            return found, stop.value


def test_work_in_the_background_tells_in_order_returns_raises_and_stops() -> None:
    background: Background[int, str] = Background()
    assert not background.busy and taken(background, wait=True) == ([], None)
    gate = threading.Event()
    background.start(numbers(3, gate))
    early: list[int] = []
    while len(early) < 3:
        found, ended = taken(background, wait=False)
        early += found
        assert ended is None and background.busy
    gate.set()
    assert (early, taken(background, wait=True), background.busy) == ([0, 1, 2], ([3], "done"), False)

    def failing() -> Generator[int, None, str]:
        yield 1
        raise OutputError("full")

    background.start(failing())
    with pytest.raises(OutputError, match="full"):
        taken(background, wait=True)
    assert not background.busy

    closed, gate = [], threading.Event()

    def endless() -> Generator[int, None, str]:
        try:
            while True:
                yield 0
                gate.set()
        finally:
            closed.append(threading.current_thread() is not threading.main_thread())

    background.start(endless())
    assert gate.wait(LONG)
    background.stop()
    assert closed == [True] and not background.busy and taken(background, wait=True) == ([], None)
    background.start(numbers(0, gate))
    assert taken(background, wait=True) == ([0], "done")
    background.stop()


class Told:
    """A stream, or an event: what was called on it, in the list that all share."""

    calls: ClassVar[list[tuple[str, int]]] = []
    made: ClassVar[int] = 0

    def __init__(self, *_: object, **__: object) -> None:
        self.number = Told.made
        Told.made += 1

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: Told.calls.append((name, self.number))


def test_a_stream_of_its_own_follows_the_first_and_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda", 0)
    for name in ("Stream", "Event", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, Told)
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    monkeypatch.setattr(Told, "calls", [])
    side = SideStream(gpu)
    side.follow()
    with suppress(OutputError), side.use():
        raise OutputError("full")
    assert [name for name, _ in Told.calls] == ["wait_stream", "synchronize"]

    monkeypatch.setattr(Told, "calls", [])
    ahead = StepsAhead(gpu)
    for _ in range(10):
        ahead.asked()
    recorded, waited = ([number for name, number in Told.calls if name == what] for what in ("record", "synchronize"))
    assert len(recorded) == 10 and waited == recorded[:7]
    monkeypatch.setattr(Told, "calls", [])
    StepsAhead(torch.device("cpu")).asked()
    SideStream(torch.device("cpu")).follow()
    assert not Told.calls


def test_room_is_what_the_copy_and_drawing_need(monkeypatch: pytest.MonkeyPatch) -> None:
    free = 0
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 20 << 30)  # for 64 pictures: 10 for 32
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free << 30, 80 << 30))
    state = {"weight": torch.empty(1 << 28, device="meta")}  # 1 GiB
    trainer: Any = SimpleNamespace(
        device=torch.device("cuda", 0),
        config=SimpleNamespace(training=SimpleNamespace(batch=64)),
        state=lambda: (state, {}),
    )
    for free, room in ((11, False), (12, True)):  # noqa: B007 (`mem_get_info` tells it)
        assert has_room_beside_training(trainer) == room


def test_pictures_are_read_by_one_thread_at_a_time() -> None:
    """Readers keep what they have read, and are not made for two."""
    inside: list[int] = []
    most = []

    def pixels(index: Tensor) -> Tensor:
        inside.append(1)
        time.sleep(0.02)  # the other thread's turn
        most.append(len(inside))
        inside.pop()
        return torch.zeros(len(index), 2, 2, dtype=torch.uint8)

    table: Any = None
    rows = torch.arange(4)
    glyphs = GlyphSet(2, [], [], [], table, rows, rows, pixels, "")
    threads = [threading.Thread(target=glyphs.images, args=(rows,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1]


def test_a_resumed_log_keeps_what_a_checkpoint_measured_however_late(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"images": 8}, {"images": 24}, {"images": 16, "validation": {}}, {"images": 32}]
    book = RunLog(tmp_path, tensorboard=False)
    for row in rows:
        book.write(row)
    book.rewind(16)
    assert log(tmp_path) == [rows[0], rows[2]]
