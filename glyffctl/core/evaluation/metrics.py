"""Figures about samples of pictures, and how sure they are.

Pictures are compared as N feature vectors each, `classifier.RadicalClassifier`'s. Every interval is a 95 % interval.
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
    """(x·y/d + 1)³ of all pairs: (N, M) from x (N, d) and y (M, d). The kernel of KID."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def kernel_distance(x: Tensor, y: Tensor) -> Estimate:
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
    low, high = percentiles(spread - spread.mean())
    return Estimate(value, value + low, value + high, len(x))


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

    precision: Estimate
    recall: Estimate
    coverage: Estimate


def manifold(real: Tensor, drawn: Tensor) -> Manifold:
    """Where two samples of features (N, d) overlap, seen through balls that reach to the k-th neighbor of each point.

    - precision: drawn pictures inside the ball of some real one; recall: real ones inside the ball of some drawn one
      (Kynkäänniemi et al. 2019, arXiv 1904.06991, equations 1 and 2, k = 3).
    - coverage: real pictures with a drawn one inside their own ball (Naeem et al. 2020, arXiv 2002.09797, equation 8,
      k = 5): unlike recall it cannot be had by a few drawn pictures far from everything.

    The intervals take the other sample as given. The counts must be equal, as in the papers: the balls shrink as a
    sample grows, so figures from different counts do not compare. At least 6 each.
    """
    assert len(real) == len(drawn) > COVERAGE_NEIGHBORS
    real, drawn = real.double(), drawn.double()
    apart = torch.cdist(real, drawn, compute_mode="donot_use_mm_for_euclid_dist")
    return Manifold(
        precision=_share((apart <= _reach(real, NEIGHBORS)[:, None]).any(0)),
        recall=_share((apart <= _reach(drawn, NEIGHBORS)[None, :]).any(1)),
        coverage=_share((apart <= _reach(real, COVERAGE_NEIGHBORS)[:, None]).any(1)),
    )


def _share(hits: Tensor) -> Estimate:
    return share(int(hits.sum()), len(hits))


def _reach(points: Tensor, k: int) -> Tensor:
    """(N,) the distance of each point from its k-th neighbor."""
    apart = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    return apart.kthvalue(k + 1, dim=1).values  # the first is the point itself
