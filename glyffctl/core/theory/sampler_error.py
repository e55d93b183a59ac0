"""The error of the samplers themselves: quality against steps, without a network.

The data are a Gaussian with the mean and covariance of real pictures. Its best denoiser is known and linear, so each
sampler turns Gaussian noise into a Gaussian whose covariance can be computed without drawing anything. What remains is
the error of the sampler alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from glyffctl.core.diffusion.samplers import SAMPLERS, Sampler
from glyffctl.core.diffusion.schedule import Schedule
from glyffctl.core.linalg import principal_components
from glyffctl.core.theory.oracle import Gaussian

COMPARED = ("ddpm", "ddim", "dpmpp-2m", "dpmpp-2m-sde", "dpmpp-sde", "heun")
"""The samplers that figures and claims compare, whatever else is in `SAMPLERS`."""


def spectrum(points: Tensor) -> Tensor:
    """The variances of pictures (N, …) along their principal axes: (min(N − 1, D),) float64, descending."""
    centred = points.double().flatten(1)
    number, width = centred.shape
    return principal_components(centred - centred.mean(0), 0).variances[: min(number - 1, width)]


def thin_spectrum(variances: Tensor, count: int = 128) -> Tensor:
    """About `count` of the variances (K,), evenly spaced: enough to compute an error relative to the whole."""
    return variances[:: max(1, len(variances) // count)]


def drawn_variances(sampler: str | Sampler, variances: Tensor, sigmas: Tensor) -> Tensor:
    """(K,): the variances of what a sampler draws where the truth is N(0, `variances` (K,)).

    The sampler is linear: its result is a weighted sum of its start and its random draws. Row 0 of the batch has only
    the start, and row i + 1 only draw i, so one run finds all weights.

    Args:
        sampler: a name of `SAMPLERS`, or a sampler.
        variances: (K,) of the data, along its principal axes.
        sigmas: (S + 1,) noise levels, descending.
    """
    variances = variances.double()
    made = SAMPLERS[sampler] if isinstance(sampler, str) else sampler
    rows = 1 + made.draws * len(sigmas)
    x = torch.zeros(rows, 1, 1, len(variances), dtype=torch.float64)
    x[0] = (variances + sigmas[0] ** 2).sqrt()
    oracle = Gaussian(torch.zeros(1, 1, len(variances), dtype=torch.float64), variances[None, None])

    def draw(i: int) -> Tensor:
        noise = torch.zeros_like(x)
        noise[i + 1] = 1
        return noise

    *_, end = made(oracle, x, sigmas, draw)
    return end.x.square().sum(0).flatten()


def wasserstein_error(sampler: str | Sampler, variances: Tensor, schedule: Schedule, steps: int) -> float:
    """The Wasserstein-2 distance between what a sampler draws and the data, relative to the data's deviation.

    For Gaussians with common axes W² = Σ (√v − √v')². 1 is the error of drawing the mean picture every time.
    """
    drawn = drawn_variances(sampler, variances, schedule.steps(steps))
    gap = (drawn.sqrt() - variances.sqrt()).square().sum()
    return float((gap / variances.sum()).sqrt())


def fewest_steps(sampler: str, variances: Tensor, schedule: Schedule, threshold: float, most: int = 120) -> int:
    """The fewest steps, at most `most`, with which the error of `sampler` is `threshold` or less, by bisection."""
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        if wasserstein_error(sampler, variances, schedule, middle) <= threshold * (1 + 1e-12):
            high = middle
        else:
            low = middle + 1
    return low
