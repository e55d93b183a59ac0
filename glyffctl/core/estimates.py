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
    """A measured value, its 95 % interval, and how many things it was measured on."""

    value: float
    low: float
    high: float
    count: int


def share(hits: int, count: int) -> Estimate:
    """A share with the interval of Wilson (1927): right near 0 and 1 too, where hits ± 1.96·s is not."""
    assert 0 <= hits <= count and count > 0
    p, z = hits / count, _Z
    middle = (p + z * z / (2 * count)) / (1 + z * z / count)
    reach = z * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    # At 0 and 1 an end of the interval is the share itself, but for rounding.
    return Estimate(p, min(p, max(0.0, middle - reach)), max(p, min(1.0, middle + reach)), count)


def mean(values: Tensor) -> Estimate:
    """The mean of `values` (N,) with the percentile bootstrap's interval (Efron 1979), the same in every run.

    `values` are the units that were drawn independently. For an average over prompts these are the shares of the
    prompts, not the pictures: the figure is meant for prompts of their kind, and prompts differ more than pictures of
    one prompt do. (This is the bootstrap over clusters.)

    Where all values are 0, or all 1, resampling them shows no doubt at all. They are taken for shares, and have
    Wilson's interval: shares of larger groups scatter less than single hits, so it is wide enough.
    """
    values = values.double()
    if len(values) and bool((values == values[0]).all()) and float(values[0]) in (0.0, 1.0):
        return share(int(values.sum()), len(values))
    return Estimate(float(values.mean()), *percentiles(_resampled(values).mean(1)), len(values))


def quantile(values: Tensor, q: float) -> Estimate:
    """The `q` quantile of `values` (N,), with the percentile bootstrap's interval."""
    values = values.double()
    return Estimate(float(values.quantile(q)), *percentiles(_resampled(values).quantile(q, dim=1)), len(values))


def _resampled(values: Tensor) -> Tensor:
    random = torch.Generator().manual_seed(0)
    return values[torch.randint(len(values), (_RESAMPLES, len(values)), generator=random)]


def percentiles(values: Tensor) -> tuple[float, float]:
    """The ends of the middle 95 % of `values` (N,)."""
    low, high = values.quantile(torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=values.dtype)).tolist()
    return low, high
