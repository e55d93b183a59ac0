"""Langevin dynamics and correctors against closed forms, and the law of what they draw; and what they get wrong."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from glyffctl.core.diffusion.langevin import langevin, make_langevin, make_predictor_corrector, walk
from glyffctl.core.diffusion.samplers import SAMPLERS, Sampler
from glyffctl.core.diffusion.schedule import karras
from glyffctl.core.theory.oracle import FiniteData, Gaussian
from glyffctl.core.theory.sampler_error import drawn_variances
from tests.toys import draws, eps, ks_statistic, last

POINTS = torch.tensor([[-1, -1], [1, -0.8], [0.1, 0.9], [0.9, 0.7], [0.9, 0.7]], dtype=torch.float64)
WEIGHTS = torch.tensor([0.2, 0.2, 0.2, 0.4], dtype=torch.float64)
"""Of the first four points; the last is there twice."""
LEVELS = karras(1000, 0.02, 80.0)
ACCURATE = {"langevin": make_langevin(snr=0.3, langevin_steps=20), "pc": make_predictor_corrector(0.2, 2)}


def unit_gaussian(variance: float) -> Gaussian:
    return Gaussian(torch.zeros(1, 1, 1).double(), torch.full((1, 1, 1), variance).double())


@pytest.mark.parametrize("variance", [0.0, 0.5, 4.0])
def test_a_walk_at_one_level_has_the_variance_of_its_recursion_and_settles_near_the_law(variance: float) -> None:
    """A step multiplies by 1 − 2r²σ²·p and adds 4r²σ², where 1/p is the variance of the law. Nothing is drawn."""
    sigma, snr, count = 0.7, 0.2, 400
    law = variance + sigma**2
    x = torch.zeros(1 + count, 1, 1, 1, dtype=torch.float64)
    x[0] = 3.0  # row 0 starts there; row i + 1 has draw i alone
    impulses = torch.eye(1 + count, dtype=torch.float64)[1:, :, None, None, None]
    x, _ = walk(unit_gaussian(variance), x, sigma, impulses.__getitem__, 0, snr=snr, count=count)
    expected, keep = 0.0, 1 - 2 * snr**2 * sigma**2 / law
    for _ in range(count):
        expected = keep**2 * expected + (2 * snr * sigma) ** 2
    assert float(x[1:].square().sum()) == pytest.approx(expected, rel=1e-12)
    assert float(x[0]) == pytest.approx(3 * keep**count, rel=1e-9)
    assert expected == pytest.approx(law / (1 - snr**2 * sigma**2 / law), rel=1e-2)


def test_langevin_on_a_gaussian_is_its_recursion() -> None:
    variances, sigmas = torch.tensor([1.0, 0.04], dtype=torch.float64), LEVELS.steps(12)
    snr, count = 0.25, 3
    total = variances + sigmas[0] ** 2
    for sigma in sigmas[1:-1]:
        for _ in range(count):
            keep = 1 - 2 * snr**2 * sigma**2 / (variances + sigma**2)
            total = keep**2 * total + (2 * snr * sigma) ** 2
    total = total * (variances / (variances + sigmas[-2] ** 2)) ** 2
    torch.testing.assert_close(drawn_variances(make_langevin(snr, count), variances, sigmas), total)


def test_predictor_and_corrector_on_a_gaussian_are_their_recursion() -> None:
    variances, sigmas = torch.tensor([1.0, 0.04], dtype=torch.float64), LEVELS.steps(12)
    snr, total = 0.16, variances + sigmas[0] ** 2
    for sigma, target in pairwise(sigmas[:-1]):
        gap = sigma**2 - target**2
        total = (1 - gap / (variances + sigma**2)) ** 2 * total + gap
        total = (1 - 2 * snr**2 * target**2 / (variances + target**2)) ** 2 * total + (2 * snr * target) ** 2
    total = total * (variances / (variances + sigmas[-2] ** 2)) ** 2
    torch.testing.assert_close(drawn_variances(make_predictor_corrector(snr), variances, sigmas), total)


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "sampler"), ACCURATE.items())
def test_samples_have_the_law_of_gaussian_data(name: str, sampler: Sampler) -> None:
    count = 3000
    data, sigmas = unit_gaussian(0.25), LEVELS.steps(300)
    assert float(drawn_variances(sampler, torch.tensor([0.25]), sigmas)) == pytest.approx(0.25, rel=0.015), name
    x = eps(count, 1, 1, 1) * sigmas[0]
    unit = last(sampler(data, x, sigmas, draws(x))).flatten() * 2
    assert abs(float(unit.mean())) < 4 / math.sqrt(count)
    assert abs(float(unit.var()) - 1) < 0.015 + 4 * math.sqrt(2 / count)
    assert ks_statistic(unit) < 1.95


def found_weights(sampler: Sampler, steps: int = 100, count: int = 3000) -> tuple[Tensor, Tensor]:
    """(4,) how many samples are nearest to each of the four points, and how far each sample is from its point."""
    sigmas = LEVELS.steps(steps)
    x = eps(count, 1, 1, 2) * sigmas[0]
    samples = last(sampler(FiniteData(POINTS.reshape(5, 1, 1, 2)), x, sigmas, draws(x))).reshape(-1, 2)
    nearest = torch.cdist(samples, POINTS[:4]).min(dim=1)
    return nearest.indices.bincount(minlength=4).double(), nearest.values


def chi_square(observed: Tensor) -> float:
    expected = WEIGHTS * observed.sum()
    return float(((observed - expected) ** 2 / expected).sum())


@pytest.mark.thorough
@pytest.mark.parametrize("name", ACCURATE)
def test_samples_land_on_the_points_as_often_as_they_should(name: str) -> None:
    observed, distance = found_weights(ACCURATE[name])
    assert float(distance.max()) < 1e-3
    assert chi_square(observed) < 16.3, observed  # 3 degrees of freedom, p = 0.001


@pytest.mark.thorough
def test_without_noise_the_weights_are_wrong() -> None:
    """The control: steps that only climb the density end on points, but not as often as they should on each."""
    sampler = Sampler(lambda *args: langevin(*args, snr=0.3, count=20, noise=0.0))
    observed, distance = found_weights(sampler)
    assert float(distance.max()) < 1e-3
    assert chi_square(observed) > 100, observed


def test_a_step_that_depends_on_where_it_is_has_another_law() -> None:
    """Why ε is not 2(r·‖z‖/‖s‖)² of each picture: with one number the walk leaves at once where the score is small."""
    sigma, snr, count, law = 0.7, 0.2, 300, 1 + 0.7**2
    data, draw, x = unit_gaussian(1.0), draws(torch.zeros(3000, 1, 1, 1).double()), eps(3000, 1, 1, 1) * math.sqrt(law)
    level = torch.full((len(x),), sigma, dtype=torch.float64)
    walked, _ = walk(data, x, sigma, draw, 0, snr=snr, count=count)
    own = x
    for k in range(count):
        score, z = (data(own, level) - own) / sigma**2, draw(k)
        size = 2 * (snr * z.abs() / score.abs()) ** 2
        own = own + size * score + (2 * size).sqrt() * z
    assert float(walked.var()) == pytest.approx(law, rel=0.12)
    assert not 0.5 * law < float(own.var()) < 2 * law


@pytest.mark.parametrize("settings", [{}, {"snr": 0.3}, {"langevin_steps": 4}])
def test_settings_of_the_table_s_samplers(settings: dict[str, float]) -> None:
    sampler = make_langevin(**settings)  # type: ignore[arg-type]
    assert sampler.evaluations == sampler.draws == settings.get("langevin_steps", SAMPLERS["langevin"].evaluations)
    both = make_predictor_corrector(**settings)  # type: ignore[arg-type]
    assert both.evaluations == both.draws == 1 + settings.get("langevin_steps", 1)
