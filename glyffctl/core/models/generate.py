"""A sampling run: schedule, guidance, sampler and random numbers put together.

Picture k of a run with seed s is drawn from the random numbers of s + k alone, so it is the same in any batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.diffusion.denoiser import Denoiser
from glyffctl.core.diffusion.flow_map import FlowMap, jumps
from glyffctl.core.diffusion.guidance import clamp, guide
from glyffctl.core.diffusion.samplers import SAMPLERS, Step
from glyffctl.core.diffusion.schedule import Schedule
from glyffctl.core.errors import UsageError
from glyffctl.core.noise import Stream, normal

FEW_STEP = "few-step"
"""The name of a student's passes among samplers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How pictures are drawn.

    Attributes:
        sampler: a name in `samplers.SAMPLERS`, or `FEW_STEP` for the model's few-step student.
        steps: steps of the sampler; `Sampler.evaluations` says what one costs. Of a student: its passes.
        guidance: γ of `guidance.guide`; 1 is off.
        interval: the noise levels between which guidance acts.
    """

    sampler: str = "dpmpp-2m"
    steps: int = 20
    guidance: float = 4.0
    interval: tuple[float, float] = (0.0, math.inf)

    def __post_init__(self) -> None:
        """Raise UsageError for values out of range."""
        if self.sampler not in (*SAMPLERS, FEW_STEP):
            raise UsageError(f"there is no sampler {self.sampler!r}; there are {', '.join(SAMPLERS)}")
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


FEW_STEPS = Recipe(steps=12, interval=(1.0, math.inf))
"""21 passes instead of the 40 of `Recipe()`, for nearly the same pictures: measured with the bundled model, whose
schedule is karras. Fewer steps leave greyer strokes. Guidance in an interval: Kynkäänniemi et al. 2024, arXiv
2404.07724.
"""


@torch.no_grad()
def generate(
    denoiser: Denoiser,
    schedule: Schedule,
    recipe: Recipe,
    condition: Condition,
    negative: Condition,
    seeds: Tensor,
    shape: tuple[int, ...],
    limit: float | None = 1.0,
) -> Iterator[Step]:
    """Draw B samples, step by step; the last step's `x` (B, *shape) float32 is the result.

    Args:
        denoiser: of the model.
        schedule: of the model.
        recipe: sampler, steps and guidance.
        condition: B rows, such as prompts; a row whose mask is all False has none.
        negative: B rows to be guided away from.
        seeds: (B,) int64, one for each sample, on the device to draw on.
        shape: (C, H, W) of a sample.
        limit: guesses of x0 are held in ±limit; None leaves them as they are.

    Raises:
        UsageError: the schedule has fewer levels than the recipe has steps.
    """
    sigmas = recipe.levels(schedule)
    x = _start(sigmas, seeds, shape)
    denoise = guide(denoiser, condition, negative, recipe.guidance, recipe.interval)
    if limit is not None:
        denoise = clamp(denoise, limit)
    sampler = SAMPLERS[recipe.sampler]
    # `yield from`, not `return`: no_grad holds while this body runs, and the sampler runs only as it is iterated.
    yield from sampler(denoise, x, sigmas, lambda i: normal(0, seeds, shape, Stream.STEP + i))


@torch.no_grad()
def generate_few_step(
    flow: FlowMap,
    levels: Tensor,
    guidance: float,
    condition: Condition,
    seeds: Tensor,
    shape: tuple[int, ...],
    limit: float | None = 1.0,
) -> Iterator[Step]:
    """Draw B samples with one pass a step, from the noise that `generate` starts from.

    Args:
        flow: of the student.
        levels: (n+1,) float64, descending to 0.
        guidance: γ.
        condition: B rows, as in `generate`.
        seeds: (B,) int64, one for each sample, on the device to draw on.
        shape: (C, H, W) of a sample.
        limit: guesses of x0 are held in ±limit; None leaves them as they are.
    """
    yield from jumps(flow, _start(levels, seeds, shape), levels, guidance, flow.network.encode(condition), limit)


def _start(sigmas: Tensor, seeds: Tensor, shape: tuple[int, ...]) -> Tensor:
    """(B, *shape): noise of the first level. DDPM's start, z ~ N(0, 1) at the noisiest, is √(1+σ²)·ε here."""
    return normal(0, seeds, shape, Stream.EPS) * math.sqrt(1 + float(sigmas[0]) ** 2)
