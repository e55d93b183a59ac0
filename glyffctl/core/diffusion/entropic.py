"""Levels spaced evenly in information: every step of a sampler removes as much of the uncertainty about x0.

By the law of Guo, Shamai and Verdú (2005, "Mutual information and minimum mean-square error in Gaussian channels",
theorem 1) the information about x0 in x0 + σ·ε changes by dI = −E‖x0 − D‖²/σ² · d ln σ, in nats, where D is the best
denoiser. So the error of a trained one at some levels says how it rises (Stancevic, Handke and Ambrogioni 2025, arXiv
2504.13612), as H[x0 | x] = H[x0] − I.
"""

from __future__ import annotations

import torch
from torch import Tensor

from glyffctl.core.diffusion.schedule import Schedule


def lost_information(sigmas: Tensor, errors: Tensor) -> Tensor:
    """(S,) float64: nats about x0 that are lost from the lowest level to each, 0 at the first and ascending.

    Between two levels the error is taken to follow a power of σ, which makes the integral exact.

    Args:
        sigmas: (S,) ascending, positive.
        errors: (S,) positive: E‖x0 − D‖² at each level, the sum over all numbers of a picture.
    """
    log_sigma, rate = sigmas.double().log(), errors.double() / sigmas.double() ** 2
    low, high = rate[:-1], rate[1:]
    power = (high / low).log()
    # The logarithmic mean; where both are nearly equal it is their mean.
    mean = torch.where(power.abs() < 1e-6, (low + high) / 2, (high - low) / torch.where(power == 0, 1.0, power))
    return torch.cat([torch.zeros(1, dtype=torch.float64), (mean * log_sigma.diff()).cumsum(0)])


def without_own_error(sigmas: Tensor, errors: Tensor) -> Tensor:
    """(S,): the error that noise causes, without what a model would err without any noise, where D = x0 errs nothing.

    At the lowest levels an error is e + c·σ², which the lowest two determine; e, if it is positive, is taken to be the
    model's own at every level. A network that predicts x0 draws every grey a little wrong: of that error, divided by
    σ², nearly all steps would be spent at the lowest levels.

    Args:
        sigmas: (S,) ascending, positive, at least two.
        errors: (S,) positive.
    """
    (low, high), (first, second) = sigmas[:2].double().square(), errors[:2].double()
    slope = (second - first) / (high - low)
    own = (first - slope * low).clamp(min=0)
    return torch.maximum(errors.double() - own, 1e-6 * errors.double())  # above 0, whatever a bad model errs


def even_levels(sigmas: Tensor, information: Tensor, count: int = 1000) -> Schedule:
    """`count` levels, spaced evenly in `information`, from the lowest of `sigmas` to the highest.

    Between the rows of the table information is linear in ln σ.

    Args:
        sigmas: (S,) ascending, positive, at least two.
        information: (S,) ascending, in any unit.
        count: of levels, at least 2.
    """
    information, log_sigma = information.double(), sigmas.double().log()
    wanted = torch.linspace(float(information[0]), float(information[-1]), count, dtype=torch.float64)
    right = torch.searchsorted(information, wanted[1:-1], right=True).clamp(1, len(information) - 1)
    share = (wanted[1:-1] - information[right - 1]) / (information[right] - information[right - 1])
    inside = log_sigma[right - 1] + share * (log_sigma[right] - log_sigma[right - 1])
    return Schedule(torch.cat([sigmas[:1].double(), inside.exp(), sigmas[-1:].double()]))


def within(schedule: Schedule, low: float, high: float) -> Schedule:
    """The levels of `schedule` between `low` and `high`, and these two: what a network trained there can be asked."""
    ends = [torch.tensor([end], dtype=torch.float64) for end in (low, high)]
    levels = schedule.sigmas
    return Schedule(torch.cat([ends[0], levels[(levels > low) & (levels < high)], ends[1]]))
