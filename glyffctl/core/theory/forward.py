"""The forward process in DDPM's own terms: z_t = √ᾱ_t·x0 + √(1−ᾱ_t)·ε, one step at a time or all at once.

The rest of the program works on x = x0 + σ·ε (`schedule`). The guide and its figures use z = x/√(1+σ²), and so do
these functions. Equations are numbered as in Ho et al. 2020 (arXiv 2006.11239).
"""

from __future__ import annotations

import torch
from torch import Tensor

from glyffctl.core.diffusion.schedule import Schedule


def betas(schedule: Schedule) -> Tensor:
    """(T,) float64: the forward variances β_t of a schedule, from ᾱ_t = Π (1 − β_s)."""
    alpha_bar = schedule.alpha_bar()
    return 1 - alpha_bar / torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar[:-1]])


def step(z: Tensor, beta: float, eps: Tensor) -> Tensor:
    """One draw from q(z_t | z_{t−1}) = N(√(1−β)·z_{t−1}, β·I) (equation 2)."""
    return z * (1 - beta) ** 0.5 + eps * beta**0.5


def jump(x0: Tensor, alpha_bar: float, eps: Tensor) -> Tensor:
    """One draw from q(z_t | x0) = N(√ᾱ·x0, (1−ᾱ)·I) for any t (equation 4)."""
    return x0 * alpha_bar**0.5 + eps * (1 - alpha_bar) ** 0.5


def x0_from_eps(z: Tensor, alpha_bar: float, eps: Tensor) -> Tensor:
    """The x0 that a predicted noise implies: (z − √(1−ᾱ)·ε)/√ᾱ (equation 4 solved for x0)."""
    return (z - eps * (1 - alpha_bar) ** 0.5) / alpha_bar**0.5


def reverse_mean(z: Tensor, alpha: float, alpha_bar: float, eps: Tensor) -> Tensor:
    """The mean of p(z_{t−1} | z_t) for a predicted noise: (z − (1−α)/√(1−ᾱ)·ε)/√α (equation 11)."""
    return (z - eps * ((1 - alpha) / (1 - alpha_bar) ** 0.5)) / alpha**0.5


def walk(x0: Tensor, schedule: Schedule, until: int, generator: torch.Generator, *, shrink: bool = True) -> Tensor:
    """z_t after `until` single steps from x0, each with fresh noise; shaped like x0.

    Args:
        x0: the start, of any shape.
        schedule: sets β_t.
        until: t.
        generator: of the noise.
        shrink: False leaves out the factor √(1−β), as the guide's picture of a step does.
    """
    z = x0
    for beta in betas(schedule)[:until].tolist():
        eps = torch.randn(z.shape, generator=generator, dtype=z.dtype)
        z = step(z, beta, eps) if shrink else z + eps * beta**0.5
    return z


def brightness(x0: Tensor, alpha_bar: float, generator: torch.Generator) -> Tensor:
    """(N,): the mean of each noisy picture, in standard deviations of the mean of pure noise.

    It is distributed as N(0, 1) if nothing but noise is left.

    Args:
        x0: (N, …) pictures in [−1, 1].
        alpha_bar: ᾱ in (0, 1).
        generator: of the noise.
    """
    z = jump(x0, alpha_bar, torch.randn(x0.shape, generator=generator, dtype=x0.dtype)).flatten(1)
    return z.mean(1) * z.shape[1] ** 0.5
