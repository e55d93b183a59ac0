"""Display of events: bars on a terminal, plain lines elsewhere. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from glyffctl.core.io.names import printable
from glyffctl.workflows import events

_PLAIN_FIRST = 3.0  # seconds before the first plain progress line of a task
_PLAIN_EVERY = 10.0  # and between the next ones, in its first minute
_PLAIN_LATER = 60.0  # and after it


class Display:
    """Displays the events of a workflow."""

    def __init__(self, *, quiet: bool = False) -> None:
        """Write to stderr, or nowhere if `quiet`."""
        self.console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=28),
            TextColumn("{task.fields[amount]}", markup=False),
            TimeRemainingColumn(compact=True),
            # The last column is cut if a line is too long.
            TextColumn("{task.fields[note]}", "dim", markup=False, table_column=Column(no_wrap=True, ratio=1)),
            console=self.console,
            expand=True,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._last_event = time.monotonic()
        self._last_line: dict[str, float] = {}  # time of the last line of each task
        self._first_event: dict[str, tuple[float, float, float]] = {}  # of a task: time of the event before, time, done

    def run(self, workflow: Generator[events.Event, None, events.Result]) -> events.Result:
        """Run `workflow` to its end, display its events, and return its result."""
        if self.console.is_terminal:
            with self._bars:
                return self._drain(workflow)
        return self._drain(workflow)

    def _drain(self, workflow: Generator[events.Event, None, events.Result]) -> events.Result:
        while True:
            try:
                event = next(workflow)
            except StopIteration as stop:
                result: events.Result = stop.value
                return result
            self._show(event)

    def _show(self, event: events.Event) -> None:
        match event:
            case events.Note(text):
                self.console.print(plain(text))
            case events.Caution(text):
                self.console.print(Text.assemble(("note:", "yellow"), " ", plain(text)))
            case events.Progress():
                (self._bar if self.console.is_terminal else self._line)(event)
        self._last_event = time.monotonic()

    def _bar(self, event: events.Progress) -> None:
        if event.task not in self._tasks:
            name = printable(event.task)
            self._tasks[event.task] = self._bars.add_task(name, total=event.total, amount="", note="")
        self._bars.update(
            self._tasks[event.task],
            completed=event.done,
            total=event.total,
            amount=_amount(event),
            note=printable(event.note),
            visible=event.total is None or event.done < event.total,
        )

    def _line(self, event: events.Progress) -> None:
        now = time.monotonic()
        before, first, done = self._first_event.setdefault(event.task, (self._last_event, now, event.done))
        last = self._last_line.get(event.task)
        if last is None:
            ended = event.total is not None and event.done >= event.total
            silent = now - before < _PLAIN_FIRST or event.done == 0 or ended
        else:
            silent = now - last < (_PLAIN_EVERY if now - first < 60 else _PLAIN_LATER)
        if silent:
            return
        self._last_line[event.task] = now
        parts = [f"{event.task}: {_amount(event)}", _left(event, event.done - done, now - first), event.note]
        self.console.print(plain("  ".join(filter(None, parts))))


def _left(event: events.Progress, done: float, seconds: float) -> str:
    """The remaining time, extrapolated from `done` units in `seconds`; "" if it cannot be estimated."""
    if event.total is None or done <= 0 or event.done >= event.total or seconds < 2:
        return ""
    left = (event.total - event.done) * seconds / done
    if not left < 100 * 86_400:
        return ""
    if left < 90:
        return f"about {max(1, round(left))} s left"
    hours, minutes = divmod(round(left / 60), 60)
    return f"about {hours} h {minutes} min left" if hours else f"about {minutes} min left"


def _amount(event: events.Progress) -> str:
    if event.unit == "s" and event.total is not None:
        return f"{event.done / 60:.1f} of {event.total / 60:g} min"
    total = "" if event.total is None else f"/{event.total:,.0f}"
    return f"{event.done:,.0f}{total} {event.unit}".rstrip()


def plain(text: str) -> Text:
    """Untrusted `text` for rich: printable, and not parsed for markup or emoji names."""
    return Text(printable(text))


def say(text: object) -> None:
    """Print one line of a result on stdout."""
    sys.stdout.write(printable(str(text)) + "\n")


def fail(message: str, label: str) -> None:
    """Print on stderr why the program ends: `label` and one plain line."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(Text.assemble((label, "red"), plain(message)))


def emit_json(result: Any) -> None:
    """Print a report as one line of JSON on stdout, for programs; in ASCII, without control characters."""

    def path(value: Any) -> Any:
        if isinstance(value, Path):
            return str(value)
        raise TypeError(f"{type(value)} in a report")

    text = json.dumps(dataclasses.asdict(result), default=path)
    sys.stdout.write(text.replace("\x7f", "\\u007f") + "\n")
