"""The events that a workflow yields while it works.

A workflow is a generator of events that *returns* its result, so a command line can draw bars, a notebook can ignore
them, and a workflow can include another one with `yield from`:

    result = finish(prepare(PrepareOptions(fonts=[Path("fonts/")])))
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` units of `task`; `total` is None while it is not known. `note` is a short live remark."""

    task: str
    done: float
    total: float | None = None
    unit: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """One line worth reading: what was taken, where something went."""

    text: str


@dataclass(frozen=True, slots=True)
class Caution:
    """One line about something that was left out or is likely not what was meant. The work goes on."""

    text: str


Event = Progress | Note | Caution


def finish(workflow: Generator[object, None, Result]) -> Result:
    """Run a workflow to its end, ignoring its events, and return its result."""
    while True:
        try:
            next(workflow)
        except StopIteration as stop:
            result: Result = stop.value
            return result


def shares(
    work: Generator[float, None, Result], task: str, total: float = 1, unit: str = "", note: str = ""
) -> Generator[Event, None, Result]:
    """Run work that yields the share that is done, 0 to 1, and report it as progress of `total` units of `task`."""
    while True:
        try:
            done = next(work)
        except StopIteration as stop:
            yield Progress(task, total, total, unit, note)
            result: Result = stop.value
            return result
        yield Progress(task, done * total, total, unit, note)


def with_progress(
    drawing: Generator[float, None, Result], start: Progress, each: float = 1.0
) -> Generator[Event, None, Result]:
    """Run work that yields how many pictures are done, and report it from `start` on, each picture counting `each`."""
    while True:
        try:
            done = next(drawing)
        except StopIteration as stop:
            result: Result = stop.value
            return result
        yield replace(start, done=start.done + each * done)
