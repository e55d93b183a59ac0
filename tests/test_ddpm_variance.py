"""The variance of DDPM's reverse step against closed forms and diffusers, and which data each bound is right for."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch

from glyffctl.core.diffusion.ddpm_variance import best_share, error_at, make_ddpm, reverse_variance
from glyffctl.core.diffusion.samplers import SAMPLERS
from glyffctl.core.diffusion.schedule import Schedule, make_schedule
from glyffctl.core.models.level_table import LevelTable
from glyffctl.core.theory.forward import betas
from glyffctl.core.theory.oracle import FiniteData
from glyffctl.core.theory.sampler_error import drawn_variances
from tests.test_samplers import SHAPE, alpha_bar_level, assert_same_path, like_diffusers, ours, start, theirs, to_z
from tests.toys import OracleNetwork, draws, eps, in_double

# diffusers hands tensors to np.array, which numpy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(params=["linear", "cosine", "karras"])
def schedule(request: pytest.FixtureRequest) -> Schedule:
    return make_schedule(request.param)


def test_the_bounds_are_beta_and_beta_tilde(schedule: Schedule) -> None:
    """As in DDPM: β_t of the schedule, and β̃ = (1 − ᾱ_{t−1})/(1 − ᾱ_t)·β_t, in z = x/√(1+σ²)."""
    alpha_bar, beta = schedule.alpha_bar(), betas(schedule)
    for t in (1, 10, 500, 998):
        sigma, target = float(schedule.sigmas[t]), float(schedule.sigmas[t - 1])
        tilde = float((1 - alpha_bar[t - 1]) / (1 - alpha_bar[t]) * beta[t])
        for share, expected in ((0.0, tilde), (1.0, float(beta[t])), (0.3, tilde**0.7 * float(beta[t]) ** 0.3)):
            assert reverse_variance(sigma, target, share) / (1 + target**2) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("variance", "share"), [(0.0, 0.0), (1.0, 1.0)])
def test_one_bound_is_exact_for_a_point_and_the_other_for_a_unit_gaussian(variance: float, share: float) -> None:
    """The true reverse variance of N(0, v) is (v + σ'²)(σ² − σ'²)/(v + σ²); both lie between the bounds elsewhere."""
    for sigma, target in ((160.0, 100.0), (3.0, 0.5), (0.1, 0.09)):
        step = sigma**2 - target**2
        true = (variance + target**2) * step / (variance + sigma**2)
        assert reverse_variance(sigma, target, share) == pytest.approx(true, rel=1e-12)
        for between in (0.01, 0.3, 0.9):
            true = (between + target**2) * step / (between + sigma**2)
            assert reverse_variance(sigma, target, 0) < true < reverse_variance(sigma, target, 1)


def test_of_a_unit_gaussian_few_steps_keep_the_variance_with_beta_alone(schedule: Schedule) -> None:
    """Down to the last level: the step into σ = 0 adds no noise and takes v·(v/(v + σ²)) in place of v."""
    one = torch.ones(1, dtype=torch.float64)
    sigmas = schedule.steps(6)
    rest = float(1 / (1 + sigmas[-2] ** 2))
    assert float(drawn_variances(make_ddpm(1.0), one, sigmas)) == pytest.approx(rest, rel=1e-9)
    tilde, half = (float(drawn_variances(make_ddpm(share), one, sigmas)) for share in (0.0, 0.5))
    assert tilde < half < 0.98 * rest


def test_of_a_point_every_walk_ends_on_it_and_beta_is_late(schedule: Schedule) -> None:
    """Before the last step: with β̃ the noise has the level's variance, with β more."""
    point, sigmas = torch.zeros(1, dtype=torch.float64), schedule.steps(6)[:-1]
    assert float(drawn_variances(make_ddpm(0.0), point, sigmas)) == pytest.approx(float(sigmas[-1]) ** 2, rel=1e-9)
    assert float(drawn_variances(make_ddpm(1.0), point, sigmas)) > 1.05 * float(sigmas[-1]) ** 2


def test_at_zero_it_is_the_sampler_of_the_table() -> None:
    assert make_ddpm() is make_ddpm(0.0) is SAMPLERS["ddpm"]
    assert all(
        reverse_variance(sigma, target, 0) == pytest.approx(target**2 * (1 - target**2 / sigma**2))
        for sigma, target in pairwise(make_schedule("karras").steps(9)[:-1].tolist())
    )


@pytest.mark.parametrize("n", [2, 7, 50])
@pytest.mark.parametrize("share", [0.4, 1.0])
def test_it_is_that_of_diffusers(n: int, share: float, schedule: Schedule, monkeypatch: pytest.MonkeyPatch) -> None:
    """fixed_large for β; learned_range for what lies between, told the same share everywhere.

    Up to the last step: into σ = 0 diffusers adds noise of variance β where its last level is not its first.
    """
    module = in_double(monkeypatch, "ddpm")
    network = OracleNetwork(FiniteData(eps(5, *SHAPE[1:], seed=7).clamp(-1, 1)))
    sigmas = schedule.steps(n)
    draw = draws(start(sigmas))
    noise = (draw(i) for i in range(n))
    monkeypatch.setattr(module, "randn_tensor", lambda *_, **__: next(noise))
    kind = "fixed_large" if share == 1 else "learned_range"
    scheduler = module.DDPMScheduler(**like_diffusers(schedule, clip_sample=False, variance_type=kind))
    scheduler.set_timesteps(n)
    if kind == "learned_range":
        plain: Any = scheduler.step

        def step(output: torch.Tensor, *args: Any, **more: Any) -> Any:
            return plain(torch.cat([output, torch.full_like(output, 2 * share - 1)], 1), *args, **more)

        monkeypatch.setattr(scheduler, "step", step)
    samples = theirs(scheduler, network, to_z(start(sigmas), float(sigmas[0])), alpha_bar_level(scheduler))
    assert_same_path(ours(make_ddpm(share), network, sigmas, draw)[:-1], samples[:-1])


@pytest.mark.parametrize("variance", [0.0, 0.03, 1.0])
def test_the_best_variance_of_a_gaussian_is_that_of_its_reverse_step(variance: float) -> None:
    """Of N(0, v) the error is v·σ²/(v + σ²), and the variance (v + σ'²)(σ² − σ'²)/(v + σ²)."""
    for sigma, target in ((160.0, 100.0), (3.0, 0.5), (0.1, 0.09)):
        true = (variance + target**2) * (sigma**2 - target**2) / (variance + sigma**2)
        share = best_share(sigma, target, variance * sigma**2 / (variance + sigma**2))
        assert reverse_variance(sigma, target, share) == pytest.approx(true, rel=1e-9)
    assert best_share(3.0, 0.5, 100.0) == 1.0  # no more than β


def test_no_other_variance_diverges_less_from_the_true_step() -> None:
    """The divergence of the true step from a Gaussian with the right mean, for data of two points on a line."""
    points, sigma, target = torch.tensor([-0.6, 0.6], dtype=torch.float64), 1.2, 0.5
    x = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    data = FiniteData(points[:, None, None, None])
    level = torch.full((len(x),), sigma, dtype=torch.float64)
    weight = data.log_density(x[:, None, None, None], level).exp()
    weight /= weight.sum()
    posterior = data.posterior(x[:, None, None, None], level)
    guess = posterior @ points
    error = float(weight @ (0.36 - guess**2))
    share = (target / sigma) ** 2
    spread = (1 - share) ** 2 * error + reverse_variance(sigma, target, 0)  # E of the squared distance from the mean

    def divergence(v: float) -> float:  # but for what does not depend on v
        made = reverse_variance(sigma, target, v)
        return spread / made + math.log(made)

    best = best_share(sigma, target, error)
    assert 0.05 < best < 0.95
    assert all(divergence(best) < divergence(best + by) for by in (-0.05, -0.01, 0.01, 0.05))


def table_of(variances: torch.Tensor, rows: int) -> LevelTable:
    """What is lost of a Gaussian: ½ Σ ln(1 + v/σ²) are left."""
    sigmas = torch.logspace(-2.5, 2.5, rows, dtype=torch.float64)
    left = (1 + variances / sigmas[:, None] ** 2).log().sum(1) / 2
    return LevelTable(tuple(sigmas.tolist()), tuple((left[0] - left).tolist()))


def test_a_table_says_what_a_denoiser_errs() -> None:
    variances = torch.tensor([1.0, 0.1, 0.02], dtype=torch.float64)
    table = table_of(variances, 300)
    for sigma in (0.01, 0.2, 1.0, 30.0):
        error = float((variances * sigma**2 / (variances + sigma**2)).sum())
        assert error_at(table, sigma) == pytest.approx(error, rel=2e-3)
    two = LevelTable((0.1, 10.0), (0.0, 4.0))
    assert error_at(two, 0.5) == pytest.approx(4.0 / math.log(100) * 0.25)
    assert error_at(table, 1e-4) / 1e-8 == pytest.approx(error_at(table, 1e-3) / 1e-6)  # beyond its ends


def test_with_the_measured_variance_few_steps_keep_that_of_the_data(schedule: Schedule) -> None:
    """Of N(0, v) down to the last level; both bounds are worse."""
    variance, sigmas = torch.tensor([0.1], dtype=torch.float64), schedule.steps(6)
    truth = 0.1 * 0.1 / (0.1 + float(sigmas[-2]) ** 2)  # as for the unit Gaussian, above
    gap = {
        name: abs(float(drawn_variances(make_ddpm(way), variance, sigmas)) / truth - 1)
        for name, way in (("measured", table_of(variance, 600)), ("β̃", 0.0), ("β", 1.0))
    }
    assert gap["measured"] < 2e-3 and min(gap["β̃"], gap["β"]) > 0.02
