"""Forecast how long a training takes, and whether that is enough to learn anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from glyffctl.workflows.events import Caution, Note
from glyffctl.workflows.find_model import FEWEST_EPOCHS

_MEASURED = 4.0  # seconds of steps after the first that a forecast needs, and at least two steps


@dataclass(frozen=True, slots=True)
class Pace:
    """A moment of a training.

    Attributes:
        images: pictures trained on so far.
        seconds: of training so far.
    """

    images: int
    seconds: float


def is_measurable(first: Pace, now: Pace, batch: int, *, ended: bool) -> bool:
    """Whether there are enough steps between `first`, the end of this session's first step, and `now` for a speed."""
    return now.images - first.images >= 2 * batch and (now.seconds - first.seconds >= _MEASURED or ended)


def forecast(
    first: Pace, now: Pace, left: float, epoch_size: int, epochs_before: float, *, timed: bool, denoises: bool
) -> Iterator[Note | Caution]:
    """How long an epoch and the budget take; a caution if the budget ends before every glyph was seen once.

    Args:
        first: the end of this session's first step.
        now: the end of the last step.
        left: what is left of the budget: seconds if `timed`, else pictures.
        epoch_size: glyphs in an epoch.
        epochs_before: epochs of training that the initial weights had.
        timed: the budget is a time.
        denoises: a model is trained that draws step by step, as the bundled one, from which it could start.
    """
    speed = (now.images - first.images) / max(1e-9, now.seconds - first.seconds)
    epoch = epoch_size / speed
    total = now.images + max(0.0, left) * (speed if timed else 1)
    epochs = total / epoch_size
    told = f"{epochs:.0f}" if epochs >= 10 else f"{epochs:.2g}"
    yield Note(
        f"{speed:.{speed < 10:d}f} pictures/s: an epoch takes {duration(epoch)}; the budget ends after "
        f"{told} epochs, in {duration((total - now.images) / speed)}",
        "training-forecast",
        {"speed": speed, "epochs": epochs},
    )
    if epochs_before + epochs < FEWEST_EPOCHS:
        few, start = ("to draw anything but smudges", "start from the bundled model with --from bundled, ")
        if not denoises:
            few, start = ("to learn from", "")
        yield Caution(
            f"this budget shows {epochs:.0%} of the glyphs once, too few {few}: train longer (10 epochs take "
            f"{duration(10 * epoch)}), prepare fewer characters (--range 4E00-5FFF), {start}or use a GPU",
            "budget-too-small",
            {"epochs": epochs},
        )


def duration(seconds: float) -> str:
    """A span of time in words: 40 s, 28 min, 3.5 h, 12 days."""
    for limit, unit, name in ((100, 1, "s"), (6000, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}" if seconds >= 10 * unit else f"{seconds / unit:.2g} {name}"
    return f"{seconds / 86400:,.0f} days"
