"""Claims about the way into noise: where it ends, what is left on the way, where the levels of a schedule should be.

Each function measures one claim, as those of `claims` do.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from glyffctl.core.diffusion.entropic import even_levels
from glyffctl.core.diffusion.schedule import Schedule, linear, make_schedule
from glyffctl.core.estimates import mean
from glyffctl.core.theory.claims import Claim, Verdict, corrected, holds
from glyffctl.core.theory.information import Information, detail_lost
from glyffctl.core.theory.planar import distance_from_normal
from glyffctl.core.theory.sampler_error import wasserstein_error

LENGTHS = (100, 1000, 4000)
"""Numbers of steps that β rises in from 10⁻⁴ to 0.02."""
TIMES = (1, 250, 500, 750, 1000)
MANY_BITS, FEW_BITS = 0.99, 0.1
EVEN_STEPS = 10
EVEN_SOLVERS = ("ddim", "dpmpp-2m")
_TRACE = 0.001
"""Nats that no test of a thousand draws would notice."""
_TABLE = 400


def horizon(mean_picture: Tensor, variances: Tensor) -> Claim:
    """With many steps x_T is close to N(0, 1) whatever the data: the divergence of q(x_T) from it, by the length.

    Exact for a Gaussian of the glyphs' mean and covariance: ½ Σ (v − 1 − ln v) + ½ ᾱ‖m‖², v = ᾱλ + 1 − ᾱ.

    Args:
        mean_picture: (…) the mean glyph, in [−1, 1].
        variances: (K,) along the principal axes; along all others it is 0.
    """
    numbers = {}
    for length in LENGTHS:
        alpha_bar = float(linear(length).alpha_bar()[-1])
        along = alpha_bar * variances.double() + 1 - alpha_bar
        flat = mean_picture.numel() - len(variances)
        nats = (along - 1 - along.log()).sum() / 2 + flat * (-alpha_bar - math.log1p(-alpha_bar)) / 2
        nats += alpha_bar * mean_picture.double().square().sum() / 2
        numbers[f"nats, {length}"], numbers[f"signal, {length}"] = float(nats), alpha_bar**0.5
    short, usual, long = (numbers[f"nats, {length}"] for length in LENGTHS)
    vanishes = long < _TRACE < short
    verdict: Verdict = "holds" if vanishes and usual < _TRACE else corrected(vanishes)
    return Claim("horizon", verdict, numbers=numbers)


def becomes_noise(plane: Tensor) -> Claim:
    """The more steps, the more the data look like Gaussian noise: total variation distance of q(x_t) from N(0, I).

    Args:
        plane: (N, 2) glyphs on their principal axes.
    """
    alpha_bar = make_schedule("linear").alpha_bar()
    far = [distance_from_normal(plane, float(alpha_bar[t - 1])) for t in TIMES]
    control = distance_from_normal(
        torch.randn(plane.shape, generator=torch.Generator().manual_seed(0), dtype=plane.dtype),
        float(alpha_bar[TIMES[1] - 1]),
    )
    falls = all(before > after for before, after in pairwise(far)) and far[-1] < 0.01 < far[0]
    numbers = {f"t = {t}": distance for t, distance in zip(TIMES, far, strict=True)} | {"control": control}
    return Claim("becomes noise", holds(falls), numbers=numbers)


def recognition(known: Information) -> Claim:
    """Of a very noisy picture it is hard to say which it was: bits that an exact observer has left, along the steps.

    Args:
        known: the information about which glyph it is.
    """
    schedule = make_schedule("linear")
    estimates, place = {}, {}
    for t in TIMES:
        row = int((known.sigmas.log() - schedule.sigmas[t - 1].log()).abs().argmin())
        estimates[f"t = {t}"] = mean(known.bits[row])
        place[t] = estimates[f"t = {t}"].value / known.total
    half = int((known.at(schedule.sigmas) > known.total / 2).sum())
    numbers = {"total": known.total, "half at": half}
    lost = place[TIMES[-1]] < FEW_BITS
    late = place[500] > MANY_BITS
    return Claim("recognition", corrected(lost) if late else holds(lost), estimates, numbers)


def uniform_times(variances: Tensor) -> Claim:
    """Times drawn evenly dwell on very noisy pictures, which have little to tell: the share of information lost there.

    Args:
        variances: (K,) of the glyphs along their principal axes.
    """
    numbers = {}
    for name in ("linear", "cosine"):
        lost = detail_lost(variances, make_schedule(name))
        third = len(lost) // 3
        numbers[f"noisiest third, {name}"] = float(lost[-third:].sum() / lost.sum())
        numbers[f"cleanest third, {name}"] = float(lost[:third].sum() / lost.sum())
    little = [numbers[f"noisiest third, {name}"] < 0.1 for name in ("linear", "cosine")]
    return Claim("uniform times", holds(True) if all(little) else corrected(any(little)), numbers=numbers)


def even_steps(variances: Tensor) -> Claim:
    """A schedule serves best that destroys information evenly: the error of ten steps on such levels and on others.

    The information is that of a Gaussian, ½ Σ ln(1 + λ/σ²), between the ends of the Karras schedule for all; "by σ"
    weights what is lost at a level by σ (Stancevic et al. 2025, arXiv 2504.13612, section 4).

    Args:
        variances: (K,) of the glyphs along their principal axes.
    """
    ends = make_schedule("karras").sigmas[[0, -1]]
    table = torch.linspace(float(ends[0].log()), float(ends[1].log()), _TABLE, dtype=torch.float64).exp()
    lost = -torch.log1p(variances.double() / table[:, None] ** 2).sum(1) / 2
    lost = lost - lost[0]
    weighted = torch.cat([lost[:1], ((lost[1:] - lost[:-1]) * (table[1:] * table[:-1]).sqrt()).cumsum(0)])
    schedules = {"even": even_levels(table, lost), "even by σ": even_levels(table, weighted)}
    for name in ("karras", "cosine", "linear"):
        levels = make_schedule(name).sigmas
        inside = levels[(levels > ends[0]) & (levels < ends[1])]
        schedules[name] = Schedule(torch.cat([ends[:1], inside, ends[1:]]))
    numbers = {}
    for solver in EVEN_SOLVERS:
        for name, schedule in schedules.items():
            numbers[f"{solver}, {name}"] = wasserstein_error(solver, variances, schedule, EVEN_STEPS)
    best = [min(schedules, key=lambda name: numbers[f"{solver}, {name}"]) == "even" for solver in EVEN_SOLVERS]
    return Claim("even steps", holds(True) if all(best) else corrected(any(best)), numbers=numbers)
