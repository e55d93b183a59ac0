"""Guidance: combinations of a denoiser's answers that are denoisers themselves."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.diffusion.denoiser import Denoise, Denoiser


def guide(
    denoiser: Denoiser,
    condition: Condition,
    negative: Condition,
    scale: float | Tensor,
    interval: tuple[float, float] = (0.0, math.inf),
) -> Denoise:
    """Classifier-free guidance: D_negative + γ·(D_condition − D_negative) (Ho and Salimans 2022, arXiv 2207.12598).

    The other convention, (1+w)·D_condition − w·D_negative, is w = γ − 1.

    Args:
        denoiser: D, for both rows.
        condition: B rows, such as B prompts. The denoiser that is returned takes batches of B.
        negative: B rows to be guided away from; usually without a caption (an all-False mask).
        scale: γ; 1 is no guidance and costs one evaluation instead of two. A tensor (B, 1, 1, 1) has one for each row.
        interval: the σ (both ends included) at which guidance applies; elsewhere it is D_condition alone
            (Kynkäänniemi et al. 2024, arXiv 2404.07724).
    """
    alone = denoiser.network.encode(condition)
    if not isinstance(scale, Tensor) and scale == 1:
        return lambda x, sigma: denoiser(x, sigma, alone)
    both = denoiser.network.encode(Condition.cat([negative, condition]))

    def guided(x: Tensor, sigma: Tensor) -> Tensor:
        if not interval[0] <= float(sigma[0]) <= interval[1]:
            return denoiser(x, sigma, alone)
        away, towards = denoiser(torch.cat([x, x]), torch.cat([sigma, sigma]), both).chunk(2)
        return away + scale * (towards - away)

    return guided


def clamp(denoise: Denoise, limit: float) -> Denoise:
    """Hold every guess of x0 in ±limit, the range of the data (static thresholding, arXiv 2205.11487, section 2.3)."""

    def clamped(x: Tensor, sigma: Tensor) -> Tensor:
        return denoise(x, sigma).clamp(-limit, limit)

    return clamped
