"""Planar data under noise, against the oracle, integration and automatic differentiation."""

from __future__ import annotations

import math

import pytest
import torch

from glyffctl.core.theory import planar
from glyffctl.core.theory.oracle import FiniteData
from tests.toys import eps

POINTS = eps(7, 2, seed=1)


@pytest.mark.parametrize("alpha_bar", [0.9, 0.3, 0.01])
def test_the_density_is_the_oracle_s_and_integrates_to_one(alpha_bar: float) -> None:
    line = torch.linspace(-7, 7, 281, dtype=torch.float64)
    values = planar.mixture_density(POINTS, line, alpha_bar)
    assert float(values.sum()) * float(line[1] - line[0]) ** 2 == pytest.approx(1, rel=1e-9)
    places, sigma = planar.grid_points(line[::40]), math.sqrt((1 - alpha_bar) / alpha_bar)
    at = torch.full((len(places),), sigma, dtype=torch.float64)
    expected = FiniteData(POINTS).log_density(places / alpha_bar**0.5, at).exp() / alpha_bar
    torch.testing.assert_close(values[::40, ::40].flatten(), expected, rtol=1e-9, atol=1e-200)


def test_the_score_is_the_gradient() -> None:
    places, alpha_bar = eps(9, 2, seed=2).requires_grad_(), 0.4
    at = torch.full((9,), math.sqrt(0.6 / 0.4), dtype=torch.float64)
    (expected,) = torch.autograd.grad(FiniteData(POINTS).log_density(places / 0.4**0.5, at).sum(), places)
    torch.testing.assert_close(
        planar.mixture_score(POINTS, places.detach(), alpha_bar), expected, rtol=1e-9, atol=1e-12
    )


def test_far_from_normal_near_normal() -> None:
    assert planar.distance_from_normal(torch.zeros(1, 2).double(), 1e-9) < 1e-6
    assert planar.distance_from_normal(torch.full((1, 2), 50.0).double(), 0.5) == pytest.approx(
        0.5, abs=1e-3
    )  # all off the grid
    # Two unit Gaussians 2a apart overlap by erfc(a/√2).
    shifted = planar.distance_from_normal(torch.tensor([[1e4, 0.0]], dtype=torch.float64), 1e-8)
    assert shifted == pytest.approx(math.erf(0.5 / math.sqrt(2)), abs=1e-3)


def test_the_principal_plane_of_vectors_in_a_plane_keeps_their_distances() -> None:
    turn = torch.linalg.qr(eps(5, 5, seed=3)).Q[:, :2]
    flat = eps(30, 2, seed=4)
    found = planar.principal_plane(flat @ turn.T + 3)
    ratio = torch.pdist(found) / torch.pdist(flat)
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio))
    assert float(found.square().mean()) == pytest.approx(1)
    assert abs(float((found[:, 0] * found[:, 1]).mean())) < 1e-12


def test_fewer_vectors_than_numbers_give_the_same_plane() -> None:
    few = eps(8, 40, seed=5)
    found = planar.principal_plane(few)
    centred = few - few.mean(0)
    _, singular, _ = torch.linalg.svd(centred, full_matrices=False)
    torch.testing.assert_close(found.norm(dim=0) / found.norm(), singular[:2] / singular[:2].norm())
    line = planar.principal_plane(torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [2.0, 2.0, 2.0]]))
    assert line[:, 1].abs().max() < 1e-6 and bool(line.isfinite().all())
