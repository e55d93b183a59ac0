"""Noise schedules: which noise levels exist, and which of them a sampler visits.

A noisy image is x = x0 + σ·ε. The DDPM view of the same image is z = x/√(1+σ²) = √ᾱ·x0 + √(1−ᾱ)·ε with
ᾱ = 1/(1+σ²), so a schedule given as β or ᾱ is a table of σ, and nothing else of it is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Schedule:
    """A table of noise levels.

    Attributes:
        sigmas: (T,) float64, ascending, all positive. σ of data in [−1, 1].
    """

    sigmas: Tensor

    def alpha_bar(self) -> Tensor:
        """(T,) float64: the share of signal ᾱ = 1/(1+σ²) of each level, descending."""
        return 1 / (1 + self.sigmas**2)

    def brightness_left(self, mean: float, size: int) -> float:
        """How far the mean brightness of pictures stands out of the noise at T, in standard deviations.

        The mean of size² noise values has the deviation σ/size. A sampler that starts from pure noise starts this far
        from where the pictures of the training data are.
        """
        return abs(mean) * size / float(self.sigmas[-1])

    def steps(self, n: int) -> Tensor:
        """The levels that a sampler of `n` steps visits: (n+1,) float64, descending, from the noisiest down to 0.

        "Trailing" spacing: levels T, T − T/n, … of the table (Lin et al. 2024, arXiv 2305.08891, table 2). Spacing that
        starts lower shows the network noise it was never asked about at T, and makes a one-step sample meaningless.

        Raises:
            ValueError: `n` is not in 1…T.
        """
        return torch.cat([self.sigmas[self.places(n)], torch.zeros(1, dtype=torch.float64)])

    def places(self, n: int) -> Tensor:
        """Where the levels of `steps` are in the table: (n,) int64, descending."""
        count = len(self.sigmas)
        if not 1 <= n <= count:
            raise ValueError(f"`steps` must be between 1 and {count}, not {n}")
        # T·k is a whole number, so the quotient is exact at a half, where rounding would turn on the last bit.
        return (torch.arange(n, 0, -1, dtype=torch.float64) * count / n).round().long() - 1


def from_betas(betas: Tensor) -> Schedule:
    """The schedule with forward variances β (T,): ᾱ_t = Π (1 − β_s)."""
    # σ² = (1−ᾱ)/ᾱ; expm1 keeps the digits that 1 − ᾱ would lose at small t.
    log_alpha_bar = torch.log1p(-betas.double()).cumsum(0)
    return Schedule((torch.expm1(-log_alpha_bar)).sqrt())


def linear(count: int = 1000, beta_min: float = 1e-4, beta_max: float = 0.02) -> Schedule:
    """β rises linearly from 10⁻⁴ to 0.02 (Ho et al. 2020, arXiv 2006.11239, section 4)."""
    return from_betas(torch.linspace(beta_min, beta_max, count, dtype=torch.float64))


def cosine(count: int = 1000, offset: float = 0.008, beta_max: float = 0.999) -> Schedule:
    """ᾱ follows cos² (Nichol and Dhariwal 2021, arXiv 2102.09672, equation 17), β capped at 0.999."""
    time = torch.linspace(0, 1, count + 1, dtype=torch.float64)
    alpha_bar = ((time + offset) / (1 + offset) * math.pi / 2).cos() ** 2
    return from_betas((1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=beta_max))


def karras(count: int = 1000, sigma_min: float = 0.02, sigma_max: float = 160.0, rho: float = 7.0) -> Schedule:
    """σ^(1/ρ) rises linearly (Karras et al. 2022, arXiv 2206.00364, equation 5).

    The paper ends at σ = 80 for pictures whose mean is near 0. White paper is not: at 128×128 the mean of 16,384 noise
    values has a spread of σ/128, and 160 is where that covers the brightness of the paper.
    """
    ramp = torch.linspace(0, 1, count, dtype=torch.float64)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return Schedule((low + ramp * (high - low)) ** rho)


SCHEDULES: dict[str, Callable[[], Schedule]] = {"linear": linear, "cosine": cosine, "karras": karras}
"""By name, with the settings of their papers and 1000 levels."""


def make_schedule(name: str) -> Schedule:
    """The schedule called `name`."""
    return SCHEDULES[name]()
