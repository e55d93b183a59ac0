"""Walks in the plane: modes and shares against another way to them, and where walks end with and without noise."""

from __future__ import annotations

import pytest
import torch

from glyffctl.core.theory import walks
from glyffctl.core.theory.oracle import score


@pytest.fixture(scope="module")
def found() -> walks.Comparison:
    return walks.compare_walks(0)


def test_the_score_is_zero_at_a_mode() -> None:
    data, x = walks.planar_data(), walks.modes()[:, None, None]
    sigma = torch.full((3,), walks.SIGMA, dtype=torch.float64)
    assert float(score(data(x, sigma), x, sigma).abs().max()) < 1e-9
    around = x + 0.05 * torch.randn(3, 1, 1, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert bool((data.log_density(x, sigma) > data.log_density(around, sigma)).all())


def test_true_shares_are_those_of_draws_from_the_mixture() -> None:
    generator = torch.Generator().manual_seed(0)
    places = walks.planar_data().points.reshape(-1, 2)
    draws = places[torch.randint(len(places), (40_000,), generator=generator)]
    draws = draws + walks.SIGMA * torch.randn(draws.shape, generator=generator, dtype=torch.float64)
    assert walks.ends(draws, walks.modes(), walks.true_shares()).p > 0.001
    assert float(walks.true_shares().sum()) == pytest.approx(1)


def test_without_noise_walks_end_on_modes_and_with_noise_they_have_the_law(found: walks.Comparison) -> None:
    still, moving = found.one_level["without noise"], found.one_level["with noise"]
    assert still.on_mode.low > 0.99 and still.p < 1e-6
    assert moving.on_mode.high < 0.05 and moving.p > 0.001
    reached = found.climbing[-1] - found.climbing[-20]
    assert float(reached.abs().max()) < 1e-6  # they have settled
    # Whatever the starts: the share within 0.1 of a mode is that of the law, by draws from the mixture.
    assert moving.on_mode.value < 0.1 < still.on_mode.value


def test_the_law_along_one_axis_is_reached_with_noise_alone(found: walks.Comparison) -> None:
    data = walks.planar_data().points.reshape(-1, 2)
    expected = data.var(0, correction=0) + walks.SIGMA**2
    assert torch.allclose(found.walking[-1].var(0), expected, rtol=0.15)
    assert float((found.climbing[-1].var(0) / expected).max()) < 0.85


def test_down_from_pure_noise_both_have_the_right_shares(found: walks.Comparison) -> None:
    assert all(each.p > 0.001 and each.on_mode.low > 0.99 for each in found.from_noise.values())


def test_ends_are_counted_and_compared() -> None:
    targets = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]], dtype=torch.float64)
    points = torch.cat([targets[:1].expand(6, 2), targets[1:2].expand(3, 2) + 1, targets[2:].expand(1, 2)])
    even = walks.ends(points, targets, torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64))
    assert [each.value for each in even.shares] == [0.6, 0.3, 0.1] and even.p == 1 and even.on_mode.value == 0.7
    # χ² = 4²/2 + 2²/5 + 2²/3 for 6, 3, 1 of expected 2, 5, 3.
    assert walks.ends(points, targets, torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)).p == pytest.approx(
        float(torch.exp(torch.tensor(-(16 / 2 + 4 / 5 + 4 / 3) / 2, dtype=torch.float64)))
    )
