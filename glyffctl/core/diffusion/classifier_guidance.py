"""Classifier guidance (Dhariwal and Nichol 2021, arXiv 2105.05233, section 4.2; Sohl-Dickstein et al. 2015).

By Bayes' rule the score of pictures of a class is that of all pictures, and the gradient of a classifier beside it:

    ∇ₓ log p(x | y) = ∇ₓ log p(x) + ∇ₓ log p(y | x)

The classifier has to know noisy pictures. Multiplied by s, its gradient sharpens p(y | x) to p(y | x)ˢ. The score is
(D(x, σ) − x)/σ², so for a denoiser this is

    D(x, σ) + s·σ²·∇ₓ log p(y | x, σ)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from glyffctl.core.diffusion.denoiser import Denoise, column

Gradient = Callable[[Tensor, Tensor], Tensor]
"""∇ₓ log p(y | x, σ): x and the result (B, C, H, W), sigma (B,) on the CPU."""


@dataclass(frozen=True, eq=False)
class NoisyClassifier:
    """p(y | x, σ) of K classes.

    Attributes:
        network: logits (B, K) of z = x/√(1+σ²) (B, C, H, W) and sigma (B,) float64.
        autocast: a lower precision for the inside of the network, or None.
    """

    network: Callable[[Tensor, Tensor], Tensor]
    autocast: torch.dtype | None = None

    def log_probabilities(self, x: Tensor, sigma: Tensor) -> Tensor:
        """(B, K): log p(y | x, σ) in nats, of x (B, C, H, W) and sigma (B,), on the CPU or where x is."""
        sigma = sigma.double()
        z = x * column((1 + sigma**2).rsqrt(), x)
        with torch.autocast(x.device.type, self.autocast, enabled=self.autocast is not None):
            logits = self.network(z, sigma)
        return logits.to(x.dtype).log_softmax(1)

    def gradient(self, label: int) -> Gradient:
        """∇ₓ log p(label | x, σ), the same for each row of a batch as for it alone."""

        def gradient(x: Tensor, sigma: Tensor) -> Tensor:
            with torch.enable_grad():
                x = x.detach().requires_grad_(True)
                (found,) = torch.autograd.grad(self.log_probabilities(x, sigma)[:, label].sum(), x)
            return found

        return gradient


def lead(
    denoise: Denoise, gradient: Gradient, scale: float, interval: tuple[float, float] = (0.0, math.inf)
) -> Denoise:
    """D + s·σ²·∇ₓ log p(y | x, σ), the denoiser of pictures that a classifier takes for y.

    Args:
        denoise: D, of all pictures, or of a prompt.
        gradient: of the classifier.
        scale: s; 1 is Bayes' rule, 0 returns `denoise` itself.
        interval: the σ (both ends included) at which the classifier leads; elsewhere it is not asked.
    """
    if scale == 0:
        return denoise

    def led(x: Tensor, sigma: Tensor) -> Tensor:
        answer = denoise(x, sigma)
        level = float(sigma[0])
        if not interval[0] <= level <= interval[1]:
            return answer
        return answer + scale * level**2 * gradient(x, sigma)

    return led
