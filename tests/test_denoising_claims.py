"""Claims about denoisers, guidance and networks, on data where the answer is known; both verdicts."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from glyffctl.core.diffusion.schedule import linear
from glyffctl.core.estimates import share
from glyffctl.core.networks.network import NetworkConfig
from glyffctl.core.theory import denoising_claims, guiding_claims, network_claims
from glyffctl.core.theory.information import information
from glyffctl.core.theory.operations import OperationCounter, operations
from tests.test_data_claims import SQUARES, VARIANCES
from tests.toys import eps

ISLANDS = torch.tensor([[-1.2, 0.6], [1.1, 0.9], [0.2, -1.3]], dtype=torch.float64).repeat(8, 1) + 0.15 * eps(
    24, 2, seed=1
)
GROUPS = torch.arange(24) % 3


def test_the_mean_is_the_best_guess_and_a_draw_errs_twice_as_much() -> None:
    claim = denoising_claims.best_guess(SQUARES, information(SQUARES.double(), 64))
    assert claim.verdict == "holds"
    assert claim.numbers["ratio"] == pytest.approx(2, rel=0.25)
    assert claim.estimates["drawn less mean"].low > 0


def test_an_error_of_the_noise_is_sigma_times_as_large_in_the_picture() -> None:
    claim = denoising_claims.noise_or_picture(SQUARES)
    assert claim.verdict == "holds with a correction" and claim.numbers["worst"] < 1e-9
    for t in (1, 1000):
        assert claim.numbers[f"error, t = {t}"] == pytest.approx(float(linear().sigmas[t - 1]), rel=1e-6)


def test_the_level_can_be_read_off_a_picture_of_areas_and_not_off_a_texture() -> None:
    areas = torch.ones(40, 1, 64, 64)
    areas[:, :, 20:40, 10:30] = -1
    assert denoising_claims.readable_level(areas).verdict == "does not hold"
    assert denoising_claims.readable_level(eps(40, 1, 64, 64, seed=1).float()).verdict == "holds"


def test_closer_steps() -> None:
    claim = denoising_claims.closer_steps(VARIANCES)
    assert claim.verdict == "holds" and claim.numbers["falling"] == 6
    assert claim.numbers["ddpm, 160"] < claim.numbers["ddpm, 10"]


def test_exact_denoisers_lead_to_data() -> None:
    claim = denoising_claims.landing(SQUARES)
    assert claim.verdict == "holds"
    assert claim.estimates["ddim again"].value == 1 and claim.estimates["ddpm again"].value < 1
    assert claim.estimates["half way"].value < 0.5
    alone = denoising_claims.landing(SQUARES[:1])  # nothing else to land on, with noise or without
    assert alone.verdict == "does not hold"


def test_the_score_goes_uphill_and_to_the_middle_only_with_much_noise() -> None:
    claim = denoising_claims.uphill(ISLANDS)
    assert claim.verdict == "holds with a correction"
    assert claim.estimates["rises, t = 100"].value == 1
    assert claim.estimates["rises, any way, t = 100"].value == pytest.approx(0.5, abs=0.1)
    assert denoising_claims.uphill(torch.zeros(3, 2, dtype=torch.float64)).verdict == "holds"  # one hill


def test_more_noise_covers_more_of_islands_but_not_of_noise() -> None:
    assert denoising_claims.coverage(ISLANDS).verdict == "holds"
    assert denoising_claims.coverage(3 * eps(3000, 2, seed=2)).verdict == "does not hold"


def test_one_level_leads_to_whatever_is_near() -> None:
    claim = denoising_claims.many_levels()
    assert claim.verdict == "holds" and claim.numbers["p, one level"] < 1e-6
    assert claim.estimates["heaviest, one level"].high < claim.numbers["heaviest, true"] == 0.5


def test_a_label_adds_the_gradient_of_a_classifier() -> None:
    claim = guiding_claims.bayes(ISLANDS, GROUPS)
    assert claim.verdict == "holds"
    assert claim.numbers["worst"] < 1e-9 < claim.numbers["without the classifier"]
    assert guiding_claims.bayes(ISLANDS, torch.zeros(24, dtype=torch.int64)).verdict == "does not hold"  # no label


def test_guidance_draws_what_was_asked_at_one_and_something_narrower_above() -> None:
    claim = guiding_claims.sharpening()
    n = claim.numbers
    assert claim.verdict == "holds with a correction"
    assert n["variance, drawn, 1"] == pytest.approx(1 - guiding_claims.CORRELATION**2, rel=0.01)
    assert n["mean, drawn, 1"] == pytest.approx(guiding_claims.CORRELATION * guiding_claims.GIVEN, rel=0.01)
    line = torch.linspace(-6, 6, 4001, dtype=torch.float64)
    for strength in (2.0, 4.0):
        inner = 1 - guiding_claims.CORRELATION**2
        off = guiding_claims.GIVEN - guiding_claims.CORRELATION * line
        likely = -(line**2) / 2 - strength * off**2 / (2 * inner)
        weight = likely.softmax(0)
        centre = float((weight * line).sum())
        spread = float((weight * (line - centre) ** 2).sum())
        assert guiding_claims.sharpened_law(strength) == pytest.approx((centre, spread), rel=1e-6)


def test_guidance_asks_twice_where_it_acts() -> None:
    n = guiding_claims.passes_of_guidance().numbers
    assert n["off"] == 20 and n["everywhere"] == 40 and 20 < n["where it decides"] < 40


def test_a_classifier_that_stands_noise_makes_the_claim_fail() -> None:
    good, bad, sigmas = share(900, 1000), share(30, 1000), [0.05, 2.0]
    assert guiding_claims.aware_of_noise([good, good], [good, bad], bad, sigmas).verdict == "holds"
    assert guiding_claims.aware_of_noise([good, good], [good, good], bad, sigmas).verdict == "does not hold"


class _Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.config = NetworkConfig(size=8, text_width=4)
        self.inside, self.outside = nn.Conv2d(1, 6, 3, padding=1), nn.Linear(6 * 64, 5)

    def encode(self, condition: object) -> object:
        return condition

    def forward(self, z: torch.Tensor, *_: object) -> torch.Tensor:
        return self.outside(self.inside(z).flatten(1))


def test_operations_are_those_of_torchs_counter_and_of_attention() -> None:
    network = _Plain()
    by_hand = 2 * 64 * 6 * 9 + 2 * 384 * 5
    assert operations(network, 8) == by_hand
    assert operations(network, 8, backward=True) == 2 * by_hand
    with FlopCounterMode(display=False) as theirs:
        network(torch.zeros(1, 1, 8, 8))
    assert theirs.get_total_flops() == by_hand
    query = torch.zeros(1, 2, 5, 4)
    with OperationCounter() as ours:
        nn.functional.scaled_dot_product_attention(query, query, query)
    assert ours.count in {2 * 2 * 2 * 5 * 5 * 4, 0} and ours.count > 0


def test_what_passes_cost() -> None:
    claim = network_claims.guide_cost()
    assert claim.verdict == "does not hold" and claim.numbers["classifier"] < claim.numbers["pass"]


@pytest.mark.thorough
def test_what_pixels_cost() -> None:
    claim = network_claims.pixel_cost()
    assert claim.verdict == "holds with a correction"
    assert claim.numbers["side 512"] > 3.5 * claim.numbers["side 256"] > 12 * claim.numbers["side 128"]


def test_times_are_told_apart() -> None:
    claim = network_claims.time_embedding()
    assert claim.verdict == "holds" and claim.numbers["times"] == 1000
    assert network_claims.time_embedding(2).verdict == "does not hold"  # one frequency
    decades = network_claims.level_range().numbers
    assert decades["decades, karras"] == pytest.approx(2 * math.log10(160 / 0.02))


def test_networks_that_have_not_learned_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    small = torch.nn.functional.interpolate(SQUARES, (16, 16))
    monkeypatch.setattr(network_claims, "TRAINED_STEPS", 1)
    claim = network_claims.any_network(small)
    assert claim.verdict == "does not hold"
    assert set(claim.estimates) == {"mean picture", "unet", "dit", "perceptron"}


@pytest.mark.slow
@pytest.mark.thorough
def test_any_network_will_do() -> None:
    small = SQUARES.repeat(5, 1, 1, 1)
    assert network_claims.any_network(small).verdict == "holds"
