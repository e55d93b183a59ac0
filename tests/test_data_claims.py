"""Claims about data as points and about the way into noise: closed forms, and both verdicts."""

from __future__ import annotations

import pytest
import torch

from glyffctl.core.diffusion.schedule import karras, linear
from glyffctl.core.estimates import share
from glyffctl.core.theory import data_claims, noising_claims
from glyffctl.core.theory.information import Information, information
from glyffctl.core.theory.sampler_error import wasserstein_error
from tests.toys import eps

VARIANCES = torch.logspace(1, -4, 12, dtype=torch.float64)
SQUARES = torch.ones(40, 1, 16, 16)
for _k in range(40):
    SQUARES[_k, 0, 1 + _k % 5 : 7 + _k % 3, _k % 7 : 5 + _k % 9] = -1


def test_two_neighbours_tell_the_dimension() -> None:
    generator = torch.Generator().manual_seed(0)
    for true in (1, 3):
        flat = torch.rand(1500, true, generator=generator, dtype=torch.float64)
        turned = flat @ torch.randn(true, 20, generator=generator, dtype=torch.float64)
        found = data_claims.two_nearest(torch.cat([turned, turned[:5]]))
        assert found.low < true < found.high or abs(found.value - true) < 0.15 * true
        assert found.count == 1500 - 5  # both copies of five are left out
    claim = data_claims.dimension(SQUARES + 0.01 * eps(40, 1, 16, 16, seed=1).float())
    assert claim.estimates["glyphs"].value < claim.estimates["shuffled"].value


def test_noise_has_no_fewer_dimensions_than_it_seems() -> None:
    assert data_claims.dimension(eps(60, 1, 6, 6, seed=1)).verdict == "does not hold"


def test_a_gaussian_is_learned_from_samples_and_others_are_not() -> None:
    claim = data_claims.gaussian_fit()
    assert claim.verdict == "holds"
    assert claim.estimates["variance"].value == pytest.approx(0.95, abs=0.02)
    assert claim.estimates["variance of others"].high < 0.85  # kurtosis 6: the variance scatters √2.5 times as much


def test_pictures_as_numbers() -> None:
    pictures = torch.full((3, 128, 128), 255, dtype=torch.uint8)
    pictures[:, :64] = torch.tensor([0, 100, 255], dtype=torch.uint8)[:, None, None]
    claim = data_claims.pixels(pictures)
    assert claim.verdict == "holds" and claim.numbers["numbers"] == 16_384
    assert claim.numbers["always paper"] == 0.5 and claim.estimates["grey"].value == pytest.approx(0.5 / 3)
    assert data_claims.pixels(pictures[:, ::2, ::2]).verdict == "does not hold"


def test_what_is_gaussian_is_not_said_to_be_complex() -> None:
    assert data_claims.not_gaussian(SQUARES.repeat(8, 1, 1, 1)).verdict == "holds"
    assert data_claims.not_gaussian(0.5 * eps(60, 1, 8, 8, seed=1).float()).verdict == "does not hold"


def test_noise_with_neighbours_alike_is_found_out() -> None:
    noise = eps(60, 1, 16, 16, seed=1)
    claim = data_claims.independent_noise(noise, SQUARES)
    assert claim.verdict == "holds" and abs(claim.estimates["noise"].value) < 0.05
    assert claim.estimates["glyphs"].low > 0.3
    smooth = torch.nn.functional.avg_pool2d(noise, 3, 1, 1)
    assert data_claims.independent_noise(smooth, SQUARES).verdict == "does not hold"


def test_claims_about_the_map_depend_on_what_was_found_in_it() -> None:
    assert data_claims.map_structure(0.99, 0.6, 0.5, 100).verdict == "holds"
    assert data_claims.map_structure(0.8, 0.6, 0.5, 100).verdict == "does not hold"
    assert data_claims.map_radicals(share(40, 100), share(13, 100), share(3, 100)).verdict == "holds"
    assert data_claims.map_radicals(share(40, 100), share(40, 100), share(3, 100)).verdict == "does not hold"
    assert data_claims.map_keeps(share(80, 100), share(3, 100), 0.001).verdict == "holds"
    assert data_claims.map_keeps(share(20, 100), share(3, 100), 0.001).verdict == "holds with a correction"
    assert data_claims.map_keeps(share(3, 100), share(3, 100), 0.001).verdict == "does not hold"
    none = share(2, 100)
    assert data_claims.map_density(share(80, 100), none, none).verdict == "holds"
    assert data_claims.map_density(share(30, 100), none, none).verdict == "holds with a correction"
    assert data_claims.map_density(none, none, none).verdict == "does not hold"


def test_the_divergence_of_the_last_step_against_that_of_torch() -> None:
    variances, mean = torch.tensor([3.0, 0.5]), torch.tensor([0.4, -0.2, 0.1])
    claim = noising_claims.horizon(mean, variances)
    for length in noising_claims.LENGTHS:
        alpha_bar = float(linear(length).alpha_bar()[-1])
        spread = (alpha_bar * torch.tensor([3.0, 0.5, 0.0]) + 1 - alpha_bar).double()
        last = torch.distributions.Normal(alpha_bar**0.5 * mean.double(), spread.sqrt())
        normal = torch.distributions.Normal(torch.zeros(3).double(), torch.ones(3).double())
        expected = float(torch.distributions.kl_divergence(last, normal).sum())
        assert claim.numbers[f"nats, {length}"] == pytest.approx(expected, rel=1e-6, abs=1e-12)
    assert claim.verdict == "holds"  # so small a picture is gone after 1,000 steps
    large = noising_claims.horizon(torch.full((40_000,), 0.8), variances)
    assert large.verdict == "holds with a correction"
    assert noising_claims.horizon(torch.zeros(2), torch.ones(2)).verdict == "does not hold"  # it was noise before


def test_islands_become_noise_and_noise_need_not() -> None:
    islands = torch.tensor([[-1.2, 0.6], [1.1, 0.9], [0.2, -1.3]], dtype=torch.float64)
    assert noising_claims.becomes_noise(islands).verdict == "holds"
    many = torch.special.ndtri((torch.arange(60, dtype=torch.float64) + 0.5) / 60)
    grid = torch.stack(torch.meshgrid(many, many, indexing="ij"), -1).reshape(-1, 2)
    claim = noising_claims.becomes_noise(grid)
    assert claim.numbers["t = 250"] < 0.02 and claim.numbers["control"] < 0.05


def test_what_is_recognised_and_when() -> None:
    far = information(100 * torch.eye(8, dtype=torch.float64), draws=32)
    claim = noising_claims.recognition(far)
    assert claim.estimates["t = 1"].value == pytest.approx(3)
    assert claim.numbers["total"] == pytest.approx(3) and claim.verdict != "holds"
    near = information(0.01 * torch.eye(8, dtype=torch.float64), draws=32)
    assert noising_claims.recognition(near).verdict == "holds"
    never = Information(far.sigmas, torch.full_like(far.bits, 3.0), 3.0)
    assert noising_claims.recognition(never).verdict == "does not hold"


def test_even_steps_are_measured_as_other_steps_are() -> None:
    claim = noising_claims.even_steps(VARIANCES)
    expected = wasserstein_error("ddim", VARIANCES, karras(), noising_claims.EVEN_STEPS)
    assert claim.numbers["ddim, karras"] == pytest.approx(expected, rel=1e-6)
    assert set(claim.numbers) >= {f"dpmpp-2m, {name}" for name in ("even", "even by σ", "cosine", "linear")}
    assert all(0 < error < 2 for error in claim.numbers.values())
    single = noising_claims.even_steps(torch.ones(1, dtype=torch.float64))  # one unknown: every level tells as much
    assert single.numbers["ddim, even"] < claim.numbers["ddim, even"]


def test_noisy_times_teach_little_of_fine_detail_only() -> None:
    fine = noising_claims.uniform_times(torch.full((50,), 1e-4))
    assert fine.verdict == "holds"
    coarse = noising_claims.uniform_times(torch.tensor([1e6]))
    assert coarse.numbers["noisiest third, linear"] > fine.numbers["noisiest third, linear"]
    assert coarse.verdict != "holds"
