"""Exact denoisers: what a perfect network would predict, where that can be computed.

For data that is a finite set of points, or one Gaussian, the distribution of x = x0 + σ·ε is known in closed form. So
are the best denoiser D(x, σ) = E[x0 | x], the density and the score: the ground truth of the tests and the figures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


def _column(sigma: Tensor, x: Tensor) -> Tensor:
    """`sigma` (B,) shaped to broadcast against `x` (B, …)."""
    return sigma.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))


def score(x0: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
    """∇ log q(x; σ) = (D(x, σ) − x)/σ² (Tweedie's formula; Karras et al. 2022, equation 3)."""
    return (x0 - x) / _column(sigma, x) ** 2


@dataclass(frozen=True, eq=False)
class FiniteData:
    """Data drawn evenly from `points` (N, …): x is a mixture of N Gaussians of variance σ²."""

    points: Tensor

    def _log_weights(self, x: Tensor, sigma: Tensor) -> Tensor:
        """(B, N): −‖x − x_n‖²/2σ²."""
        flat, points = x.flatten(1), self.points.to(x).flatten(1)
        # One matrix product instead of (B, N, …) differences; the common ‖x‖² cancels in the softmax but not in the
        # density, so it stays.
        squared = flat.square().sum(1)[:, None] - 2 * flat @ points.T + points.square().sum(1)[None]
        return -squared.clamp(min=0) / (2 * sigma.to(x)[:, None] ** 2)

    def posterior(self, x: Tensor, sigma: Tensor) -> Tensor:
        """(B, N): the probability that x (B, …) came from each point."""
        return self._log_weights(x, sigma).softmax(dim=1)

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The exact denoiser E[x0 | x], shaped like x."""
        return (self.posterior(x, sigma) @ self.points.to(x).flatten(1)).reshape(x.shape)

    def log_density(self, x: Tensor, sigma: Tensor) -> Tensor:
        """(B,): log q(x; σ), in nats."""
        d = x[0].numel()
        constant = math.log(len(self.points)) + d / 2 * math.log(2 * math.pi)
        return self._log_weights(x, sigma).logsumexp(1) - d * sigma.to(x).log() - constant


@dataclass(frozen=True, eq=False)
class Gaussian:
    """Data drawn from N(mean, variance), all numbers independent; both shaped like one sample."""

    mean: Tensor
    variance: Tensor

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The exact denoiser: the mean of `mean` and x, weighted by their precisions."""
        noise = _column(sigma, x) ** 2
        return (self.variance * x + noise * self.mean) / (self.variance + noise)

    def flow(self, x: Tensor, sigma: float, target: float) -> Tensor:
        """Where the probability-flow ODE takes x from level `sigma` to level `target`, exactly."""
        return self.mean + (x - self.mean) * ((self.variance + target**2) / (self.variance + sigma**2)).sqrt()

    def log_density(self, x: Tensor, sigma: Tensor) -> Tensor:
        """(B,): log q(x; σ), in nats."""
        total = self.variance + _column(sigma, x) ** 2
        terms = (x - self.mean) ** 2 / total + torch.log(2 * math.pi * total)
        return -terms.flatten(1).sum(1) / 2
