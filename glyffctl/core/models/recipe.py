"""How pictures are drawn, as an option, a PNG and a model say it. Importing this does not import torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from glyffctl.core.errors import UsageError
from glyffctl.core.io.reading import short_repr
from glyffctl.core.models.level_table import LevelTable

if TYPE_CHECKING:
    from torch import Tensor

    from glyffctl.core.diffusion.schedule import Schedule

_Number = TypeVar("_Number", int, float)
FEW_STEP = "few-step"
"""The name of a student's passes among samplers."""
_USUAL = "dpmpp-2m"
PLACES = {1: (0, 8), 2: (0, 3, 8), 4: (0, 3, 5, 6, 8), 8: tuple(range(9))}
"""By the number of passes that a few-step student draws with: which of its nine levels they visit."""
PASSES = tuple(PLACES)
ENTROPIC: dict[str, Callable[[LevelTable], LevelTable]] = {
    "entropic": lambda table: table,
    "rescaled-entropic": LevelTable.rescaled,
}
"""Schedules that a model's own table gives, see `diffusion.entropic`, by name: what becomes of the table."""
_RANGES = {
    "snr": (0.001, 0.95, "a number from 0.001 to 0.95"),
    "langevin_steps": (1, 1000, "a whole number from 1 to 1,000"),
    "ddpm_variance": (0, 1, "a number from 0 to 1, or measured"),
}
"""Of the settings that only some samplers take: the least value, the greatest, and both in words."""
MEASURED = "measured"
"""In place of v of `diffusion.ddpm_variance`: the best by the model's table."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How pictures are drawn.

    Attributes:
        sampler: a name in `samplers.SAMPLERS`, or `FEW_STEP` for the model's few-step student.
        steps: steps of the sampler; `Sampler.evaluations` says what one costs. Of a student: its passes.
        guidance: γ of `guidance.guide`; 1 is off.
        interval: the noise levels between which guidance acts.
        snr: the signal-to-noise ratio of a Langevin step, see `diffusion.langevin`; None is the sampler's own, as for
            the next two.
        langevin_steps: Langevin steps at each noise level.
        ddpm_variance: v of `diffusion.ddpm_variance`, from 0 for β̃ to 1 for β; or `MEASURED`, which
            `models.choose_recipe` replaces by the model's table.
        schedule: the noise levels that steps visit, between the lowest and the highest of the model's: a name of
            `SCHEDULES` or a table; or one of `ENTROPIC`, which `models.choose_recipe` replaces by the model's table.
            None is the model's own schedule.
    """

    sampler: str = _USUAL
    steps: int = 20
    guidance: float = 4.0
    interval: tuple[float, float] = (0.0, math.inf)
    snr: float | None = None
    langevin_steps: int | None = None
    ddpm_variance: float | str | LevelTable | None = None
    schedule: str | LevelTable | None = None

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
        if self.tuning:
            _check_tuning(self.sampler, self.tuning)
        if self.schedule is not None:
            if self.sampler == FEW_STEP:
                raise UsageError("`schedule` is for the whole model; a few-step student has levels of its own")
            _check_schedule(self.schedule)

    @property
    def tuning(self) -> dict[str, Any]:
        """The settings of the sampler that are not its own defaults, by name."""
        given = {name: getattr(self, name) for name in _RANGES}
        return {name: value for name, value in given.items() if value is not None}

    def as_plain(self) -> dict[str, Any]:
        """Values for JSON, which has no ∞: an end of `interval` that is infinite is None. What is None is left out."""
        ends = [end if math.isfinite(end) else None for end in self.interval]
        plain = {"sampler": self.sampler, "steps": self.steps, "guidance": self.guidance, "interval": ends}
        named = {**self.tuning, **({} if self.schedule is None else {"schedule": self.schedule})}
        return plain | {
            name: value.as_plain() if isinstance(value, LevelTable) else value for name, value in named.items()
        }

    @staticmethod
    def from_plain(plain: Mapping[str, Any]) -> Recipe:
        """The inverse of `as_plain`; names that it does not write are ignored.

        Raises:
            UsageError: a value is out of range.
            KeyError, TypeError, ValueError, OverflowError: a value is missing or of another kind.
        """
        named = plain.get("schedule")
        low, high = (math.inf if end is None else float(end) for end in plain["interval"])
        return Recipe(
            sampler=str(plain["sampler"]),
            steps=int(plain["steps"]),
            guidance=float(plain["guidance"]),
            interval=(low, high),
            snr=_optional(plain, "snr", float),
            langevin_steps=_optional(plain, "langevin_steps", int),
            ddpm_variance=_variance(plain.get("ddpm_variance")),
            schedule=LevelTable.from_plain(named) if isinstance(named, Mapping) else named,
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
        said = {
            name: f"{value:g}" if isinstance(value, int | float) else MEASURED for name, value in self.tuning.items()
        }
        own = "".join(f", {name.replace('_', ' ')} {value}" for name, value in said.items())
        if self.schedule is not None:
            own += f", {'a table of levels' if isinstance(self.schedule, LevelTable) else self.schedule}"
        return f"{steps} of {self.sampler}{own}, guidance {self.guidance:g}{where if self.guidance != 1 else ''}"

    def levels(self, schedule: Schedule) -> Tensor:
        """The noise levels that the sampler visits: (steps + 1,) float64, descending to 0.

        Args:
            schedule: the model's own.

        Raises:
            UsageError: the schedule has fewer levels than this has steps, or see `table`.
        """
        table = self.table(schedule)
        try:
            return table.steps(self.steps)
        except ValueError as error:
            if self.schedule is None:
                raise UsageError(str(error)) from error
            raise UsageError(
                f"{_named(self.schedule)} has {len(table.sigmas):,} levels in the model's noise, {_ends(schedule)}, "
                f"for {self.steps:,} steps; take fewer `steps`, or one with more levels there"
            ) from error

    def table(self, schedule: Schedule) -> Schedule:
        """The levels that there are to visit: `schedule`, the model's own, or those of another between its ends.

        Raises:
            UsageError: the model lacks a table, or the levels of the other schedule are none of the model's.
        """
        return schedule if self.schedule is None else _within(self.schedule, schedule)


ONE_PASS = Recipe(steps=1, guidance=1.0)
"""Of networks that answer with a picture at once, at the highest noise level."""

FEW_STEPS = Recipe(steps=12, interval=(1.0, math.inf))
"""21 passes instead of the 40 of `Recipe()`, for nearly the same pictures: measured with the bundled model, whose
schedule is karras. Fewer steps leave greyer strokes. Guidance in an interval: Kynkäänniemi et al. 2024, arXiv
2404.07724.
"""


def _optional(plain: Mapping[str, Any], name: str, kind: Callable[[Any], _Number]) -> _Number | None:
    return None if plain.get(name) is None else kind(plain[name])


def _variance(plain: Any) -> float | str | LevelTable | None:
    if isinstance(plain, Mapping):
        return LevelTable.from_plain(plain)
    return plain if plain in (None, MEASURED) else float(plain)


def _check_schedule(schedule: str | LevelTable) -> None:
    from glyffctl.core.diffusion.schedule import SCHEDULES  # noqa: PLC0415 - imports torch

    if not isinstance(schedule, LevelTable) and schedule not in (*SCHEDULES, *ENTROPIC):
        known = ", ".join((*SCHEDULES, *ENTROPIC))
        raise UsageError(f"`schedule` must be {known} or a file FILE.toml, not {short_repr(schedule)}")


def _within(schedule: str | LevelTable, own: Schedule) -> Schedule:
    """Another schedule between the ends of a model's own."""
    from glyffctl.core.diffusion.entropic import within  # noqa: PLC0415 - imports torch
    from glyffctl.core.diffusion.schedule import make_schedule  # noqa: PLC0415 - imports torch

    if schedule in ENTROPIC:
        raise UsageError(
            f"this model has no table for the schedule {schedule}; examples/measure_schedule.py makes one, and "
            "`schedule` takes its file"
        )
    made = schedule.schedule() if isinstance(schedule, LevelTable) else make_schedule(schedule)
    found = within(made, *own.sigmas[[0, -1]].tolist())
    if len(found.sigmas) <= 2 < len(own.sigmas):
        raise UsageError(
            f"{_named(schedule)} has levels of {_ends(made)}, and none in the model's noise, {_ends(own)}; name one "
            "that has"
        )
    return found


def _named(schedule: str | LevelTable) -> str:
    """What an error calls the schedule that was asked for."""
    return "the table of `schedule` FILE.toml" if isinstance(schedule, LevelTable) else f"the `schedule` {schedule}"


def _ends(schedule: Schedule) -> str:
    low, high = schedule.sigmas[[0, -1]].tolist()
    return f"σ from {low:.3g} to {high:.3g}"


def _check_tuning(sampler: str, tuning: Mapping[str, Any]) -> None:
    from glyffctl.core.diffusion.tuning import samplers_with  # noqa: PLC0415 - imports torch

    for name, value in tuning.items():
        low, high, words = _RANGES[name]
        named = name == "ddpm_variance" and (value == MEASURED or isinstance(value, LevelTable))
        if not named and not (isinstance(value, int | float) and low <= value <= high):
            raise UsageError(f"`{name}` must be {words}, not {short_repr(value)}")
        if sampler not in (takes := samplers_with(name)):
            raise UsageError(
                f"`{name}` is for the sampler {' or '.join(takes)}, not {sampler}; leave it out, or name that sampler"
            )


def _check_sampler(name: str) -> None:
    from glyffctl.core.diffusion.samplers import SAMPLERS  # noqa: PLC0415 - imports torch

    if name not in SAMPLERS:
        raise UsageError(f"there is no sampler {name!r}; there are {', '.join(SAMPLERS)}")
