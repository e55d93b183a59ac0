"""The law of a reverse step against draws and closed forms; claims about the way back, with both verdicts."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
import torch

from glyffctl.core.diffusion.schedule import make_schedule
from glyffctl.core.estimates import share
from glyffctl.core.theory import reverse_claims as claims
from glyffctl.core.theory.reverse import negentropy
from glyffctl.core.theory.sampler_error import wasserstein_error
from glyffctl.core.theory.walks import Comparison, Ends
from glyffctl.figures.claim_text import claim_text
from tests.toys import eps

PAIR = torch.tensor([-1.0, 1.0], dtype=torch.float64)
VARIANCES = torch.logspace(1, -4, 12, dtype=torch.float64)


def test_of_one_point_and_of_a_gaussian_every_step_is_gaussian() -> None:
    x = torch.linspace(-2, 2, 5, dtype=torch.float64)
    assert float(negentropy(torch.zeros(1, dtype=torch.float64), x, 1.0, 0.2).abs().max()) < 1e-9
    many = torch.special.ndtri((torch.arange(2000, dtype=torch.float64) + 0.5) / 2000)
    assert float(negentropy(many, x, 1.0, 0.3).abs().max()) < 1e-3


def test_two_points_against_an_integral_in_place_of_their_law() -> None:
    """From x = 0 and nearly to σ = 0 either point is as likely: ln 2 of two narrow Gaussians, and more: they are far
    apart.

    The divergence is ½ ln(2πe·V) less the entropy of the mixture, which is ln 2 more than that of one part.
    """
    target, sigma = 0.05, 1.0
    inner = target**2 * (1 - target**2)
    apart = 1 - target**2
    expected = 0.5 * math.log((apart**2 + inner) / inner) - math.log(2)
    [found] = negentropy(PAIR, torch.zeros(1, dtype=torch.float64), sigma, target).tolist()
    assert found == pytest.approx(expected, rel=1e-4)


def test_small_steps_are_closer_to_gaussian() -> None:
    claim = claims.small_steps(PAIR)
    assert claim.verdict == "holds"
    laws = [each.value for each in claim.estimates.values()]
    assert laws[0] < 1e-6 and laws[-1] > 0.3  # in one step and in 200
    assert claims.small_steps(torch.zeros(2, dtype=torch.float64)).verdict == "does not hold"  # all alike


def test_the_variance_matters_where_steps_are_few() -> None:
    claim = claims.reverse_variance(VARIANCES)
    n = claim.numbers
    assert n["β̃, variance of a point"] == pytest.approx(1) and n["β, variance of N(0, 1)"] == pytest.approx(1)
    assert n["β, variance of a point"] > 1.1 and n["β̃, variance of N(0, 1)"] < 0.9
    assert abs(n["β̃, 1000 steps"] - n["β, 1000 steps"]) < abs(n["β̃, 20 steps"] - n["β, 20 steps"])
    assert n["β̃, 20 steps"] == wasserstein_error("ddpm", VARIANCES, make_schedule("linear"), 20)
    assert claim.verdict == "holds with a correction"


def test_evaluations_are_counted_until_the_error_is_small() -> None:
    claim = claims.evaluations(VARIANCES)
    assert claim.verdict == "holds with a correction"
    schedule = make_schedule("linear")
    for name, evaluations in (("ddpm", 1), ("heun", 2), ("pc", 2)):
        passes = claim.numbers[f"passes, {name}"]
        steps = int((passes - 1) / evaluations) + 1
        assert wasserstein_error(name, VARIANCES, schedule, steps) <= claims.CLOSE * (1 + 1e-9)
        assert wasserstein_error(name, VARIANCES, schedule, steps - 1) > claims.CLOSE


def test_fresh_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    claim = claims.fresh_noise()
    assert claim.verdict == "holds with a correction"
    assert claim.estimates["on a mode, without noise"].low > 0.95
    assert claim.numbers["p, without noise"] < 1e-6 < claim.numbers["p, with noise"]
    right = Ends(share(10, 1000), tuple(share(k, 1000) for k in (500, 300, 200)), 0.9)
    wrong = replace(right, on_mode=share(1000, 1000), p=1e-9)
    none = torch.empty(0)
    expected = torch.tensor([0.5, 0.3, 0.2])

    def told(still: Ends, flow: Ends) -> str:
        one, down = ({"without noise": each, "with noise": right} for each in (still, flow))
        monkeypatch.setattr(claims, "compare_walks", lambda _: Comparison(none, none, expected, one, down))
        return claims.fresh_noise().verdict

    assert told(wrong, right) == "holds with a correction"
    assert told(wrong, wrong) == "holds"
    assert told(right, right) == "does not hold"  # nobody was stuck


def test_every_claim_has_words_with_its_numbers() -> None:
    for claim in (
        claims.fresh_noise(),
        claims.small_steps(eps(60, 1, seed=1)[:, 0]),
        claims.reverse_variance(VARIANCES),
        claims.evaluations(VARIANCES),
    ):
        text = claim_text(claim)
        assert text.says and re.search(r"\d", text.found) and "nan" not in text.found
        assert bool(text.correction) == (claim.verdict != "holds"), claim.name
