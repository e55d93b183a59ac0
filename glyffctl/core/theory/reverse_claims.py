"""Claims about the way back from noise, measured with exact denoisers: its noise, its steps, its variance, its solvers.

Each function measures one claim, as those of `claims` do.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from glyffctl.core.diffusion.ddpm_variance import make_ddpm
from glyffctl.core.diffusion.samplers import SAMPLERS
from glyffctl.core.diffusion.schedule import make_schedule
from glyffctl.core.estimates import mean
from glyffctl.core.theory.claims import LEVEL, Claim
from glyffctl.core.theory.reverse import negentropy
from glyffctl.core.theory.sampler_error import COMPARED, drawn_variances, fewest_steps, wasserstein_error
from glyffctl.core.theory.walks import compare_walks

FROM_TIME, AT_ONCE = 250, (1, 10, 50, 200)
"""Where reverse steps begin, and how many steps of the schedule they take at once."""
_POINTS, _DRAWS = 200, 40
CLOSE = 0.05
"""The error that counts as close, relative to the deviation of the data: `sampler_error.wasserstein_error`."""
MOST_STEPS = 300
SOLVERS = (*COMPARED, "pc")
VARIANCE_STEPS = (20, 120, 1000)
_UNLIKELY = LEVEL / 10
"""Below it shares are not put down to chance: a true claim fails once in two hundred runs."""


def fresh_noise(seed: int = 0) -> Claim:
    """Fresh noise keeps a walk from getting stuck: where walks end with and without it.

    Args:
        seed: of the walks.
    """
    found = compare_walks(seed)
    still, moving = found.one_level["without noise"], found.one_level["with noise"]
    flow, ancestral = found.from_noise["without noise"], found.from_noise["with noise"]
    stuck = still.on_mode.low > 0.95 and still.p < _UNLIKELY
    free = moving.on_mode.high < 0.05 and moving.p > _UNLIKELY
    estimates = {
        "on a mode, without noise": still.on_mode,
        "on a mode, with noise": moving.on_mode,
        "heaviest, without noise": still.shares[0],
        "heaviest, with noise": moving.shares[0],
        "heaviest, ddim": flow.shares[0],
        "heaviest, ddpm": ancestral.shares[0],
    }
    numbers = {
        "heaviest, true": float(found.expected[0]),
        "p, without noise": still.p,
        "p, with noise": moving.p,
        "p, ddim": flow.p,
        "p, ddpm": ancestral.p,
    }
    if not (stuck and free):
        return Claim("fresh noise", "does not hold", estimates, numbers)
    needed = flow.p < _UNLIKELY  # also on the way from pure noise
    return Claim("fresh noise", "holds" if needed else "holds with a correction", estimates, numbers)


def small_steps(points: Tensor, seed: int = 0) -> Claim:
    """The smaller a reverse step, the closer its law to a Gaussian: exact, for glyphs on one axis.

    Args:
        points: (N,) float64, of about unit variance.
        seed: of the places that steps begin at.
    """
    sigmas = make_schedule("linear").sigmas
    some = points[:: max(1, len(points) // _POINTS)].double()
    generator = torch.Generator().manual_seed(seed)
    start = float(sigmas[FROM_TIME - 1])
    x = some[torch.randint(len(some), (_DRAWS,), generator=generator)]
    x = x + start * torch.randn(len(x), generator=generator, dtype=torch.float64)
    estimates = {
        f"{count} at once": mean(negentropy(some, x, start, float(sigmas[FROM_TIME - 1 - count]))) for count in AT_ONCE
    }
    falls = all(few.high < many.low for few, many in pairwise(estimates.values()))
    return Claim("small steps", "holds" if falls else "does not hold", estimates)


def reverse_variance(variances: Tensor) -> Claim:
    """A reverse step may have a fixed variance, β̃ or β: the error of ddpm with each, for a Gaussian of the glyphs.

    Args:
        variances: (K,) of the glyphs along their principal axes.
    """
    schedule = make_schedule("linear")
    numbers = {}
    for steps in VARIANCE_STEPS:
        for name, share in (("β̃", 0.0), ("β", 1.0)):
            numbers[f"{name}, {steps} steps"] = wasserstein_error(make_ddpm(share), variances, schedule, steps)
    sigmas = schedule.steps(VARIANCE_STEPS[0])
    for name, share in (("β̃", 0.0), ("β", 1.0)):
        for data, variance in (("a point", 0.0), ("N(0, 1)", 1.0)):
            truth, made = variance + float(sigmas[-2]) ** 2, torch.tensor([variance], dtype=torch.float64)
            drawn = drawn_variances(make_ddpm(share), made, sigmas[:-1])
            numbers[f"{name}, variance of {data}"] = float(drawn) / truth
    few, many = ([numbers[f"{name}, {steps} steps"] for name in ("β̃", "β")] for steps in VARIANCE_STEPS[::2])
    apart = max(few) - min(few) > CLOSE / 2
    alike = max(many) < CLOSE / 2
    return Claim("reverse variance", "holds with a correction" if apart and alike else "does not hold", numbers=numbers)


def evaluations(variances: Tensor) -> Claim:
    """Other solvers need far fewer evaluations of the network than ddpm: passes until the error is `CLOSE`.

    Args:
        variances: (K,) of the glyphs along their principal axes.
    """
    schedule = make_schedule("linear")
    numbers = {"error": CLOSE}
    for name in SOLVERS:
        steps = fewest_steps(name, variances, schedule, CLOSE, MOST_STEPS)
        numbers[f"passes, {name}"] = SAMPLERS[name].passes(steps)
    best = min(numbers[f"passes, {name}"] for name in SOLVERS)
    far = sum(numbers[f"passes, {name}"] <= numbers["passes, ddpm"] / 2 for name in SOLVERS)
    few = best <= numbers["passes, ddpm"] / 2
    if not few:
        return Claim("evaluations", "does not hold", numbers=numbers)
    return Claim("evaluations", "holds" if far == len(SOLVERS) - 1 else "holds with a correction", numbers=numbers)
