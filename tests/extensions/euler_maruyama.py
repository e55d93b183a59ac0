"""The Euler–Maruyama sampler: the reverse-time SDE in its plainest discretization."""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import Tensor

from glyffctl.core.diffusion.denoiser import Denoise
from glyffctl.core.diffusion.samplers import SAMPLERS, Draw, Sampler, Step, denoise_at, levels


def euler_maruyama(denoise: Denoise, x: Tensor, sigmas: Tensor, draw: Draw) -> Iterator[Step]:
    """Euler–Maruyama on the reverse of the variance-exploding SDE; one evaluation a step, of first order.

    The noising SDE with σ as its time is dx = √(2σ)·dw, and its reverse dx = −2σ·∇ log q(x; σ)·dσ + √(2σ)·dw̄
    (Song et al. 2021, arXiv 2011.13456, equations 6 and 9); with ∇ log q = (D − x)/σ² the drift is 2·(x − D)/σ. The
    step to σ = 0 ends at D and adds no noise (appendix G): Euler's would overshoot to 2·D − x.
    """
    for i, sigma, target in levels(sigmas):
        x0 = denoise_at(denoise, x, sigma)
        if target > 0:
            x = x + (x - x0) * (2 * (target - sigma) / sigma) + draw(i) * math.sqrt(2 * sigma * (sigma - target))
        else:
            x = x0
        yield Step(i, target, x, x0)


SAMPLERS["euler-maruyama"] = Sampler(euler_maruyama, draws=1)
