"""The variance of DDPM's reverse step, anywhere between its two bounds.

The true reverse step has the variance β̃ for data that are one point, and β for data that are N(0, 1) (Ho et al. 2020,
arXiv 2006.11239, section 3.2). Nichol and Dhariwal (2021, arXiv 2102.09672, equation 15) interpolate the logarithms:
ln Σ = v·ln β + (1 − v)·ln β̃. They let a network choose v, at every pixel; here it is one number, or one for each step.
Of those the best is known: with the mean that D gives, their loss, the divergence from the true reverse step, is least
for the variance (Bao et al. 2022, arXiv 2201.06503, theorem 1)

    Σ = β̃ + (1 − σ'²/σ²)²·E‖x0 − D‖²/d

of d numbers. So the error of a trained model, where it was measured, has the answer that training would look for.

In the coordinates x = x0 + σ·ε a step from σ to σ' has

    β̃ = σ'²·(σ² − σ'²)/σ²        β = (1 + σ'²)·(σ² − σ'²)/(1 + σ²)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from glyffctl.core.diffusion.denoiser import Denoise
from glyffctl.core.diffusion.samplers import SAMPLERS, Draw, Sampler, Step, denoise_at, levels
from glyffctl.core.diffusion.tuning import TUNABLE, Tunable


def reverse_variance(sigma: float, target: float, share: float) -> float:
    """Σ of the step from level `sigma` to level `target` > 0, for v = `share` in [0, 1]."""
    step = sigma**2 - target**2
    lower, upper = target**2 * step / sigma**2, (1 + target**2) * step / (1 + sigma**2)
    return lower ** (1 - share) * upper**share


class Lost(Protocol):
    """What was measured of a model: nats about x0 that are lost from the first level to each, see `entropic`."""

    @property
    def sigma(self) -> tuple[float, ...]:
        """Noise levels, ascending."""
        ...

    @property
    def information(self) -> tuple[float, ...]:
        """Nats, ascending."""
        ...


def error_at(lost: Lost, sigma: float) -> float:
    """E‖x0 − D‖² at a level, the sum over all numbers of a picture: σ²·dI/d ln σ, see `entropic`.

    The derivative is known in the middle of two rows. Between such places it is linear in ln σ, beyond them constant.
    """
    levels, nats = torch.tensor([lost.sigma, lost.information], dtype=torch.float64)
    rates, places = nats.diff() / levels.log().diff(), (levels[1:] * levels[:-1]).log() / 2
    share = torch.zeros_like(places)  # of each rate: between two places of the two beside it
    above = int(torch.searchsorted(places, math.log(sigma)))
    if 0 < above < len(places):
        low, high = places[above - 1 : above + 1]
        share[above] = (math.log(sigma) - low) / (high - low)
        share[above - 1] = 1 - share[above]
    else:
        share[min(above, len(places) - 1)] = 1
    return float(share @ rates) * sigma**2


def best_share(sigma: float, target: float, error: float) -> float:
    """v of the step from level `sigma` to level `target` > 0 that is best, of those between the two bounds.

    Args:
        sigma: σ.
        target: σ'.
        error: E(x0 − D)² of a number of the picture, at `sigma`.
    """
    lower, upper = (reverse_variance(sigma, target, share) for share in (0, 1))
    best = lower + (1 - target**2 / sigma**2) ** 2 * error
    return min(max(math.log(best / lower) / math.log(upper / lower), 0.0), 1.0)


def ddpm(denoise: Denoise, x: Tensor, sigmas: Tensor, draw: Draw, *, share: float | Lost) -> Iterator[Step]:
    """Ancestral sampling (Ho et al. 2020, algorithm 2) with the variance that v = `share` gives; 0 is `ddpm`."""
    numbers = x[0].numel()
    for i, sigma, target in levels(sigmas):
        x0 = denoise_at(denoise, x, sigma)
        x = x0 + (x - x0) * (target / sigma) ** 2
        if target > 0:
            v = share
            if not isinstance(v, float | int):
                v = best_share(sigma, target, error_at(v, sigma) / numbers)
            x = x + draw(i) * math.sqrt(reverse_variance(sigma, target, v))
        yield Step(i, target, x, x0)


def make_ddpm(ddpm_variance: float | Lost = 0.0) -> Sampler:
    """DDPM with the variance `ddpm_variance`, v from 0 (β̃) to 1 (β), or the best by what a model's errors say."""
    return Sampler(partial(ddpm, share=ddpm_variance), draws=1) if ddpm_variance else SAMPLERS["ddpm"]


TUNABLE["ddpm"] = Tunable(make_ddpm, ("ddpm_variance",))
