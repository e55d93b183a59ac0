"""Information in bits against exact cases: two points, the derivative law of Guo, Shamai and Verdú, a Gaussian."""

from __future__ import annotations

import math

import pytest
import torch

from glyffctl.core.diffusion.schedule import Schedule, cosine, linear
from glyffctl.core.theory.information import Information, detail_lost, gini, information, middle_share
from glyffctl.core.theory.oracle import FiniteData
from tests.toys import eps

PAIR = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)


def binary_bits(sigma: float) -> float:
    """I for x0 = ±1 by quadrature: 1 − E log₂(1 + exp(−2x/σ²)) for x ~ N(1, σ²)."""
    x = torch.linspace(1 - 10 * sigma, 1 + 10 * sigma, 20_001, dtype=torch.float64)
    density = torch.exp(-(((x - 1) / sigma) ** 2) / 2) / (sigma * math.sqrt(2 * math.pi))
    lost = torch.nn.functional.softplus(-2 * x / sigma**2) / math.log(2)
    return 1 - float(torch.trapezoid(density * lost, x))


def test_two_points_far_apart_are_one_bit_and_under_much_noise_none() -> None:
    known = information(PAIR, draws=100)
    assert known.total == 1.0
    assert float(known.bits[0].min()) == pytest.approx(1, abs=1e-12)
    assert float(known.bits[-1].max()) == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_two_points_have_the_information_of_the_binary_channel(sigma: float) -> None:
    known = information(PAIR, draws=20_000)
    spread = float(known.bits[int((known.sigmas - sigma).abs().argmin())].std()) / math.sqrt(20_000)
    assert float(known.at(torch.tensor([sigma]).double())) == pytest.approx(binary_bits(sigma), abs=5 * spread)


def test_the_same_point_twice_says_nothing_about_which() -> None:
    points = torch.zeros(4, 3, dtype=torch.float64)
    points[2:] = 100
    known = information(points, draws=50)
    assert known.total == 2
    assert float(known.bits[0].mean()) == pytest.approx(1, abs=1e-9)  # which pair, but not which of the pair


def test_the_loss_follows_the_error_of_the_exact_denoiser() -> None:
    """dI/d(1/σ²) = ½·E‖x0 − E[x0|x]‖² in nats (Guo, Shamai and Verdú 2005): another way to the same number."""
    points = eps(12, 6, seed=5)
    known, oracle = information(points, draws=6000, seed=3), FiniteData(points)
    a, b = 0.9, 1.1
    bits = known.at(torch.tensor([a, b], dtype=torch.float64))
    x0 = points[torch.arange(60_000) % 12]
    sigma = torch.full((len(x0),), 1.0, dtype=torch.float64)
    error = (oracle(x0 + eps(len(x0), 6, seed=6), sigma) - x0).square().sum(1).mean()
    slope = float(bits[0] - bits[1]) * math.log(2) / (a**-2 - b**-2)
    assert slope == pytest.approx(float(error) / 2, rel=0.05)


def test_losses_are_not_negative_and_add_up() -> None:
    known = information(eps(30, 16, seed=7), draws=200)
    for schedule in (linear(), cosine()):
        lost = known.lost(schedule)
        assert lost.shape == (1000,) and float(lost.min()) >= 0
        left = float(known.at(schedule.sigmas[-1:]))
        assert float(lost.sum()) == pytest.approx(known.total - left, abs=1e-3)
        figure = known.left_at_end(schedule)
        assert figure.value == left and figure.low <= left <= figure.high


def test_a_row_of_all_draws_is_the_mean_and_the_curve_goes_through_its_points() -> None:
    known = information(eps(10, 4, seed=8), draws=40)
    every = torch.arange(40)[None]
    torch.testing.assert_close(known.at(known.sigmas, every)[0], known.at(known.sigmas), rtol=0, atol=1e-12)
    torch.testing.assert_close(known.at(known.sigmas), known.bits.mean(1), rtol=0, atol=1e-12)
    beyond = known.at(torch.tensor([1e-9, 1e9], dtype=torch.float64))
    torch.testing.assert_close(beyond, known.bits.mean(1)[[0, -1]])


def test_a_schedule_made_even_is_found_even() -> None:
    """Levels chosen so that each step loses as much as any other."""
    sigmas = torch.logspace(-2, 5, 160, dtype=torch.float64)
    known = Information(sigmas, torch.linspace(3, 0, 160, dtype=torch.float64)[:, None].repeat(1, 4), 3.0)
    even = Schedule(torch.logspace(-2, 5, 701, dtype=torch.float64)[1:])
    share, coefficient = known.evenness(even)
    assert share.value == pytest.approx(0.8, abs=0.005) and share.low <= share.value <= share.high
    assert coefficient.value == pytest.approx(0, abs=1e-3)
    sudden = Schedule(torch.cat([torch.linspace(0.0101, 0.0102, 350), torch.linspace(9e4, 9.1e4, 350)]).double())
    assert known.evenness(sudden)[0].value < 0.01 and known.evenness(sudden)[1].value > 0.9


def test_shares_and_gini_in_small_numbers() -> None:
    assert float(gini(torch.ones(10, dtype=torch.float64))) == pytest.approx(0)
    assert float(gini(torch.eye(10, dtype=torch.float64)[3])) == pytest.approx(0.9)
    assert float(gini(torch.tensor([1.0, 3.0], dtype=torch.float64))) == pytest.approx(0.25)
    assert float(middle_share(torch.ones(1000, dtype=torch.float64))) == pytest.approx(0.8, abs=0.002)
    assert float(middle_share(torch.eye(100, dtype=torch.float64)[7])) == 0


def test_the_detail_of_a_gaussian_is_its_entropy_above_rounding() -> None:
    variances = torch.tensor([4.0, 1.0, 0.01], dtype=torch.float64)
    lost = detail_lost(variances, linear())
    last = float(linear().sigmas[-1])

    def bits(noise: float) -> float:
        return sum(math.log2(1 + v / noise) / 2 for v in variances.tolist())

    rounding = (2 / 255) ** 2 / 12
    assert float(lost.sum()) == pytest.approx(bits(rounding) - bits(last**2 + rounding), rel=1e-12)
    assert bool((lost > 0).all())
