"""The information that a noisy picture carries about which picture it was, in bits.

For N pictures, all equally likely, the posterior of the identity n given x = x_n + σ·ε is known exactly (`oracle`),
and so the mutual information I(n; x) is log₂ N less the mean entropy of that posterior. The mean is over pictures and
noise, estimated from draws; everything else is exact. Information falls as σ grows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from glyffctl.core.diffusion.schedule import Schedule
from glyffctl.core.estimates import Estimate

GRID = 160
"""Noise levels at which the information is measured; between them it is interpolated in ln σ."""
MIDDLE = 0.8
ROUNDING = (2 / 255) ** 2 / 12
"""The variance that rounding to 8 bits adds to a picture in [−1, 1]."""
_RESAMPLES = 500
_LEVELS = torch.tensor([0.025, 0.975], dtype=torch.float64)

Statistic = Callable[[Tensor | None], Tensor]
"""Of all draws (None), or one value for each row of draws (R, M)."""


@dataclass(frozen=True, eq=False)
class Information:
    """The information in each of M draws at each of S noise levels.

    Attributes:
        sigmas: (S,) float64, ascending.
        bits: (S, M) float64: log₂ N less the entropy of the posterior, one column for each draw.
        total: log₂ N, the information without noise.
    """

    sigmas: Tensor
    bits: Tensor
    total: float

    def at(self, sigmas: Tensor, draws: Tensor | None = None) -> Tensor:
        """Bits at any noise levels, interpolated.

        Args:
            sigmas: (S,) noise levels; those beyond the measured ones take the nearest of them.
            draws: (R, M) int64, resampled draws to take the mean over; None is all draws.

        Returns:
            (S,), or (R, S) with `draws`.
        """
        count = self.bits.shape[1]
        if draws is None:
            curves = self.bits.mean(1)[None]
        else:  # how often each draw occurs; one matrix product computes all means
            often = torch.zeros(len(draws), count, dtype=torch.float64)
            curves = often.scatter_add_(1, draws, torch.ones_like(often)) @ self.bits.T / count
        ends = self.sigmas[0].log(), self.sigmas[-1].log()
        place = (sigmas.clamp(self.sigmas[0], self.sigmas[-1]).log() - ends[0]) / (ends[1] - ends[0])
        values = _interpolate(curves, place * (len(self.sigmas) - 1))
        return values[0] if draws is None else values

    def lost(self, schedule: Schedule, draws: Tensor | None = None) -> Tensor:
        """Bits that each step of a schedule destroys: (T,), or (R, T) with `draws` as in `at`. Never negative."""
        left = self.at(schedule.sigmas, draws)
        before = torch.full_like(left[..., :1], self.total)
        # The information cannot rise; small rises are the scatter of the draws.
        return (torch.cat([before, left[..., :-1]], -1) - left).clamp(min=0)

    def left_at_end(self, schedule: Schedule) -> Estimate:
        """Bits that are left at T, with a 95 % interval."""
        return self._estimate(lambda draws: self.at(schedule.sigmas[-1:], draws)[..., 0])

    def evenness(self, schedule: Schedule) -> tuple[Estimate, Estimate]:
        """How evenly a schedule destroys information, with 95 % intervals over the draws.

        Returns:
            The share of the steps in which the middle 80 % of the information is lost (even: 0.8), and the Gini
            coefficient of the loss per step (0: every step destroys as much; 1: one step destroys everything).
        """
        return (
            self._estimate(lambda draws: middle_share(self.lost(schedule, draws))),
            self._estimate(lambda draws: gini(self.lost(schedule, draws))),
        )

    def _estimate(self, statistic: Statistic) -> Estimate:
        count = self.bits.shape[1]
        random = torch.Generator().manual_seed(0)
        resampled = statistic(torch.randint(count, (_RESAMPLES, count), generator=random))
        low, high = resampled.quantile(_LEVELS).tolist()
        return Estimate(float(statistic(None)), low, high, count)


def _interpolate(curves: Tensor, place: Tensor) -> Tensor:
    """(R, P): curves (R, S) at `place` (P,) in 0…S−1, cubic between the points, with central differences as slopes.

    The loss of a step is a difference along the curve; with linear interpolation it would jump at every point.
    """
    last = curves.shape[1] - 1
    slopes = torch.gradient(curves, dim=1)[0]
    left = place.floor().long().clamp(max=last - 1)
    u = place - left
    value, rise = curves[:, left], curves[:, left + 1] - curves[:, left]
    start, end = slopes[:, left], slopes[:, left + 1]
    return value + u * start + u**2 * (3 * rise - 2 * start - end) + u**3 * (start + end - 2 * rise)


def information(points: Tensor, draws: int, seed: int = 0, low: float = 0.01, high: float = 1e5) -> Information:
    """Measure I(n; x_n + σ·ε) at levels from `low` to `high`.

    The same draws serve all levels, so that the curve is smooth and differences along it scatter little.

    Args:
        points: (N, …) float64.
        draws: M, how many pairs (n, ε) are drawn.
        seed: of the draws.
        low: the lowest σ.
        high: the highest σ.
    """
    flat = points.double().flatten(1)
    generator = torch.Generator().manual_seed(seed)
    # Every picture is drawn about equally often: less scatter than drawing with replacement.
    own = torch.randperm(-(-draws // len(flat)) * len(flat), generator=generator)[:draws] % len(flat)
    eps = torch.randn(draws, flat.shape[1], generator=generator, dtype=torch.float64)
    # ‖x − x_n‖² = ‖x_own − x_n‖² + 2σ ε·(x_own − x_n) + σ²‖ε‖²: two matrix products serve all levels, and the last
    # term is the same for every n.
    centred = flat - flat.mean(0)
    squares = centred.square().sum(1)
    apart = (squares[own, None] - 2 * centred[own] @ centred.T + squares[None]).clamp(min=0)
    apart[torch.arange(draws), own] = 0
    along = (centred[own] * eps).sum(1)[:, None] - eps @ centred.T
    sigmas = torch.logspace(math.log10(low), math.log10(high), GRID, dtype=torch.float64)
    bits = torch.stack([_known_bits(apart, along, float(sigma)) for sigma in sigmas])
    return Information(sigmas, bits, math.log2(len(flat)))


def _known_bits(apart: Tensor, along: Tensor, sigma: float) -> Tensor:
    """(M,): log₂ N less the entropy of each posterior, in bits."""
    posterior = (-apart / (2 * sigma**2) - along / sigma).log_softmax(1)
    entropy = -(posterior.exp() * posterior).sum(1)
    return (math.log(apart.shape[1]) - entropy) / math.log(2)


def detail_lost(variances: Tensor, schedule: Schedule) -> Tensor:
    """(T,): bits that each step destroys of a Gaussian picture with `variances` (K,) along its principal directions.

    I = ½ Σ log₂(1 + λ/(σ² + q)), where q is the variance of rounding to 8 bits: with infinitely fine detail the first
    step would destroy infinitely much. `Information` is about which of N pictures it is; this is about every grey.
    """
    levels = torch.cat([torch.zeros(1, dtype=torch.float64), schedule.sigmas])
    bits = torch.log2(1 + variances.double() / (levels[:, None] ** 2 + ROUNDING)).sum(1) / 2
    return bits[:-1] - bits[1:]


def middle_share(lost: Tensor, middle: float = MIDDLE) -> Tensor:
    """The share of the steps between losing the first and the last (1 − `middle`)/2 of all: (…, T) → (…)."""
    total = lost.sum(-1, keepdim=True)
    gone = lost.cumsum(-1) / total
    first, last = (gone < (1 - middle) / 2).sum(-1), (gone < (1 + middle) / 2).sum(-1)
    return (last - first).double() / lost.shape[-1]


def gini(values: Tensor) -> Tensor:
    """The Gini coefficient of non-negative values (…, T) → (…): 0 if all are equal, 1 − 1/T if one has it all."""
    count = values.shape[-1]
    rank = torch.arange(1, count + 1, dtype=values.dtype)
    ordered = values.sort(-1).values
    return (ordered * (2 * rank - count - 1)).sum(-1) / (count * values.sum(-1))
