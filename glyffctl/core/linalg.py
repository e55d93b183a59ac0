"""Principal component analysis (PCA): the directions in which vectors differ most."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize


class PrincipalComponents(NamedTuple):
    """Directions of largest variance, the largest first.

    Attributes:
        variances: (min(N, D),) float64, not negative.
        axes: (D, K) float64 with orthonormal columns, of arbitrary signs. If N < D, those without variance may be 0.
    """

    variances: Tensor
    axes: Tensor


def principal_components(centred: Tensor, count: int) -> PrincipalComponents:
    """Find the principal components of vectors whose mean is 0.

    Args:
        centred: (N, D). The covariance is summed in the precision of `centred`, and decomposed in float64.
        count: K, the axes to compute, at most min(N, D). With 0 only the variances are computed, which is faster.
    """
    number, width = centred.shape
    # The smaller of the two Gram matrices has the same eigenvalues.
    few = number < width
    gram = (centred @ centred.T if few else centred.T @ centred).double()
    if count:
        values, vectors = torch.linalg.eigh(gram)
        axes = vectors[:, len(values) - count :].flip(1)
        if few:
            axes = normalize(centred.double().T @ axes, dim=0)
    else:
        values, axes = torch.linalg.eigvalsh(gram), torch.empty(width, 0, dtype=torch.float64)
    return PrincipalComponents(values.flip(0).clamp(min=0) / max(number - 1, 1), axes)
