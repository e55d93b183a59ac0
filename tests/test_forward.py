"""The forward process against closed forms and worked examples."""

from __future__ import annotations

import math

import pytest
import torch

from glyffctl.core.diffusion.schedule import linear, make_schedule
from glyffctl.core.theory import forward
from glyffctl.core.theory.fit import ks_normal
from tests.toys import eps


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_worked_examples() -> None:
    assert float(forward.jump(numbers(2.0), 0.81, numbers(-0.5))) == pytest.approx(1.582055, abs=5e-7)
    x0 = forward.x0_from_eps(numbers(1.2, -0.3), 0.36, numbers(0.5, -1.0))
    assert x0.tolist() == pytest.approx([1.3333, 0.8333], abs=5e-5)
    assert float(forward.reverse_mean(numbers(0.7), 0.9, 0.5, numbers(0.2))) == pytest.approx(0.7081, abs=5e-5)
    assert forward.jump(numbers(3.0, 0.0), 0.64, numbers(-1.0, 2.0)).tolist() == pytest.approx([1.8, 1.2], abs=1e-12)


@pytest.mark.parametrize("name", ["linear", "cosine", "karras"])
def test_betas_are_those_of_the_schedule(name: str) -> None:
    schedule = make_schedule(name)
    betas = forward.betas(schedule)
    assert bool(((betas > 0) & (betas < 1)).all())
    torch.testing.assert_close((1 - betas).cumprod(0), schedule.alpha_bar(), rtol=1e-9, atol=0)
    if name == "linear":
        torch.testing.assert_close(betas, torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), rtol=1e-8, atol=0)


def test_a_guess_of_the_noise_is_a_guess_of_the_glyph() -> None:
    x0, noise = eps(3, 1, 4, 4, seed=1), eps(3, 1, 4, 4, seed=2)
    z = forward.jump(x0, 0.37, noise)
    torch.testing.assert_close(forward.x0_from_eps(z, 0.37, noise), x0, rtol=1e-12, atol=1e-12)


def test_the_reverse_mean_is_that_of_bayes() -> None:
    """q(z_{t−1} | z_t, x0) for two Gaussians (Ho et al. 2020, equation 7)."""
    beta, before = 0.1, 0.6
    alpha_bar = before * (1 - beta)
    x0, noise = eps(5, seed=3), eps(5, seed=4)
    z = forward.jump(x0, alpha_bar, noise)
    precision = (1 - beta) / beta + 1 / (1 - before)
    expected = (z * math.sqrt(1 - beta) / beta + x0 * math.sqrt(before) / (1 - before)) / precision
    torch.testing.assert_close(forward.reverse_mean(z, 1 - beta, alpha_bar, noise), expected, rtol=1e-12, atol=1e-12)


def test_many_steps_have_the_law_of_one_jump_and_without_the_factor_not() -> None:
    schedule, draws = linear(count=40), 20_000
    x0 = torch.full((draws,), 0.7, dtype=torch.float64)
    alpha_bar = float(schedule.alpha_bar()[-1])
    ends = {
        shrink: (
            forward.walk(x0, schedule, 40, torch.Generator().manual_seed(1), shrink=shrink) - 0.7 * alpha_bar**0.5
        ) / (1 - alpha_bar) ** 0.5
        for shrink in (True, False)
    }  # fmt: skip
    assert ks_normal(ends[True])[1] > 1e-3
    assert ks_normal(ends[False])[1] < 1e-12


def test_brightness_is_standard_normal_without_a_picture_and_shifted_by_one() -> None:
    generator = torch.Generator().manual_seed(0)
    nothing = forward.brightness(torch.zeros(2000, 1, 8, 8, dtype=torch.float64), 0.3, generator)
    # Noise of variance 1 − ᾱ over 64 numbers, in units of 1/√64.
    assert ks_normal(nothing / 0.7**0.5)[1] > 1e-3
    paper = forward.brightness(torch.ones(2000, 1, 8, 8, dtype=torch.float64), 0.01, generator)
    assert float(paper.mean()) == pytest.approx(0.1 * 8, abs=4 / math.sqrt(2000))
