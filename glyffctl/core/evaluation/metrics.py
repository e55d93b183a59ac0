"""Distances between samples of pictures, with 95 % intervals.

Pictures are compared by their features, of `classifier.RadicalClassifier`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from glyffctl.core.estimates import Estimate, percentiles, share

_HALVES = 400
NEIGHBORS = 3  # of precision and recall, as in their paper
COVERAGE_NEIGHBORS = 5  # of coverage, as in its paper


def cubic_kernel(x: Tensor, y: Tensor) -> Tensor:
    """(N, M): the kernel of KID, (x·y/d + 1)³, of all pairs of x (N, d) and y (M, d)."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def kernel_distance(x: Tensor, y: Tensor) -> Estimate:
    """The unbiased squared maximum mean discrepancy of two samples: 0 on average for equal distributions.

    Gretton et al. 2012 (JMLR 13), equation 3, with the kernel of KID (Bińkowski et al. 2018, arXiv 1801.01401). Being
    unbiased it can be negative, and its expectation does not depend on the sample sizes, which may differ.

    The interval is that of the delete-half jackknife (Shao and Wu 1989): halves drawn without replacement scatter about
    the whole as the whole about the truth. A bootstrap is unsuitable: it compares pictures with copies of themselves.

    Args:
        x: features (N, d), N ≥ 4.
        y: features (M, d), M ≥ 4.
    """
    x, y = x.double(), y.double()
    kernels = cubic_kernel(x, x), cubic_kernel(y, y), cubic_kernel(x, y)
    value = float(_unbiased(*kernels, torch.ones(1, len(x)).double(), torch.ones(1, len(y)).double()))
    random = torch.Generator().manual_seed(0)
    spread = _unbiased(*kernels, _halves(len(x), random), _halves(len(y), random))
    low, high = percentiles(spread - spread.mean())
    return Estimate(value, value + low, value + high, len(x))


def _unbiased(xx: Tensor, yy: Tensor, xy: Tensor, in_x: Tensor, in_y: Tensor) -> Tensor:
    """(R,): the statistic of each of R subsets, given as rows of 0 and 1: in_x (R, N), in_y (R, M)."""
    n, m = in_x.sum(1), in_y.sum(1)
    within_x = ((in_x @ xx) * in_x).sum(1) - in_x @ xx.diagonal()
    within_y = ((in_y @ yy) * in_y).sum(1) - in_y @ yy.diagonal()
    across = ((in_x @ xy) * in_y).sum(1)
    return within_x / (n * (n - 1)) + within_y / (m * (m - 1)) - 2 * across / (n * m)


def _halves(count: int, random: torch.Generator) -> Tensor:
    """(R, count): rows of 0 and 1, half of them 1."""
    order = torch.rand(_HALVES, count, generator=random).argsort(1)
    return (order < count // 2).double()


class Manifold(NamedTuple):
    """Precision, recall and coverage. They depend on the sample sizes: compare only values from equal sizes."""

    precision: Estimate
    recall: Estimate
    coverage: Estimate


def manifold(real: Tensor, drawn: Tensor) -> Manifold:
    """The overlap of two samples, by balls around each point that reach to its k-th neighbor.

    - precision: drawn pictures inside the ball of some real one; recall: real ones inside the ball of some drawn one
      (Kynkäänniemi et al. 2019, arXiv 1904.06991, equations 1 and 2, k = 3).
    - coverage: real pictures with a drawn one inside their own ball (Naeem et al. 2020, arXiv 2002.09797, equation 8,
      k = 5): unlike recall it is not raised by a few drawn outliers.

    The intervals treat the other sample as fixed. The sizes must be equal, as in the papers: the balls shrink as a
    sample grows, so values from different sizes are not comparable.

    Args:
        real: features (N, d), N ≥ 6.
        drawn: features (N, d).
    """
    assert len(real) == len(drawn) > COVERAGE_NEIGHBORS
    real, drawn = real.double(), drawn.double()
    apart = torch.cdist(real, drawn, compute_mode="donot_use_mm_for_euclid_dist")
    return Manifold(
        precision=_share((apart <= _neighbor_distance(real, NEIGHBORS)[:, None]).any(0)),
        recall=_share((apart <= _neighbor_distance(drawn, NEIGHBORS)[None, :]).any(1)),
        coverage=_share((apart <= _neighbor_distance(real, COVERAGE_NEIGHBORS)[:, None]).any(1)),
    )


def _share(hits: Tensor) -> Estimate:
    return share(int(hits.sum()), len(hits))


def _neighbor_distance(points: Tensor, k: int) -> Tensor:
    """(N,): the distance of each point to its k-th neighbor."""
    apart = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    return apart.kthvalue(k + 1, dim=1).values  # the first is the point itself
