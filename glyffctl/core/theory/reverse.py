"""The law of a reverse step, exactly: what q(x_σ' | x_σ) is for finite data on a line.

Given the point x_n that x came from, the step from σ to σ' is N(x_n + (x − x_n)·σ'²/σ², β̃), as in Ho et al. 2020 (arXiv
2006.11239, equation 7). Which point it was is known only in probability, so the law is a mixture over the posterior.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from glyffctl.core.diffusion.ddpm_variance import reverse_variance
from glyffctl.core.theory.oracle import FiniteData

REACH, CELLS = 9.0, 1501
"""The integral is over ±9 deviations of the law, by the midpoint rule."""


def negentropy(points: Tensor, x: Tensor, sigma: float, target: float) -> Tensor:
    """How far the law of a step is from Gaussian: its divergence from the Gaussian of its mean and variance, in nats.

    Args:
        points: (N,) float64, the data.
        x: (B,) where the steps begin, at level `sigma`.
        sigma: σ.
        target: σ', positive and less than σ.

    Returns:
        (B,) float64, 0 for a Gaussian. No Gaussian step, whatever its mean and variance, is nearer.
    """
    weights = FiniteData(points[:, None]).posterior(x[:, None], torch.full((len(x),), sigma, dtype=torch.float64))
    share, inner = (target / sigma) ** 2, reverse_variance(sigma, target, 0)
    means = points + (x[:, None] - points) * share
    mean = (weights * means).sum(1)
    variance = (weights * (means - mean[:, None]) ** 2).sum(1) + inner
    line = torch.linspace(-REACH, REACH, CELLS, dtype=torch.float64)
    found = []
    for k in range(len(x)):
        y = mean[k] + variance[k].sqrt() * line
        parts = -((y[:, None] - means[k]) ** 2) / (2 * inner) + weights[k].log()
        log_law = parts.logsumexp(1) - math.log(2 * math.pi * inner) / 2
        log_normal = -(line**2) / 2 - (2 * math.pi * variance[k]).log() / 2
        cell = variance[k].sqrt() * (line[1] - line[0])
        found.append((log_law.exp() * (log_law - log_normal)).sum() * cell)
    return torch.stack(found)
