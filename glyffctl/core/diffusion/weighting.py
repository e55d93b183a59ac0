"""Weights of the loss at each noise level.

A weight of the squared error of x0, or of ε, is carried over to what the network F predicts by c_out²: the error of x0
is c_out times that of F (`denoiser`), and that of ε is 1/σ times that of x0. SNR = 1/σ².
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from glyffctl.core.diffusion.denoiser import PredictionType, coefficients

Weighting = Literal["simple", "v", "min-snr", "x0", "eps"]

MIN_SNR_GAMMA = 5.0
LARGEST_SNR = 25.0  # of the weighting "v": σ = 0.2


def loss_weight(weighting: Weighting, prediction: PredictionType, sigma: Tensor) -> Tensor:
    """(B,) float64: the weight of the squared error of F at each σ (B,).

    - "simple": 1, whatever F predicts; for eps that is DDPM's simple loss.
    - "x0": the squared error of x0 counts the same at every σ.
    - "eps": that of ε does, and so that of x0 by SNR (Ho et al. 2020, arXiv 2006.11239, equation 14). There is no cap:
      at small σ a network that predicts x0 has to be very exact.
    - "v": that of v does, and so that of x0 by SNR + 1. The SNR is capped at 25: below σ = 0.2 nothing of a glyph's
      shape is open any more. With prediction "x0" it is what Li and He (2025, arXiv 2511.13720) advise for patches.
    - "min-snr": that of x0 counts by min(SNR, 5) (Hang et al. 2023, arXiv 2303.09556).
    """
    if weighting == "simple":
        return torch.ones_like(sigma, dtype=torch.float64)
    sigma = sigma.double()
    _, c_out = coefficients(prediction, sigma)
    if weighting == "x0":
        return c_out**2
    if weighting == "eps":
        return (c_out / sigma) ** 2
    snr = sigma**-2
    weight = snr.clamp(max=LARGEST_SNR) + 1 if weighting == "v" else snr.clamp(max=MIN_SNR_GAMMA)
    return weight * c_out**2
