"""The samplers' own error, against draws and against closed forms."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from glyffctl.core.diffusion.samplers import SAMPLERS
from glyffctl.core.diffusion.schedule import linear
from glyffctl.core.theory.oracle import Gaussian
from glyffctl.core.theory.sampler_error import drawn_variances, spectrum, thin_spectrum, wasserstein_error
from tests.toys import draws, eps, last, order_of

VARIANCES = torch.tensor([4.0, 1.0, 0.2, 0.01], dtype=torch.float64)


def test_the_spectrum_is_that_of_the_covariance() -> None:
    for count, shape in ((40, (1, 3, 3)), (6, (1, 4, 4))):  # more pictures than numbers, and fewer
        points = eps(count, *shape, seed=1)
        expected = torch.linalg.eigvalsh(torch.cov(points.flatten(1).T)).flip(0)[: min(count - 1, 9)]
        torch.testing.assert_close(spectrum(points), expected[: len(spectrum(points))], rtol=1e-9, atol=1e-12)
        assert float(spectrum(points).sum()) == pytest.approx(float(points.flatten(1).var(0).sum()))


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_the_variances_are_those_of_what_is_drawn(name: str) -> None:
    sigmas, count = linear().steps(6), 20_000
    oracle = Gaussian(torch.zeros(1, 1, 4).double(), VARIANCES[None, None])
    start = eps(count, 1, 1, 4, seed=2) * (VARIANCES + sigmas[0] ** 2).sqrt()
    drawn = last(SAMPLERS[name](oracle, start, sigmas, draws(start))).var(0).flatten()
    torch.testing.assert_close(drawn_variances(name, VARIANCES, sigmas), drawn, rtol=0.05, atol=0)


def test_ddim_is_a_product_of_its_steps() -> None:
    sigmas = linear().steps(3)
    scale = (VARIANCES + sigmas[0] ** 2).sqrt()
    for sigma, target in pairwise(sigmas):
        keep = VARIANCES / (VARIANCES + sigma**2)
        scale = scale * (keep + (1 - keep) * target / sigma)
    torch.testing.assert_close(drawn_variances("ddim", VARIANCES, sigmas), scale**2)


@pytest.mark.parametrize("name", [name for name, sampler in SAMPLERS.items() if sampler.order])
def test_many_steps_end_near_the_truth(name: str) -> None:
    assert wasserstein_error(name, VARIANCES, linear(), 200) < 0.02
    assert wasserstein_error(name, VARIANCES, linear(), 200) < wasserstein_error(name, VARIANCES, linear(), 20)


def test_one_step_is_the_mean_and_nothing_else() -> None:
    tiny = torch.full((3,), 1e-6, dtype=torch.float64)
    assert wasserstein_error("ddim", tiny, linear(), 1) == pytest.approx(1, abs=1e-3)


def test_second_order_is_worth_its_name() -> None:
    """On levels that do not end at 0 the last step's first order does not hide it."""
    counts = [8, 16, 32, 64]

    def errors(name: str) -> list[float]:
        found = []
        for count in counts:
            sigmas = torch.logspace(1, -1, count + 1, dtype=torch.float64)
            drawn = drawn_variances(name, VARIANCES[:2], sigmas).sqrt()
            truth = (VARIANCES[:2] + sigmas[-1] ** 2).sqrt()
            found.append(float((drawn - truth).norm()))
        return found

    assert order_of(counts, errors("ddim")) == pytest.approx(1, abs=0.15)
    assert order_of(counts, errors("heun")) == pytest.approx(2, abs=0.25)


def test_a_thinned_spectrum_has_nearly_the_same_error() -> None:
    full = torch.logspace(1, -3, 500, dtype=torch.float64)
    assert len(thin_spectrum(full, 100)) == 100
    assert wasserstein_error("ddpm", thin_spectrum(full, 100), linear(), 10) == pytest.approx(
        wasserstein_error("ddpm", full, linear(), 10), rel=0.03
    )
    assert math.isfinite(wasserstein_error("ddpm", thin_spectrum(full[:1]), linear(), 10))
