"""The variance of DDPM's reverse step, anywhere between its two bounds.

The true reverse step has the variance β̃ for data that are one point, and β for data that are N(0, 1) (Ho et al. 2020,
arXiv 2006.11239, section 3.2). Nichol and Dhariwal (2021, arXiv 2102.09672, equation 15) interpolate the logarithms:
ln Σ = v·ln β + (1 − v)·ln β̃. They let a network choose v; here it is one number.

In the coordinates x = x0 + σ·ε a step from σ to σ' has

    β̃ = σ'²·(σ² − σ'²)/σ²        β = (1 + σ'²)·(σ² − σ'²)/(1 + σ²)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

from torch import Tensor

from glyffctl.core.diffusion.denoiser import Denoise
from glyffctl.core.diffusion.samplers import SAMPLERS, Draw, Sampler, Step, denoise_at, levels
from glyffctl.core.diffusion.tuning import TUNABLE, Tunable


def reverse_variance(sigma: float, target: float, share: float) -> float:
    """Σ of the step from level `sigma` to level `target` > 0, for v = `share` in [0, 1]."""
    step = sigma**2 - target**2
    lower, upper = target**2 * step / sigma**2, (1 + target**2) * step / (1 + sigma**2)
    return lower ** (1 - share) * upper**share


def ddpm(denoise: Denoise, x: Tensor, sigmas: Tensor, draw: Draw, *, share: float) -> Iterator[Step]:
    """Ancestral sampling (Ho et al. 2020, algorithm 2) with the variance that v = `share` gives; 0 is `ddpm`."""
    for i, sigma, target in levels(sigmas):
        x0 = denoise_at(denoise, x, sigma)
        x = x0 + (x - x0) * (target / sigma) ** 2
        if target > 0:
            x = x + draw(i) * math.sqrt(reverse_variance(sigma, target, share))
        yield Step(i, target, x, x0)


def make_ddpm(ddpm_variance: float = 0.0) -> Sampler:
    """DDPM with the variance `ddpm_variance`, v from 0 (β̃) to 1 (β)."""
    return Sampler(partial(ddpm, share=ddpm_variance), draws=1) if ddpm_variance else SAMPLERS["ddpm"]


TUNABLE["ddpm"] = Tunable(make_ddpm, ("ddpm_variance",))
