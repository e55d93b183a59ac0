"""Inpainting: a part of a picture is known and stays, and a sampler draws the rest.

Where x0 is known, D is known as well. A sampler that is answered so carries the known part along as x0 + σ·ε, with the
noise that it has at that level, and ends at x0 itself; the rest sees it at every level. This is the replacement method
(Song et al. 2021, arXiv 2011.13456, appendix I.2), for every sampler. It has a flaw: a step draws the rest for the
noisy known part of this level alone, and what it draws does not fit the next. RePaint (Lugmayr et al. 2022, arXiv
2201.09865, algorithm 1) goes back: it adds the noise of the step again and repeats the step, until both parts agree.
`lead` makes each step better, so that fewer are repeated: it moves the rest to where D agrees with what is known.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from glyffctl.core.diffusion.denoiser import Denoise
from glyffctl.core.diffusion.samplers import Draw, Sampler, Step, levels


def hold(denoise: Denoise, known: Tensor, kept: Tensor) -> Denoise:
    """D, but `known` where it is known.

    Args:
        denoise: D.
        known: x0 (C, H, W), or (B, C, H, W); the rest of it does not matter.
        kept: (H, W) bool, where it is known.
    """

    def held(x: Tensor, sigma: Tensor) -> Tensor:
        return torch.where(kept, known.to(x.dtype), denoise(x, sigma))

    return held


def lead(denoise: Denoise, known: Tensor, kept: Tensor) -> Denoise:
    """D + (1 + σ²)·Jᵀ(known − D) with J = ∂D/∂x, the difference taken where x0 is known.

    It adds σ²·∇ₓ log p(known | x), as if x0 given x had the law N(D, σ²/(1 + σ²)·I), which is a guess: pseudoinverse
    guidance (Song, Vahdat, Mardani and Kautz 2023, ICLR, “Pseudoinverse-Guided Diffusion Models for Inverse Problems”,
    section 3). Takes the time and memory of a backward pass.

    Args:
        denoise: D, differentiable in x.
        known: as in `hold`.
        kept: as in `hold`.
    """

    def led(x: Tensor, sigma: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            guess = denoise(x, sigma)
            missing = torch.where(kept.to(guess.device), known.to(guess) - guess.detach(), 0)
            (gradient,) = torch.autograd.grad(guess, x, missing)
        return guess.detach() + (1 + sigma.to(x.dtype).reshape(-1, 1, 1, 1) ** 2) * gradient

    return led


def inpaint(
    sampler: Sampler,
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    draw: Draw,
    *,
    known: Tensor,
    kept: Tensor,
    resample: int,
) -> Iterator[Step]:
    """Sample with a known part, each step but the one into σ = 0 taken `resample` times; yields the last of each.

    The more often, the better both parts agree: with an exact denoiser the law of the rest nears the conditional one.
    A sampler that extrapolates from the steps before it has none where steps are repeated, and is of first order. To go
    back by several steps at once, as the paper does with 250, draws worse with the dozens of steps that are usual here.

    Args:
        sampler: any.
        denoise: D.
        x: (B, C, H, W), noise of level sigmas[0], with `known` beneath it where that is kept.
        sigmas: (n+1,), descending to 0.
        draw: of random tensors.
        known: as in `hold`; the last step's x is `known` there, to the last bit.
        kept: as in `hold`.
        resample: at least 1, which takes every step once.
    """
    held = hold(denoise, known, kept)
    if resample == 1:
        yield from (_exact(step, known, kept) for step in sampler(held, x, sigmas, draw))
        return
    drawn = 0  # random tensors so far
    for i, sigma, target in levels(sigmas):
        for again in range(resample if target > 0 else 1):
            if again:
                x = x + draw(drawn) * math.sqrt(sigma**2 - target**2)
                drawn += 1
            (step,) = sampler(held, x, sigmas[i : i + 2], partial(_later, draw, drawn))
            drawn += sampler.draws
            x = step.x
        yield _exact(step._replace(i=i), known, kept)


def _exact(step: Step, known: Tensor, kept: Tensor) -> Step:
    """The last step without its rounding: Heun ends at x − σ·(x − D)/σ."""
    return step if step.sigma > 0 else step._replace(x=torch.where(kept, known.to(step.x.dtype), step.x))


def _later(draw: Draw, first: int, i: int) -> Tensor:
    return draw(first + i)
