"""Samplers: from noise to a picture, given a denoiser.

Each sampler is a generator of `Step`s, so the caller draws a progress bar, keeps frames for an animation, or takes the
last. All work on x = x0 + σ·ε with the levels `sigmas` (n+1,), descending and ending at 0, that `Schedule.steps` gives.
The probability-flow ODE in these coordinates is dx/dσ = (x − D(x, σ))/σ (Karras et al. 2022, equation 1).

Samplers take no condition: a guided denoiser (`guidance.guide`) is a `Denoise` like any other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from glyffctl.core.diffusion.denoiser import Denoise

Draw = Callable[[int], Tensor]
"""`draw(i)` is the i-th standard normal tensor of a run, shaped like x; the same i gives the same numbers."""


class Step(NamedTuple):
    """What a sampler has after step `i`: `x` at noise level `sigma`, and the `x0` that it stepped towards."""

    i: int
    sigma: float
    x: Tensor
    x0: Tensor


SamplerFunction = Callable[[Denoise, Tensor, Tensor, Draw], Iterator[Step]]
"""(denoise, x, sigmas, draw): x (B, C, H, W) is noise of level sigmas[0], σ·ε. The last step's `x` is the result."""


@dataclass(frozen=True, slots=True)
class Sampler:
    """A sampler and what a step of it costs.

    Attributes:
        function: the sampler itself.
        evaluations: of the denoiser in a step; the step into σ = 0 takes one, see `passes`.
        draws: random tensors that a step uses. Step i calls `draw` with i·draws … i·draws + draws − 1; the step into
            σ = 0 ends at x = D and draws none.
        order: of convergence: errors fall as the number of steps to the power −order.
    """

    function: SamplerFunction
    evaluations: int = 1
    draws: int = 0
    order: int = 1

    def __call__(self, denoise: Denoise, x: Tensor, sigmas: Tensor, draw: Draw) -> Iterator[Step]:
        """See `SamplerFunction`."""
        return self.function(denoise, x, sigmas, draw)

    def passes(self, steps: int) -> int:
        """How many evaluations of the denoiser a run of `steps` steps takes; its last step is that into σ = 0."""
        return (steps - 1) * self.evaluations + 1


def levels(sigmas: Tensor) -> Iterator[tuple[int, float, float]]:
    """(i, σ, σ') of each step from σ to σ' of the levels (n+1,)."""
    values = sigmas.tolist()
    return ((i, values[i], values[i + 1]) for i in range(len(values) - 1))


def denoise_at(denoise: Denoise, x: Tensor, sigma: float) -> Tensor:
    """D(x, σ) of a whole batch at one level; σ is on the CPU in float64 wherever x is, see `denoiser`."""
    return denoise(x, torch.full((len(x),), sigma, dtype=torch.float64))


def _split(sigma: float, target: float, eta: float) -> tuple[float, float]:
    """(σ_down, σ_up): go down to σ_down, then add fresh noise of σ_up; together that is level `target`.

    η = 1 gives the variance of the true reverse step for known x0 (Ho et al. 2020, equation 7: β̃), η = 0 none.
    """
    up = min(target, eta * target * math.sqrt(max(0.0, sigma**2 - target**2)) / sigma)
    return math.sqrt(target**2 - up**2), up


def ancestral(denoise: Denoise, x: Tensor, sigmas: Tensor, draw: Draw, *, eta: float = 1.0) -> Iterator[Step]:
    """DDPM (η = 1) and DDIM (η = 0), and everything between.

    Song et al. 2021 (arXiv 2010.02502), equations 12 and 16; with η = 1 the ancestral sampling of Ho et al. 2020.
    """
    for i, sigma, target in levels(sigmas):
        x0 = denoise_at(denoise, x, sigma)
        down, up = _split(sigma, target, eta)
        x = x0 + (x - x0) * (down / sigma)
        if up > 0:
            x = x + draw(i) * up
        yield Step(i, target, x, x0)


def dpmpp_2m(denoise: Denoise, x: Tensor, sigmas: Tensor, draw: Draw) -> Iterator[Step]:  # noqa: ARG001
    """DPM-Solver++ (2M): second order, one evaluation a step (Lu et al. 2022, arXiv 2211.01095, algorithm 2).

    In λ = −ln σ the ODE is linear but for D; D is extrapolated through its last two values. The step to σ = 0 is
    of first order: there λ is infinite and x = D.
    """
    previous: tuple[Tensor, float] | None = None
    for i, sigma, target in levels(sigmas):
        x0 = denoise_at(denoise, x, sigma)
        h = math.log(sigma / target) if target > 0 else math.inf
        towards = x0
        if previous is not None and target > 0:
            towards = x0 + (x0 - previous[0]) * (h / previous[1] / 2)
        x = x * (target / sigma) - towards * math.expm1(-h)
        previous = x0, h
        yield Step(i, target, x, x0)


def dpmpp_2m_sde(denoise: Denoise, x: Tensor, sigmas: Tensor, draw: Draw, *, eta: float = 1.0) -> Iterator[Step]:
    """SDE-DPM-Solver++ (2M), midpoint form: the reverse SDE by the same extrapolation (arXiv 2211.01095, appendix)."""
    previous: tuple[Tensor, float] | None = None
    for i, sigma, target in levels(sigmas):
        x0 = denoise_at(denoise, x, sigma)
        if target == 0:
            yield Step(i, target, x0, x0)
            return
        h = math.log(sigma / target)
        gain = -math.expm1(-(1 + eta) * h)
        towards = x0
        if previous is not None:
            towards = x0 + (x0 - previous[0]) * (h / previous[1] / 2)
        x = x * (target / sigma * math.exp(-eta * h)) + towards * gain
        x = x + draw(i) * (target * math.sqrt(-math.expm1(-2 * eta * h)))
        previous = x0, h
        yield Step(i, target, x, x0)


def dpmpp_sde(denoise: Denoise, x: Tensor, sigmas: Tensor, draw: Draw, *, eta: float = 1.0) -> Iterator[Step]:
    """DPM-Solver++ SDE with a midpoint in λ (Crowson, k-diffusion `sample_dpmpp_sde`); two evaluations a step.

    The noise of the half step and of the whole step come from one Brownian path in σ: w₁ over the first part and w₂
    over the rest, added with the weights of their lengths.
    """
    for i, sigma, target in levels(sigmas):
        x0 = denoise_at(denoise, x, sigma)
        if target == 0:
            yield Step(i, target, x0, x0)
            return
        middle = math.sqrt(sigma * target)
        first, second = draw(2 * i), draw(2 * i + 1)
        down, up = _split(sigma, middle, eta)
        half = x * (down / sigma) + x0 * (1 - down / sigma) + first * up
        x0 = denoise_at(denoise, half, middle)
        down, up = _split(sigma, target, eta)
        share = (sigma - middle) / (sigma - target)
        whole = first * math.sqrt(share) + second * math.sqrt(1 - share)
        x = x * (down / sigma) + x0 * (1 - down / sigma) + whole * up
        yield Step(i, target, x, x0)


def heun(denoise: Denoise, x: Tensor, sigmas: Tensor, draw: Draw) -> Iterator[Step]:  # noqa: ARG001
    """Heun's second-order method on the ODE, Euler into σ = 0 (Karras et al. 2022, algorithm 1); two evaluations."""
    for i, sigma, target in levels(sigmas):
        x0 = denoise_at(denoise, x, sigma)
        slope = (x - x0) / sigma
        euler = x + slope * (target - sigma)
        if target > 0:
            slope = (slope + (euler - denoise_at(denoise, euler, target)) / target) / 2
            euler = x + slope * (target - sigma)
        x = euler
        yield Step(i, target, x, x0)


SAMPLERS: dict[str, Sampler] = {
    "ddpm": Sampler(partial(ancestral, eta=1.0), draws=1),
    "ddim": Sampler(partial(ancestral, eta=0.0)),
    "dpmpp-2m": Sampler(dpmpp_2m, order=2),
    "dpmpp-2m-sde": Sampler(dpmpp_2m_sde, draws=1, order=2),
    "dpmpp-sde": Sampler(dpmpp_sde, evaluations=2, draws=2, order=2),
    "heun": Sampler(heun, evaluations=2, order=2),
}
"""By name. A sampler in a file of its own adds itself, and `diffusion/__init__.py` imports that file."""
