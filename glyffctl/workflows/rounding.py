"""Warnings about pictures that are redrawn where sums are rounded otherwise. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Generator
from dataclasses import dataclass

from glyffctl.workflows.events import Caution


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What the last digits of a picture depend on; None where it is not known, as of a picture that is new.

    Attributes:
        device: the kind of device, such as "cpu".
        runtime: the library that computes.
        threads: CPU threads.
        batch: pictures drawn at once.
    """

    device: str | None
    runtime: str | None = None
    threads: int | None = None
    batch: int | None = None


def warn_of_rounding(before: Conditions, now: Conditions) -> Generator[Caution, None, None]:
    """Warn if a picture is redrawn elsewhere, by another library or with less: then sums are rounded anew."""
    differ = "pixels may differ by rounding"
    if before.device not in (None, now.device):
        yield Caution(
            f"the picture was drawn on {before.device}, not {now.device}: {differ}",
            "other-device",
            {"drawn_on": before.device, "device": now.device},
        )
    elif before.runtime not in (None, now.runtime):
        yield Caution(
            f"the picture was drawn with {before.runtime}, not {now.runtime}: {differ}",
            "other-runtime",
            {"runtime": before.runtime, "now": now.runtime},
        )
    elif now.device == "cpu" and before.threads is not None and before.threads > processors():
        yield Caution(
            f"the picture was drawn with {before.threads:,} threads, this machine has {processors()} processors: "
            f"{differ}",
            "fewer-processors",
            {"threads": before.threads, "processors": processors()},
        )
    elif None not in (before.device, before.batch) and (now.batch or 0) < (before.batch or 0):
        yield Caution(
            f"pictures were drawn {before.batch:,} at once, memory holds {now.batch:,}: {differ}",
            "smaller-batch",
            {"batch": before.batch, "now": now.batch},
        )


def processors() -> int:
    """Processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
