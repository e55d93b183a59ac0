"""How pictures are drawn, as an option, a PNG and a model say it. Importing this does not import torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from glyffctl.core.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from glyffctl.core.diffusion.schedule import Schedule

FEW_STEP = "few-step"
"""The name of a student's passes among samplers."""
_USUAL = "dpmpp-2m"
PLACES = {1: (0, 8), 2: (0, 3, 8), 4: (0, 3, 5, 6, 8), 8: tuple(range(9))}
"""By the number of passes that a few-step student draws with: which of its nine levels they visit."""
PASSES = tuple(PLACES)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How pictures are drawn.

    Attributes:
        sampler: a name in `samplers.SAMPLERS`, or `FEW_STEP` for the model's few-step student.
        steps: steps of the sampler; `Sampler.evaluations` says what one costs. Of a student: its passes.
        guidance: γ of `guidance.guide`; 1 is off.
        interval: the noise levels between which guidance acts.
    """

    sampler: str = _USUAL
    steps: int = 20
    guidance: float = 4.0
    interval: tuple[float, float] = (0.0, math.inf)

    def __post_init__(self) -> None:
        """Raise UsageError for values out of range."""
        if self.sampler not in (FEW_STEP, _USUAL):
            _check_sampler(self.sampler)
        if self.steps < 1:
            raise UsageError(f"`steps` must be at least 1, not {self.steps}")
        if not math.isfinite(self.guidance):
            raise UsageError(f"`guidance` must be a finite number, not {self.guidance}")
        if not 0 <= self.interval[0] <= self.interval[1]:
            low, high = self.interval
            raise UsageError(f"`interval` takes LOW and HIGH with 0 ≤ LOW ≤ HIGH, not {low:g} and {high:g}")

    def as_plain(self) -> dict[str, Any]:
        """Values for JSON, which has no ∞: an end of `interval` that is infinite is None."""
        ends = [end if math.isfinite(end) else None for end in self.interval]
        return {"sampler": self.sampler, "steps": self.steps, "guidance": self.guidance, "interval": ends}

    @staticmethod
    def from_plain(plain: Mapping[str, Any]) -> Recipe:
        """The inverse of `as_plain`; names that it does not write are ignored.

        Raises:
            UsageError: a value is out of range.
            KeyError, TypeError, ValueError, OverflowError: a value is missing or of another kind.
        """
        low, high = (math.inf if end is None else float(end) for end in plain["interval"])
        return Recipe(
            sampler=str(plain["sampler"]),
            steps=int(plain["steps"]),
            guidance=float(plain["guidance"]),
            interval=(low, high),
        )

    def summary(self) -> str:
        """The recipe in words, such as "12 steps of dpmpp-2m, guidance 4 at σ ≥ 1"."""
        if self.sampler == FEW_STEP:
            passes = "1 pass" if self.steps == 1 else f"{self.steps} passes"
            return f"{FEW_STEP}, {passes}, guidance {self.guidance:g}"
        low, high = self.interval
        where = f" at σ ≥ {low:g}" if low > 0 else ""
        if math.isfinite(high):
            where = f" at σ from {low:g} to {high:g}"
        steps = "1 step" if self.steps == 1 else f"{self.steps:,} steps"
        return f"{steps} of {self.sampler}, guidance {self.guidance:g}{where if self.guidance != 1 else ''}"

    def levels(self, schedule: Schedule) -> Tensor:
        """The noise levels that the sampler visits: (steps + 1,) float64, descending to 0.

        Raises:
            UsageError: the schedule has fewer levels than this has steps.
        """
        try:
            return schedule.steps(self.steps)
        except ValueError as error:
            raise UsageError(str(error)) from error


ONE_PASS = Recipe(steps=1, guidance=1.0)
"""Of networks that answer with a picture at once, at the highest noise level."""

FEW_STEPS = Recipe(steps=12, interval=(1.0, math.inf))
"""21 passes instead of the 40 of `Recipe()`, for nearly the same pictures: measured with the bundled model, whose
schedule is karras. Fewer steps leave greyer strokes. Guidance in an interval: Kynkäänniemi et al. 2024, arXiv
2404.07724.
"""


def _check_sampler(name: str) -> None:
    from glyffctl.core.diffusion.samplers import SAMPLERS  # noqa: PLC0415 - imports torch

    if name not in SAMPLERS:
        raise UsageError(f"there is no sampler {name!r}; there are {', '.join(SAMPLERS)}")
