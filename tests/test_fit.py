"""Fitting one Gaussian: the estimates, how often the intervals are right, and the test for normality."""

from __future__ import annotations

import math

import pytest
import torch

from glyffctl.core.theory.fit import fit_normal, ks_normal, normal_tail


def test_the_fit_is_the_mean_and_the_deviation() -> None:
    fit = fit_normal(torch.tensor([1.0, 2.0, 3.0, 6.0], dtype=torch.float64))
    assert (fit.mean, fit.deviation, fit.count) == (3.0, math.sqrt(3.5), 4)


def test_no_other_gaussian_is_likelier() -> None:
    samples = torch.randn(50, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    fit = fit_normal(samples)

    def likelihood(mean: float, deviation: float) -> float:
        return float(torch.distributions.Normal(mean, deviation).log_prob(samples).sum())

    best = likelihood(fit.mean, fit.deviation)
    for shift, factor in ((0.02, 1), (-0.02, 1), (0, 1.02), (0, 0.98), (0.02, 1.02)):
        assert likelihood(fit.mean + shift, fit.deviation * factor) < best


def test_intervals_and_bands_hold_the_truth_in_95_of_100_fits() -> None:
    samples = torch.randn(2000, 200, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    at = torch.tensor([-2.0, -0.7, 0.3, 1.5], dtype=torch.float64)
    truth = torch.exp(-(at**2) / 2) / math.sqrt(2 * math.pi)
    hits = torch.zeros(6)
    for row in samples:
        fit = fit_normal(row)
        low, high = fit.band(at)
        hits[:4] += (low <= truth) & (truth <= high)
        hits[4] += fit.mean_interval()[0] <= 0 <= fit.mean_interval()[1]
        hits[5] += fit.deviation_interval()[0] <= 1 <= fit.deviation_interval()[1]
    rates = hits / len(samples)
    # The delta method is of first order: where z² is near 1 the band is a little too narrow.
    assert float(rates.min()) > 0.92 and float(rates.max()) < 0.97, rates


def test_the_density_is_that_of_torch_and_lies_in_its_band() -> None:
    fit = fit_normal(torch.tensor([0.0, 1.0, 5.0], dtype=torch.float64))
    x = torch.linspace(-5, 9, 50, dtype=torch.float64)
    expected = torch.distributions.Normal(fit.mean, fit.deviation).log_prob(x).exp()
    torch.testing.assert_close(fit.density(x), expected)
    low, high = fit.band(x)
    assert bool(((low <= expected) & (expected <= high)).all())


def test_kolmogorov_s_distance_and_probability() -> None:
    one = ks_normal(torch.zeros(1, dtype=torch.float64))[0]
    assert one == pytest.approx(0.5)
    # Samples at the quantiles (k − ½)/n are 1/2n away; the critical value of 5 % for many samples is 1.3581/√n.
    n = 10_000
    even = torch.special.ndtri((torch.arange(n, dtype=torch.float64) + 0.5) / n)
    distance, chance = ks_normal(even)
    assert distance == pytest.approx(0.5 / n, rel=1e-6) and chance == 1
    shifted = torch.special.ndtri(((torch.arange(n, dtype=torch.float64) + 0.5) / n * (1 - 0.013581)) + 0.013581)
    assert ks_normal(shifted)[1] == pytest.approx(0.05, abs=0.003)


def test_the_probability_is_even_when_the_law_is_right() -> None:
    generator = torch.Generator().manual_seed(4)
    chances = torch.tensor([ks_normal(torch.randn(40, generator=generator))[1] for _ in range(1500)])
    for level in (0.05, 0.3, 0.7):
        assert float((chances < level).float().mean()) == pytest.approx(level, abs=0.04)


def test_the_normal_tail() -> None:
    assert normal_tail(1.959964) == pytest.approx(0.05, abs=1e-7)
    assert normal_tail(-1.959964) == normal_tail(1.959964)
    assert normal_tail(0) == 1
