"""Weights of the loss at each noise level.

Those of `denoiser.loss_weight`, and two more that mean the same whatever the network predicts.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from glyffctl.core.diffusion import denoiser
from glyffctl.core.diffusion.denoiser import PredictionType, coefficients

Weighting = Literal["simple", "v", "min-snr", "x0", "eps"]


def loss_weight(weighting: Weighting, prediction: PredictionType, sigma: Tensor) -> Tensor:
    """(B,) float64: the weight of the squared error of F at each σ (B,).

    - "x0": the squared error of x0 counts the same at every σ.
    - "eps": that of ε does, and so that of x0 by SNR = 1/σ² (Ho et al. 2020, arXiv 2006.11239, equation 14). There is
      no cap: at small σ a network that predicts x0 has to be very exact.
    - others: see `denoiser.loss_weight`.
    """
    _, c_out = coefficients(prediction, sigma)
    if weighting == "x0":
        return c_out**2
    if weighting == "eps":
        return (c_out / sigma.double()) ** 2
    return denoiser.loss_weight(weighting, prediction, sigma)
