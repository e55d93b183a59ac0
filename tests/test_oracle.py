"""The exact denoisers against brute force, quadrature and automatic differentiation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from glyffctl.core.theory.oracle import FiniteData, Gaussian, score
from tests.toys import LineFlow, eps

SIGMAS = torch.tensor([0.05, 0.3, 1.0, 7.0], dtype=torch.float64)
POINTS = eps(6, 1, 2, 3, seed=1)
FINITE = FiniteData(POINTS)
GAUSSIAN = Gaussian(eps(1, 1, 2, 3, seed=2)[0], eps(1, 1, 2, 3, seed=3)[0].square() + 0.1)
LINE = FiniteData(torch.tensor([-1.0, 0.2, 0.2, 0.9], dtype=torch.float64).reshape(-1, 1, 1, 1))
PIXEL = Gaussian(*(torch.full((1, 1, 1), value, dtype=torch.float64) for value in (0.3, 0.25)))


def noisy() -> Tensor:
    """One noisy picture for each of SIGMAS, near points 0 to 3."""
    return POINTS[:4] + SIGMAS.reshape(-1, 1, 1, 1) * eps(4, 1, 2, 3, seed=4)


def test_the_posterior_and_the_density_are_those_of_bayes() -> None:
    x = noisy()
    posterior, log_density = FINITE.posterior(x, SIGMAS), FINITE.log_density(x, SIGMAS)
    for row, density, sigma, picture in zip(posterior, log_density.exp(), SIGMAS, x, strict=True):
        pixels = [torch.distributions.Normal(point, sigma).log_prob(picture).sum() for point in POINTS]
        likelihood = torch.stack(pixels).exp()
        torch.testing.assert_close(row, likelihood / likelihood.sum(), rtol=1e-10, atol=1e-14)
        torch.testing.assert_close(density, likelihood.mean(), rtol=1e-10, atol=0)
    torch.testing.assert_close(posterior.sum(1), torch.ones(4).double(), rtol=1e-14, atol=0)


def test_the_denoiser_is_the_posterior_mean() -> None:
    x = noisy()
    expected = (FINITE.posterior(x, SIGMAS).reshape(4, 6, 1, 1, 1) * POINTS).sum(1)
    torch.testing.assert_close(FINITE(x, SIGMAS), expected, rtol=1e-12, atol=1e-12)


def test_at_either_end_the_denoiser_is_the_nearest_point_and_the_mean() -> None:
    x = POINTS + 1e-3 * eps(6, 1, 2, 3)
    torch.testing.assert_close(FINITE(x, torch.full((6,), 1e-3)), POINTS, rtol=0, atol=1e-12)
    far = FINITE(x * 1e6, torch.full((6,), 1e9))
    torch.testing.assert_close(far, POINTS.mean(0).expand_as(far), rtol=0, atol=1e-2)


@pytest.mark.parametrize("oracle", [FINITE, GAUSSIAN], ids=["finite", "gaussian"])
def test_the_score_is_the_gradient_of_the_log_density(oracle: FiniteData | Gaussian) -> None:
    x = noisy().requires_grad_()
    (gradient,) = torch.autograd.grad(oracle.log_density(x, SIGMAS).sum(), x)
    torch.testing.assert_close(score(oracle(x, SIGMAS), x, SIGMAS), gradient, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("oracle", [LINE, PIXEL], ids=["finite", "gaussian"])
@pytest.mark.parametrize("sigma", [0.05, 0.5, 5.0])
def test_the_density_integrates_to_one_and_to_the_moments(oracle: FiniteData | Gaussian, sigma: float) -> None:
    mean, variance = (0.3, 0.25) if oracle is PIXEL else (0.075, float(LINE.points.var(correction=0)))
    spread = math.sqrt(variance + sigma**2)
    x = torch.linspace(mean - 12 * spread, mean + 12 * spread, 20_001, dtype=torch.float64)
    density = oracle.log_density(x.reshape(-1, 1, 1, 1), torch.full_like(x, sigma)).exp()
    assert density.shape == x.shape
    assert math.isclose(float(torch.trapezoid(density, x)), 1, rel_tol=1e-9)
    assert math.isclose(float(torch.trapezoid(density * x, x)), mean, rel_tol=1e-9)
    assert math.isclose(float(torch.trapezoid(density * (x - mean) ** 2, x)), spread**2, rel_tol=1e-9)


def test_the_density_is_the_derivative_of_the_distribution() -> None:
    """In particular of the one that the exact flow of the samplers' tests keeps."""
    x, sigma = torch.linspace(-2, 2, 50, dtype=torch.float64).requires_grad_(), 0.4
    (density,) = torch.autograd.grad(LineFlow(LINE.points).cdf(x, sigma).sum(), x)
    log_density = LINE.log_density(x.reshape(-1, 1, 1, 1), torch.full_like(x, sigma))
    torch.testing.assert_close(log_density.exp(), density, rtol=1e-10, atol=1e-12)


def test_the_gaussian_density_is_that_of_torch() -> None:
    x = noisy()
    total = (GAUSSIAN.variance + SIGMAS.reshape(-1, 1, 1, 1) ** 2).sqrt()
    expected = torch.distributions.Normal(GAUSSIAN.mean, total).log_prob(x).sum(dim=(1, 2, 3))
    torch.testing.assert_close(GAUSSIAN.log_density(x, SIGMAS), expected, rtol=1e-12, atol=1e-12)


def test_the_gaussian_denoiser_is_the_posterior_mean() -> None:
    """By quadrature over x0, for one pixel."""
    sigma, x = 0.7, -1.1
    x0 = torch.linspace(-8, 8, 20_001, dtype=torch.float64)
    weight = torch.exp(-((x0 - 0.3) ** 2) / (2 * 0.25) - (x - x0) ** 2 / (2 * sigma**2))
    expected = float(torch.trapezoid(weight * x0, x0) / torch.trapezoid(weight, x0))
    answer = PIXEL(torch.full((1, 1, 1, 1), x, dtype=torch.float64), torch.tensor([sigma], dtype=torch.float64))
    assert math.isclose(float(answer), expected, rel_tol=1e-9)


def test_the_gaussian_flow_solves_its_equation() -> None:
    """dx/dσ = (x − D(x, σ))/σ along the path; there and back again; and noise becomes data."""
    x, sigma = noisy(), 0.8
    step = 1e-5
    path = (GAUSSIAN.flow(x, sigma, sigma + step) - GAUSSIAN.flow(x, sigma, sigma - step)) / (2 * step)
    at = torch.full((4,), sigma, dtype=torch.float64)
    torch.testing.assert_close(path, (x - GAUSSIAN(x, at)) / sigma, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(GAUSSIAN.flow(GAUSSIAN.flow(x, 5.0, 0.1), 0.1, 5.0), x, rtol=1e-12, atol=1e-12)
    unit = (GAUSSIAN.variance + 25).sqrt()
    torch.testing.assert_close(GAUSSIAN.flow(GAUSSIAN.mean + unit, 5.0, 0.0), GAUSSIAN.mean + GAUSSIAN.variance.sqrt())


def test_float32_pictures_get_float32_answers_of_the_same_value() -> None:
    points = eps(50, 1, 16, 16, seed=8).clamp(-1, 1)
    sigma = torch.tensor([0.05, 0.5, 2.0, 10.0], dtype=torch.float64)
    x = points[:4] + sigma.reshape(-1, 1, 1, 1) * eps(4, 1, 16, 16, seed=9)
    single = FiniteData(points)(x.float(), sigma)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), FiniteData(points)(x, sigma), rtol=0, atol=1e-3)
