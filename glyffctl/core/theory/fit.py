"""One Gaussian from samples: fitted by maximum likelihood, with intervals; and whether samples are standard normal."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_Z = 1.959964  # the normal deviate of 95 %, two-sided


@dataclass(frozen=True, slots=True)
class NormalFit:
    """The maximum likelihood Gaussian of `count` samples."""

    mean: float
    deviation: float
    count: int

    def mean_interval(self) -> tuple[float, float]:
        """95 % interval of the mean, from Fisher's information: μ̂ ± 1.96·σ̂/√n."""
        reach = _Z * self.deviation / math.sqrt(self.count)
        return self.mean - reach, self.mean + reach

    def deviation_interval(self) -> tuple[float, float]:
        """95 % interval of the deviation: ln σ̂ has the variance 1/2n."""
        factor = math.exp(_Z / math.sqrt(2 * self.count))
        return self.deviation / factor, self.deviation * factor

    def density(self, x: Tensor) -> Tensor:
        """The fitted density at x."""
        z = (x - self.mean) / self.deviation
        return torch.exp(-z.square() / 2) / (self.deviation * math.sqrt(2 * math.pi))

    def band(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """95 % interval of the density at each x, one x at a time.

        By the delta method: ∂ ln f/∂μ = z/σ and ∂ ln f/∂ ln σ = z² − 1, and the two estimates are independent, so
        ln f̂ has the variance z²/n + (z² − 1)²/2n.
        """
        z2 = ((x - self.mean) / self.deviation).square()
        reach = _Z * (z2 / self.count + (z2 - 1).square() / (2 * self.count)).sqrt()
        density = self.density(x)
        return density * torch.exp(-reach), density * torch.exp(reach)


def fit_normal(samples: Tensor) -> NormalFit:
    """The maximum likelihood fit to samples (n,): their mean, and their deviation divided by n."""
    return NormalFit(float(samples.mean()), float(samples.std(correction=0)), len(samples))


def ks_normal(samples: Tensor) -> tuple[float, float]:
    """The Kolmogorov–Smirnov distance of samples (n,) from N(0, 1), and its p-value.

    The p-value is Kolmogorov's limit with Stephens's (1970) correction for finite n, accurate from n = 5 on.
    """
    n = len(samples)
    expected = torch.special.ndtr(samples.double().sort().values)
    steps = torch.arange(n + 1, dtype=torch.float64) / n
    distance = max(float((steps[1:] - expected).max()), float((expected - steps[:-1]).max()))
    root = math.sqrt(n)
    scaled = (root + 0.12 + 0.11 / root) * distance
    if scaled < 0.2:  # the series below converges slowly there, and the p-value is 1 to twelve digits
        return distance, 1.0
    tail = 2 * sum((-1) ** (k - 1) * math.exp(-2 * (k * scaled) ** 2) for k in range(1, 101))
    return distance, min(1.0, max(0.0, tail))


def normal_tail(z: float) -> float:
    """The two-sided p-value of a standard normal deviate z."""
    return math.erfc(abs(z) / math.sqrt(2))
