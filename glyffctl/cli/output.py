"""Running a workflow for the terminal, and printing its result."""

from __future__ import annotations

import gc
from typing import Any


def run(workflow: Any, *, as_json: bool) -> Any:
    """Run `workflow` to its end and return its result.

    Args:
        workflow: a generator of events that returns a report.
        as_json: print the report as JSON and no events.
    """
    from glyffctl.display.console import Display, emit_json

    if not gc.isenabled():  # by `main`, while all of this was imported
        gc.freeze()
        gc.enable()
    result = Display(quiet=as_json).run(workflow)
    if as_json and result is not None:
        emit_json(result)
    return result


def say(text: object) -> None:
    """Print one line of a result on stdout."""
    from glyffctl.display.console import say

    say(text)
