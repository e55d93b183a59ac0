"""Claims about conditions and guidance that closed forms and counts decide.

Each function measures one claim, as those of `claims` do.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.diffusion.denoiser import Denoiser
from glyffctl.core.diffusion.guidance import guide
from glyffctl.core.diffusion.samplers import SAMPLERS
from glyffctl.core.diffusion.schedule import make_schedule
from glyffctl.core.estimates import Estimate
from glyffctl.core.theory.claims import Claim, corrected, holds
from glyffctl.core.theory.oracle import FiniteData, Gaussian

CORRELATION, GIVEN = 0.8, 1.5
"""Of x and y in the Gaussian on which guidance is solved, and the y that is asked for."""
STRENGTHS = (1.0, 2.0, 4.0, 8.0)
DRAWN_STEPS, SOLVED_STEPS = 20, 800
FROM_SIGMA = 1.0
"""Guidance from this σ up is where it decides what a glyph becomes."""


def bayes(plane: Tensor, groups: Tensor, seed: int = 0) -> Claim:
    """The score given a label is the score plus the gradient of a classifier: both sides by differentiation.

    Args:
        plane: (N, 2) glyphs on their principal axes.
        groups: (N,) int64 labels, two or more.
        seed: of the places.
    """
    generator = torch.Generator().manual_seed(seed)
    sigma = torch.full((200,), 0.5, dtype=torch.float64)
    everything, one = FiniteData(plane.double()), FiniteData(plane[groups == 0].double())
    x = (2 * torch.randn(200, 2, generator=generator, dtype=torch.float64)).requires_grad_()

    def slope(value: Tensor) -> Tensor:
        return torch.autograd.grad(value.sum(), x)[0]

    conditional, plain = slope(one.log_density(x, sigma)), slope(everything.log_density(x, sigma))
    classifier = slope(everything.posterior(x, sigma)[:, groups == 0].sum(1).log())
    scale = float(conditional.norm(dim=1).mean())
    numbers = {
        "worst": float((conditional - plain - classifier).norm(dim=1).max()) / scale,
        "without the classifier": float((conditional - plain).norm(dim=1).mean()) / scale,
    }
    return Claim("Bayes", holds(numbers["worst"] < 1e-6 < numbers["without the classifier"]), numbers=numbers)


def guided_law(strength: float) -> tuple[float, float]:
    """The mean and variance of what guidance of a strength draws where all is Gaussian, by an exact denoiser.

    x and y are Gaussian of variance 1 and correlation `CORRELATION`, and y = `GIVEN`. The probability-flow ODE is
    linear, so two walks tell all of its law.
    """
    first, second = torch.tensor([[[0.0]]], dtype=torch.float64), torch.tensor([[[1.0]]], dtype=torch.float64)
    anything = Gaussian(first, second)
    given = Gaussian(first + CORRELATION * GIVEN, second * (1 - CORRELATION**2))
    sigmas = make_schedule("karras").steps(SOLVED_STEPS)

    def guided(x: Tensor, sigma: Tensor) -> Tensor:
        away = anything(x, sigma)
        return away + strength * (given(x, sigma) - away)

    start = torch.tensor([0.0, float((1 + sigmas[0] ** 2) ** 0.5)], dtype=torch.float64).reshape(2, 1, 1, 1)
    *_, end = SAMPLERS["heun"](guided, start, sigmas, lambda _: torch.zeros_like(start))
    middle, deviated = end.x.flatten().tolist()
    return middle, (deviated - middle) ** 2


def sharpened_law(strength: float) -> tuple[float, float]:
    """The mean and variance of p(x)·p(y|x)^γ, normalised, in the same Gaussian."""
    inner = 1 - CORRELATION**2
    precision = 1 + strength * CORRELATION**2 / inner
    return strength * CORRELATION * GIVEN / inner / precision, 1 / precision


def sharpening() -> Claim:
    """Guidance of strength γ follows the score of p(x|y): what is drawn, beside it and p(x)p(y|x)^γ."""
    numbers = {}
    for strength in STRENGTHS:
        for name, (middle, variance) in (("drawn", guided_law(strength)), ("product", sharpened_law(strength))):
            numbers[f"mean, {name}, {strength:g}"] = middle
            numbers[f"variance, {name}, {strength:g}"] = variance
    right = abs(numbers["variance, drawn, 1"] / numbers["variance, product, 1"] - 1) < 0.01
    ratio = numbers["variance, drawn, 4"] / numbers["variance, product, 4"]
    numbers["ratio, 4"] = ratio
    other = abs(ratio - 1) > 0.1 or abs(numbers["mean, drawn, 4"] / numbers["mean, product, 4"] - 1) > 0.1
    return Claim("sharpening", corrected(right) if other else holds(right), numbers=numbers)


class _Counting(nn.Module):
    """A network that counts the rows it is asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = 0

    def encode(self, condition: Condition) -> Condition:
        return condition

    def forward(self, z: Tensor, sigma: Tensor, context: Any) -> Tensor:  # noqa: ARG002
        self.rows += len(z)
        return 0.1 * z


def passes_of_guidance() -> Claim:
    """With guidance the model predicts twice in each step: rows that a network is asked about, counted."""
    sigmas = make_schedule("karras").steps(DRAWN_STEPS)
    condition, none = Condition.none(1, 4), Condition.none(1, 4)
    numbers: dict[str, float] = {}
    for name, scale, interval in (
        ("off", 1.0, (0.0, float("inf"))),
        ("everywhere", 4.0, (0.0, float("inf"))),
        ("where it decides", 4.0, (FROM_SIGMA, float("inf"))),
    ):
        network = _Counting()
        denoise = guide(Denoiser(network, "x0"), condition, none, scale, interval)
        *_, _ = SAMPLERS["ddim"](denoise, torch.ones(1, 1, 4, 4), sigmas, lambda _: torch.zeros(1, 1, 4, 4))
        numbers[name] = network.rows
    twice = numbers["everywhere"] == 2 * numbers["off"] == 2 * DRAWN_STEPS
    less = numbers["where it decides"] < numbers["everywhere"]
    return Claim("two passes", corrected(twice) if less else holds(twice), numbers=numbers | {"steps": DRAWN_STEPS})


def aware_of_noise(noisy: list[Estimate], clean: list[Estimate], guessing: Estimate, sigmas: list[float]) -> Claim:
    """A classifier of clean pictures is no guide: how many noisy glyphs it names, and one that was trained on noise.

    Args:
        noisy: at each level, the share of glyphs named rightly by the classifier that was trained on noise.
        clean: of the one that was not.
        guessing: of whoever always says the commonest.
        sigmas: the levels, ascending.
    """
    level = sigmas.index(2.0)
    estimates = {
        "clean, least noise": clean[0],
        "clean, σ = 2": clean[level],
        "noisy, least noise": noisy[0],
        "noisy, σ = 2": noisy[level],
        "guessing": guessing,
    }
    fails = clean[0].low > 0.8 and clean[level].high < noisy[level].low / 2
    return Claim("noise-aware", holds(fails), estimates)
