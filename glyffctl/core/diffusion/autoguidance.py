"""Autoguidance: away from a worse model of the same thing (Karras et al. 2024, arXiv 2406.02507, equation 2)."""

from __future__ import annotations

import math

from torch import Tensor

from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.diffusion.denoiser import Denoise, Denoiser


def autoguide(
    denoiser: Denoiser,
    worse: Denoiser,
    condition: Condition,
    scale: float,
    interval: tuple[float, float] = (0.0, math.inf),
) -> Denoise:
    """D_worse + γ·(D − D_worse), both with the same condition.

    Where both models err the same way, the worse one errs more, so the difference leads away from what is unlikely,
    and not, as in classifier-free guidance, to what is typical of a prompt.

    Args:
        denoiser: D.
        worse: trained for a shorter time, or smaller; it knows the same pictures, captions and noise levels.
        condition: B rows. The denoiser that is returned takes batches of B.
        scale: γ; 1 is D alone, and costs one evaluation instead of two.
        interval: the σ (both ends included) at which guidance applies; elsewhere it is D alone.
    """
    context = denoiser.network.encode(condition)
    if scale == 1:
        return lambda x, sigma: denoiser(x, sigma, context)
    worse_context = worse.network.encode(condition)

    def guided(x: Tensor, sigma: Tensor) -> Tensor:
        towards = denoiser(x, sigma, context)
        if not interval[0] <= float(sigma[0]) <= interval[1]:
            return towards
        away = worse(x, sigma, worse_context)
        return away + scale * (towards - away)

    return guided
