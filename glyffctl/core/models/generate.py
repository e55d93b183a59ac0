"""Drawing pictures with a trained network: the pieces of the core, put together once.

Picture k of a run with seed s is drawn from the random numbers of s + k alone, so it is the same in any batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.diffusion.denoiser import Denoiser, clamp, guide
from glyffctl.core.diffusion.samplers import SAMPLERS, Step
from glyffctl.core.diffusion.schedule import Schedule
from glyffctl.core.errors import UsageError
from glyffctl.core.noise import Stream, normal


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How pictures are drawn.

    Attributes:
        sampler: a name in `samplers.SAMPLERS`.
        steps: steps of the sampler; heun and dpmpp-sde ask the network twice a step, the others once.
        guidance: γ of `denoiser.guide`; 1 is off.
        interval: the noise levels between which guidance acts.
    """

    sampler: str = "dpmpp-2m"
    steps: int = 20
    guidance: float = 4.0
    interval: tuple[float, float] = (0.0, math.inf)

    def __post_init__(self) -> None:
        """Raise UsageError for values out of range."""
        if self.sampler not in SAMPLERS:
            raise UsageError(f"there is no sampler {self.sampler!r}; there are {', '.join(SAMPLERS)}")
        if self.steps < 1:
            raise UsageError(f"--steps must be at least 1, not {self.steps}")
        if not math.isfinite(self.guidance):
            raise UsageError(f"--guidance must be a finite number, not {self.guidance}")
        if not 0 <= self.interval[0] <= self.interval[1]:
            low, high = self.interval
            raise UsageError(f"--interval takes LOW and HIGH with 0 ≤ LOW ≤ HIGH, not {low:g} and {high:g}")


@torch.no_grad()
def generate(
    denoiser: Denoiser,
    schedule: Schedule,
    recipe: Recipe,
    text: Condition,
    negative: Condition,
    seeds: Tensor,
    size: int,
    *,
    channels: int = 1,
    clip: float | None = 1.0,
) -> Iterator[Step]:
    """Draw B pictures, step by step; the last step's `x` (B, channels, size, size) float32 is the result.

    It has the values of the data that the network learned from: ours are in [−1, 1].

    Args:
        text: B prompts; a row whose mask is all False has none.
        negative: B prompts to be led away from.
        seeds: (B,) int64, one for each picture, on the device to draw on.
        clip: guesses of x0 are held in ±clip; None leaves them as they are.

    Raises:
        UsageError: more steps than the schedule has levels.
    """
    sigmas = schedule.steps(recipe.steps)
    shape = (channels, size, size)
    # DDPM's start, z ~ N(0, 1) at the noisiest level, is √(1+σ²)·ε here.
    x = normal(0, seeds, shape, Stream.EPS) * math.sqrt(1 + float(sigmas[0]) ** 2)
    denoise = guide(denoiser, text, negative, recipe.guidance, recipe.interval)
    if clip is not None:
        denoise = clamp(denoise, clip)
    sampler = SAMPLERS[recipe.sampler]
    # `yield from`, not `return`: no_grad holds while this body runs, and the sampler runs only as it is iterated.
    yield from sampler(denoise, x, sigmas, lambda i: normal(0, seeds, shape, Stream.STEP + i))
