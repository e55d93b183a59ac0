"""Measured values with their 95 % intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

LEVEL = 0.95
_Z = 1.959964  # the normal deviate of LEVEL, two-sided
_RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured value, its 95 % interval, and the number of units it was measured on."""

    value: float
    low: float
    high: float
    count: int


def share(hits: int, count: int) -> Estimate:
    """A share with the interval of Wilson (1927), which is valid near 0 and 1, too."""
    assert 0 <= hits <= count and count > 0
    p, z = hits / count, _Z
    middle = (p + z * z / (2 * count)) / (1 + z * z / count)
    reach = z * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    # At 0 and 1 one end of the interval equals the share, up to rounding.
    return Estimate(p, min(p, max(0.0, middle - reach)), max(p, min(1.0, middle + reach)), count)


def mean(values: Tensor) -> Estimate:
    """The mean of `values` (N,) with the interval of the percentile bootstrap (Efron 1979), the same in every run.

    `values` are independent units. For an average over prompts they are the shares of the prompts, not the pictures:
    prompts differ more than pictures of one prompt. (This is the cluster bootstrap.)

    Where all values are 0, or all are 1, resampling gives an interval of no width. Then it is Wilson's for shares,
    which is wide enough: shares of groups scatter less than single hits.

    Raises:
        ValueError: there are no values, or some are not numbers.
    """
    values = values.double()
    if not len(values) or bool(values.isnan().any()):
        raise ValueError("the mean of no values, or of some that are not numbers")
    if bool((values == values[0]).all()) and float(values[0]) in (0.0, 1.0):
        return share(int(values.sum()), len(values))
    return Estimate(float(values.mean()), *percentiles(_resampled(values).mean(1)), len(values))


def quantile(values: Tensor, q: float) -> Estimate:
    """The `q` quantile of `values` (N,), with the interval of the percentile bootstrap."""
    values = values.double()
    return Estimate(float(values.quantile(q)), *percentiles(_resampled(values).quantile(q, dim=1)), len(values))


def _resampled(values: Tensor) -> Tensor:
    random = torch.Generator().manual_seed(0)
    return values[torch.randint(len(values), (_RESAMPLES, len(values)), generator=random)]


def percentiles(values: Tensor) -> tuple[float, float]:
    """The ends of the middle 95 % of `values` (N,)."""
    low, high = values.quantile(torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=values.dtype)).tolist()
    return low, high
