"""How long a training takes, and whether that is enough to learn anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from glyffctl.workflows.events import Caution, Note
from glyffctl.workflows.models import FEWEST_EPOCHS

_TIMED = 4.0  # seconds of steps after the first, or two at least, that a forecast is made from


@dataclass(frozen=True, slots=True)
class Pace:
    """How far a run is.

    Attributes:
        images: pictures shown.
        seconds: of training.
    """

    images: int
    seconds: float


def is_known(first: Pace, now: Pace, batch: int, *, ended: bool) -> bool:
    """Whether there were enough steps since `first`, the end of this session's first step, to tell the speed."""
    return now.images - first.images >= 2 * batch and (now.seconds - first.seconds >= _TIMED or ended)


def forecast(
    first: Pace, now: Pace, left: float, epoch_size: int, epochs_before: float, *, timed: bool
) -> Iterator[Note | Caution]:
    """How long an epoch and the budget take; a caution where the budget shows few of the glyphs even once.

    Args:
        first: after this session's first step.
        now: after the last step.
        left: of the budget: seconds if it is one of time, else pictures.
        epoch_size: glyphs in an epoch.
        epochs_before: how often the weights had seen their data when the run began.
        timed: the budget is one of time.
    """
    speed = (now.images - first.images) / max(1e-9, now.seconds - first.seconds)
    epoch = epoch_size / speed
    total = now.images + max(0.0, left) * (speed if timed else 1)
    epochs = total / epoch_size
    yield Note(
        f"{speed:.{speed < 10:d}f} pictures/s: an epoch takes {duration(epoch)}; the budget ends after "
        f"{epochs:.2g} epochs, in {duration((total - now.images) / speed)}"
    )
    if epochs_before + epochs < FEWEST_EPOCHS:
        yield Caution(
            f"this budget shows {epochs:.0%} of the glyphs once, too few to draw anything but smudges: train "
            f"longer (10 epochs take {duration(10 * epoch)}), prepare fewer characters (--range 4E00-5FFF), start "
            "from the model in the box with --from bundled, or use a GPU"
        )


def duration(seconds: float) -> str:
    """A span of time in words: 40 s, 28 min, 3.5 h, 12 days."""
    for limit, unit, name in ((100, 1, "s"), (6000, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}" if seconds >= 10 * unit else f"{seconds / unit:.2g} {name}"
    return f"{seconds / 86400:,.0f} days"
