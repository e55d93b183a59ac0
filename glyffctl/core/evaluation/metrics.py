"""Figures about samples of pictures, and how sure they are.

Pictures are compared as N feature vectors each, `judge.Judge`'s. Every interval is a 95 % interval.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

LEVEL = 0.95
_Z = 1.959964  # the normal deviate of LEVEL, two-sided
_RESAMPLES = 2000
_HALVES = 400
NEIGHBOURS = 3  # of precision and recall, as in their paper
COVERAGE_NEIGHBOURS = 5  # of coverage, as in its paper


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value, its 95 % interval, and how many things it was measured on."""

    value: float
    low: float
    high: float
    count: int


def share(hits: int, count: int) -> Figure:
    """A share with the interval of Wilson (1927): right near 0 and 1 too, where hits ± 1.96·s is not."""
    assert 0 <= hits <= count and count > 0
    p, z = hits / count, _Z
    middle = (p + z * z / (2 * count)) / (1 + z * z / count)
    reach = z * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    # At 0 and 1 an end of the interval is the share itself, but for rounding.
    return Figure(p, min(p, max(0.0, middle - reach)), max(p, min(1.0, middle + reach)), count)


def mean(values: Tensor) -> Figure:
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
    return Figure(float(values.mean()), *_percentiles(_resampled(values).mean(1)), len(values))


def quantile(values: Tensor, q: float) -> Figure:
    """The `q` quantile of `values` (N,), with the percentile bootstrap's interval."""
    values = values.double()
    return Figure(float(values.quantile(q)), *_percentiles(_resampled(values).quantile(q, dim=1)), len(values))


def _resampled(values: Tensor) -> Tensor:
    random = torch.Generator().manual_seed(0)
    return values[torch.randint(len(values), (_RESAMPLES, len(values)), generator=random)]


def _percentiles(values: Tensor) -> tuple[float, float]:
    low, high = values.quantile(torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=values.dtype)).tolist()
    return low, high


def cubic_kernel(x: Tensor, y: Tensor) -> Tensor:
    """(x·y/d + 1)³ of all pairs: (N, M) from x (N, d) and y (M, d). The kernel of KID."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def kernel_distance(x: Tensor, y: Tensor) -> Figure:
    """The squared maximum mean discrepancy of two samples, unbiased: 0 on average if their distributions are the same.

    Gretton et al. 2012 (JMLR 13), equation 3, with the kernel of KID (Bińkowski et al. 2018, arXiv 1801.01401). Being
    unbiased it can be below 0, and does not depend on the counts, which need not be equal.

    The interval is that of the delete-half jackknife (Shao and Wu 1989): halves drawn without replacement scatter about
    the whole as the whole about the truth. A bootstrap would not do: it compares pictures with their own doubles.

    Args:
        x, y: features (N, d) and (M, d), at least 4 each.
    """
    x, y = x.double(), y.double()
    kernels = cubic_kernel(x, x), cubic_kernel(y, y), cubic_kernel(x, y)
    value = float(_unbiased(*kernels, torch.ones(1, len(x)).double(), torch.ones(1, len(y)).double()))
    random = torch.Generator().manual_seed(0)
    spread = _unbiased(*kernels, _halves(len(x), random), _halves(len(y), random))
    low, high = _percentiles(spread - spread.mean())
    return Figure(value, value + low, value + high, len(x))


def _unbiased(xx: Tensor, yy: Tensor, xy: Tensor, in_x: Tensor, in_y: Tensor) -> Tensor:
    """(R,) the statistic on each of R subsets, given as rows of 0 and 1: in_x (R, N), in_y (R, M)."""
    n, m = in_x.sum(1), in_y.sum(1)
    within_x = ((in_x @ xx) * in_x).sum(1) - in_x @ xx.diagonal()
    within_y = ((in_y @ yy) * in_y).sum(1) - in_y @ yy.diagonal()
    across = ((in_x @ xy) * in_y).sum(1)
    return within_x / (n * (n - 1)) + within_y / (m * (m - 1)) - 2 * across / (n * m)


def _halves(count: int, random: torch.Generator) -> Tensor:
    """(R, count) rows of 0 and 1, half of them 1."""
    order = torch.rand(_HALVES, count, generator=random).argsort(1)
    return (order < count // 2).double()


class Manifold(NamedTuple):
    """Precision, recall and coverage. Each depends on the counts: compare only figures from equal ones."""

    precision: Figure
    recall: Figure
    coverage: Figure


def manifold(real: Tensor, drawn: Tensor) -> Manifold:
    """Where two samples of features (N, d) overlap, seen through balls that reach to the k-th neighbour of each point.

    - precision: drawn pictures inside the ball of some real one; recall: real ones inside the ball of some drawn one
      (Kynkäänniemi et al. 2019, arXiv 1904.06991, equations 1 and 2, k = 3).
    - coverage: real pictures with a drawn one inside their own ball (Naeem et al. 2020, arXiv 2002.09797, equation 8,
      k = 5): unlike recall it cannot be had by a few drawn pictures far from everything.

    The intervals take the other sample as given. The counts must be equal, as in the papers: the balls shrink as a
    sample grows, so figures from different counts do not compare. At least 6 each.
    """
    assert len(real) == len(drawn) > COVERAGE_NEIGHBOURS
    real, drawn = real.double(), drawn.double()
    apart = torch.cdist(real, drawn, compute_mode="donot_use_mm_for_euclid_dist")
    return Manifold(
        precision=_share((apart <= _reach(real, NEIGHBOURS)[:, None]).any(0)),
        recall=_share((apart <= _reach(drawn, NEIGHBOURS)[None, :]).any(1)),
        coverage=_share((apart <= _reach(real, COVERAGE_NEIGHBOURS)[:, None]).any(1)),
    )


def _share(hits: Tensor) -> Figure:
    return share(int(hits.sum()), len(hits))


def _reach(points: Tensor, k: int) -> Tensor:
    """(N,) the distance of each point from its k-th neighbour."""
    apart = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    return apart.kthvalue(k + 1, dim=1).values  # the first is the point itself
