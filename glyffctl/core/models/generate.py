"""A sampling run: schedule, guidance, sampler and random numbers put together.

Picture k of a run with seed s is drawn from the random numbers of s + k alone, so it is the same in any batch.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.diffusion.denoiser import Denoiser
from glyffctl.core.diffusion.flow_map import FlowMap, jumps
from glyffctl.core.diffusion.guidance import clamp
from glyffctl.core.diffusion.samplers import Step
from glyffctl.core.diffusion.schedule import Schedule
from glyffctl.core.diffusion.tuning import tuned
from glyffctl.core.models.guides import NO_GUIDES, Guides
from glyffctl.core.models.recipe import Recipe
from glyffctl.core.models.source import ANEW, Source
from glyffctl.core.noise import Stream, normal


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
    guides: Guides = NO_GUIDES,
    noise: Tensor | None = None,
    source: Source = ANEW,
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
        guides: what leads besides the prompt.
        noise: (B, *shape) N(0, 1) to start from; None is that of the seeds.
        source: a picture to begin with.

    Raises:
        UsageError: the schedule has fewer levels than the recipe has steps.
    """
    sigmas = source.levels(recipe, schedule)
    x = source.start(normal(0, seeds, shape, Stream.EPS) if noise is None else noise, float(sigmas[0]))
    denoise = source.lead(guides.around(denoiser, condition, negative, recipe))
    if limit is not None:
        denoise = clamp(denoise, limit)
    sampler = tuned(recipe.sampler, recipe.tuning)
    # `yield from`, not `return`: no_grad holds while this body runs, and the sampler runs only as it is iterated.
    yield from source.draw(sampler, denoise, x, sigmas, lambda i: normal(0, seeds, shape, Stream.STEP + i))


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
    x = ANEW.start(normal(0, seeds, shape, Stream.EPS), float(levels[0]))
    yield from jumps(flow, x, levels, guidance, flow.network.encode(condition), limit)
