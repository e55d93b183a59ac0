"""How far samplers end from where a perfect one would: quality against steps, without a network.

Stands on a Gaussian with the mean and the covariance of real pictures. For it the best denoiser is known and linear, so
each sampler takes Gaussian noise to a Gaussian that can be computed without drawing anything; what is left is the error
of the sampler alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from glyffctl.core.diffusion.samplers import SAMPLERS
from glyffctl.core.diffusion.schedule import Schedule
from glyffctl.core.theory.oracle import Gaussian

PASSES = {"heun": 2, "dpmpp-sde": 2}
"""Evaluations of the denoiser in a step, where it is not one."""


def spectrum(points: Tensor) -> Tensor:
    """The variances of pictures (N, …) along their principal directions: (min(N − 1, D),) float64, descending."""
    centred = points.double().flatten(1)
    centred = centred - centred.mean(0)
    # The smaller of the two Gram matrices has the same eigenvalues.
    gram = centred @ centred.T if centred.shape[0] <= centred.shape[1] else centred.T @ centred
    values = torch.linalg.eigvalsh(gram).flip(0)[: min(len(centred) - 1, centred.shape[1])]
    return values.clamp(min=0) / (len(centred) - 1)


def thinned(variances: Tensor, count: int = 128) -> Tensor:
    """About `count` of the variances (K,), evenly spread over the spectrum: enough for an error that is a share."""
    return variances[:: max(1, len(variances) // count)]


def drawn_variances(sampler: str, variances: Tensor, sigmas: Tensor) -> Tensor:
    """(K,): the variances of what a sampler draws where the truth is N(0, `variances` (K,)).

    The sampler is linear: its result is a sum of its start and its draws, each with a weight. Row 0 of the batch has
    the start alone and row i + 1 the draw i alone, so one run finds all weights.
    """
    variances = variances.double()
    rows = 2 * len(sigmas)  # room for two draws in a step
    x = torch.zeros(rows, 1, 1, len(variances), dtype=torch.float64)
    x[0] = (variances + sigmas[0] ** 2).sqrt()
    oracle = Gaussian(torch.zeros(1, 1, len(variances), dtype=torch.float64), variances[None, None])

    def draw(i: int) -> Tensor:
        noise = torch.zeros_like(x)
        noise[i + 1] = 1
        return noise

    *_, end = SAMPLERS[sampler](oracle, x, sigmas, draw)
    return end.x.square().sum(0).flatten()


def error(sampler: str, variances: Tensor, schedule: Schedule, steps: int) -> float:
    """How far what is drawn is from the truth: Wasserstein's distance, as a share of the deviation of the data.

    For Gaussians with common axes W² = Σ (√v − √v')². 1 is an empty sheet, the mean picture every time.
    """
    drawn = drawn_variances(sampler, variances, schedule.steps(steps))
    gap = (drawn.sqrt() - variances.sqrt()).square().sum()
    return float((gap / variances.sum()).sqrt())
