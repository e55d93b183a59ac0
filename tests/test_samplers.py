"""Samplers against diffusers' schedulers on the same network outputs, and against exact solutions."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from glyffctl.core.diffusion.denoiser import Denoise, Denoiser, Network, PredictionType
from glyffctl.core.diffusion.samplers import SAMPLERS, Draw, SamplerFunction, Step, ancestral, dpmpp_2m_sde, dpmpp_sde
from glyffctl.core.diffusion.schedule import Schedule, karras, make_schedule
from glyffctl.core.theory.oracle import FiniteData, Gaussian
from tests.toys import (
    LineFlow,
    OracleNetwork,
    ToyNetwork,
    captions,
    draws,
    eps,
    in_double,
    ks_statistic,
    last,
    order_of,
)

# diffusers hands tensors to np.array, which numpy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SHAPE = (3, 1, 4, 4)
STEPS = [1, 2, 7, 50]
ODE = {name: sampler.order for name, sampler in SAMPLERS.items() if not sampler.draws}
"""The deterministic samplers and the order of their method."""
SDE = {name: sampler.order for name, sampler in SAMPLERS.items() if sampler.draws and sampler.order}
"""The stochastic samplers and their weak order, for linear denoisers. Those of order 0 are in test_langevin.py."""


# The same network outputs, here and there.


@pytest.fixture(params=["random network", "exact denoiser"])
def network(request: pytest.FixtureRequest) -> Network:
    """F(z, ¼·ln σ, context) in float64, on which ours and diffusers' samplers are run alike."""
    if request.param == "random network":
        return ToyNetwork(16)
    return OracleNetwork(FiniteData(eps(5, *SHAPE[1:], seed=7).clamp(-1, 1)))


@pytest.fixture(params=["linear", "cosine", "karras"])
def schedule(request: pytest.FixtureRequest) -> Schedule:
    return make_schedule(request.param)


def like_diffusers(schedule: Schedule, **more: Any) -> dict[str, Any]:
    """The settings of a diffusers scheduler with this table and our spacing."""
    alpha_bar = schedule.alpha_bar()
    betas = 1 - alpha_bar / torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar[:-1]])
    return {"trained_betas": betas.tolist(), "timestep_spacing": "trailing", **more}


def start(sigmas: Tensor) -> Tensor:
    return eps(*SHAPE) * math.sqrt(1 + float(sigmas[0]) ** 2)


def ours(
    sampler: SamplerFunction, network: Network, sigmas: Tensor, draw: Draw, prediction: PredictionType = "eps"
) -> list[Step]:
    context = network.encode(captions(len(eps(*SHAPE))))
    denoiser = Denoiser(network, prediction)
    return list(sampler(lambda x, sigma: denoiser(x, sigma, context), start(sigmas), sigmas, draw))


def theirs(
    scheduler: Any,
    network: Network,
    sample: Tensor,
    level: Callable[[int, Any], Tensor],
    step: Callable[[int], dict[str, Any]] = lambda _: {},
) -> list[Tensor]:
    """Every `prev_sample` of a diffusers scheduler; level(k, t) is the σ of its k-th network call."""
    context = network.encode(captions(len(sample)))
    samples = []
    for k, t in enumerate(scheduler.timesteps):
        z = scheduler.scale_model_input(sample, t)
        output = network(z, level(k, t).expand(len(z)), context)
        sample = scheduler.step(output, t, sample, **step(k)).prev_sample
        samples.append(sample)
    return samples


def to_z(x: Tensor, sigma: float) -> Tensor:
    return x / math.sqrt(1 + sigma**2)


def assert_same_path(steps: list[Step], samples: list[Tensor], view: Callable[[Tensor, float], Tensor] = to_z) -> None:
    """All of the path agrees. On this path numbers of 10⁴ cancel, which costs the last digits."""
    assert len(steps) == len(samples)
    for step, sample in zip(steps, samples, strict=True):
        torch.testing.assert_close(view(step.x, step.sigma), sample, rtol=1e-8, atol=1e-8)


def alpha_bar_level(scheduler: Any) -> Callable[[int, Any], Tensor]:
    return lambda _, t: ((1 - scheduler.alphas_cumprod[t]) / scheduler.alphas_cumprod[t]).sqrt()


@pytest.mark.parametrize("n", [*STEPS, pytest.param(1000, marks=pytest.mark.thorough)])
def test_ddpm_is_that_of_diffusers(
    n: int, network: Network, schedule: Schedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = in_double(monkeypatch, "ddpm")
    sigmas = schedule.steps(n)
    draw = draws(start(sigmas))
    noise = (draw(i) for i in range(n))
    monkeypatch.setattr(module, "randn_tensor", lambda *_, **__: next(noise))
    scheduler = module.DDPMScheduler(**like_diffusers(schedule, clip_sample=False, variance_type="fixed_small"))
    scheduler.set_timesteps(n)
    samples = theirs(scheduler, network, to_z(start(sigmas), float(sigmas[0])), alpha_bar_level(scheduler))
    assert_same_path(ours(SAMPLERS["ddpm"], network, sigmas, draw), samples)


@pytest.mark.parametrize("prediction", ["eps", "v", "x0"])
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
# diffusers' DDIM takes t − T//n for the next level, which is one of its levels only where n divides T.
@pytest.mark.parametrize("n", [1, 2, 50])
def test_ddim_is_that_of_diffusers(
    n: int, eta: float, prediction: PredictionType, schedule: Schedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = ToyNetwork(16)
    sigmas = schedule.steps(n)
    draw = draws(start(sigmas))
    name = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}[prediction]
    module = in_double(monkeypatch, "ddim")
    scheduler = module.DDIMScheduler(**like_diffusers(schedule, clip_sample=False, prediction_type=name))
    scheduler.set_timesteps(n)
    samples = theirs(
        scheduler,
        network,
        to_z(start(sigmas), float(sigmas[0])),
        alpha_bar_level(scheduler),
        lambda k: {"eta": eta, "variance_noise": draw(k)},
    )
    assert_same_path(ours(partial(ancestral, eta=eta), network, sigmas, draw, prediction), samples)


@pytest.mark.parametrize(("name", "algorithm"), [("dpmpp-2m", "dpmsolver++"), ("dpmpp-2m-sde", "sde-dpmsolver++")])
@pytest.mark.parametrize("n", STEPS)
def test_dpmpp_2m_is_that_of_diffusers(
    n: int, name: str, algorithm: str, network: Network, schedule: Schedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    sigmas = schedule.steps(n)
    draw = draws(start(sigmas))
    module = in_double(monkeypatch, "dpmsolver_multistep")
    scheduler = module.DPMSolverMultistepScheduler(
        **like_diffusers(
            schedule, algorithm_type=algorithm, solver_order=2, solver_type="midpoint", final_sigmas_type="zero"
        )
    )
    scheduler.set_timesteps(n)
    samples = theirs(
        scheduler,
        network,
        to_z(start(sigmas), float(sigmas[0])),
        lambda k, _: scheduler.sigmas[k],
        lambda k: {"variance_noise": draw(k)},
    )
    assert_same_path(ours(SAMPLERS[name], network, sigmas, draw), samples)


def whole_steps(samples: list[Tensor]) -> list[Tensor]:
    """Of a scheduler that is called twice a step, but once for the last: the samples after each step."""
    return [*samples[1:-1:2], samples[-1]]


def as_it_is(x: Tensor, sigma: float) -> Tensor:
    return x


@pytest.mark.parametrize("n", STEPS)
def test_heun_is_that_of_diffusers(
    n: int, network: Network, schedule: Schedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    sigmas = schedule.steps(n)
    scheduler = in_double(monkeypatch, "heun_discrete").HeunDiscreteScheduler(**like_diffusers(schedule))
    scheduler.set_timesteps(n)
    samples = theirs(scheduler, network, start(sigmas), lambda k, _: scheduler.sigmas[k])
    steps = ours(SAMPLERS["heun"], network, sigmas, draws(start(sigmas)))
    assert_same_path(steps, whole_steps(samples), as_it_is)


class BrownianPath:
    """Stands in for torchsde's Brownian tree: W over σ, made of the independent increments that `draw` gives.

    Draw 2i is the increment from σ_i to the middle of step i, draw 2i+1 the one from there to σ_{i+1}.
    """

    def __init__(self, sigmas: Tensor, draw: Draw) -> None:
        levels = sigmas[:-1].tolist()
        middles = [math.sqrt(a * b) for a, b in pairwise(levels)]
        self.times = sorted([*levels, *middles], reverse=True)
        self.values = [torch.zeros_like(draw(0))]
        for k, (a, b) in enumerate(pairwise(self.times)):
            self.values.append(self.values[-1] + math.sqrt(a - b) * draw(k))

    def at(self, sigma: float) -> Tensor:
        return self.values[min(range(len(self.times)), key=lambda k: abs(self.times[k] - sigma))]

    def __call__(self, sigma: Tensor, target: Tensor) -> Tensor:
        return (self.at(float(target)) - self.at(float(sigma))) / (sigma - target).sqrt()


@pytest.mark.parametrize("n", STEPS)
def test_dpmpp_sde_is_that_of_diffusers(
    n: int, network: Network, schedule: Schedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    sigmas = schedule.steps(n)
    draw = draws(start(sigmas))
    scheduler = in_double(monkeypatch, "dpmsolver_sde").DPMSolverSDEScheduler(**like_diffusers(schedule))
    scheduler.set_timesteps(n)
    scheduler.noise_sampler = BrownianPath(sigmas, draw)
    samples = theirs(
        scheduler,
        network,
        start(sigmas),
        lambda k, _: scheduler.mid_point_sigma if k % 2 else scheduler.sigmas[k],
    )
    assert_same_path(ours(SAMPLERS["dpmpp-sde"], network, sigmas, draw), whole_steps(samples), as_it_is)


# Exact solutions.


def levels(n: int, low: float, high: float) -> Tensor:
    """n + 1 levels from `high` down to `low`, without the step to 0."""
    return karras(n + 1, low, high).sigmas.flip(0)


def one_pixel(mean: float, variance: float) -> Gaussian:
    return Gaussian(*(torch.full((1, 1, 1), value, dtype=torch.float64) for value in (mean, variance)))


@pytest.mark.parametrize(("name", "order"), ODE.items())
def test_order_on_gaussian_data(name: str, order: int) -> None:
    data = Gaussian(eps(1, 1, 1, 4, seed=3)[0] / 2, torch.tensor([[[1.0, 0.25, 0.04, 0.01]]], dtype=torch.float64))
    low, high = 0.1, 10.0
    x = eps(5, 1, 1, 4) * high
    exact = data.flow(x, high, low)
    counts, errors = [16, 32, 64, 128], []
    for n in counts:
        picture = last(SAMPLERS[name](data, x, levels(n, low, high), draws(x)))
        errors.append(float((picture - exact).abs().max()))
    assert abs(order_of(counts, errors) - order) < 0.06, errors
    assert errors[-1] < {1: 0.02, 2: 5e-4}[order]


@pytest.mark.parametrize(("name", "order"), ODE.items())
def test_order_on_finite_data(name: str, order: int) -> None:
    points = torch.tensor([-1.0, -0.2, 0.7, 0.7], dtype=torch.float64).reshape(-1, 1, 1, 1)
    low, high = 0.3, 10.0
    x = torch.linspace(-2, 2, 41, dtype=torch.float64).reshape(-1, 1, 1, 1) * high
    exact = LineFlow(points)(x, high, low)
    counts, errors = [64, 128, 256], []
    for n in counts:
        picture = last(SAMPLERS[name](FiniteData(points), x, levels(n, low, high), draws(x)))
        errors.append(float((picture - exact).abs().max()))
    assert abs(order_of(counts, errors) - order) < 0.1, errors
    assert errors[-1] < {1: 0.01, 2: 2e-4}[order]


@pytest.mark.parametrize(("name", "order"), SDE.items())
@pytest.mark.parametrize("variance", [1.0, 0.04])
def test_order_of_mean_and_variance(name: str, order: int, variance: float) -> None:
    """The exact mean and variance of what a stochastic sampler makes of Gaussian data, without drawing anything.

    The denoiser is affine, so a sampler's result is affine in its start and its draws. Row 0 of the batch has none of
    them and gives the mean; each other row has one, and the squares of what it adds sum to the variance.
    """
    mean, low, high = 0.3, 0.1, 10.0
    data = one_pixel(mean, variance)
    counts, errors = [32, 64, 128, 256], []
    for n in counts:
        rows = 2 + 2 * n
        x = torch.full((rows, 1, 1, 1), mean, dtype=torch.float64)
        x[1] += math.sqrt(variance + high**2)
        impulses = torch.eye(rows, dtype=torch.float64)[2:, :, None, None, None]
        picture = last(SAMPLERS[name](data, x, levels(n, low, high), impulses.__getitem__)).flatten()
        assert math.isclose(float(picture[0]), mean, rel_tol=1e-12)
        errors.append(abs(float((picture[1:] - picture[0]).square().sum()) - (variance + low**2)))
    assert order - 0.1 < order_of(counts, errors) < order + 0.5, errors
    assert errors[-1] < {1: 0.03, 2: 3e-4}[order]


@pytest.mark.parametrize(("name", "order"), {**ODE, **SDE}.items())
def test_samples_have_the_law_of_gaussian_data(name: str, order: int) -> None:
    """Of 10,000 samples from noise to σ = 0: mean, variance and shape are those of the data."""
    count, mean, variance = 10_000, 0.3, 0.25
    data = one_pixel(mean, variance)
    sigmas = karras(1000, 0.02, 80.0).steps({1: 500, 2: 60}[order])
    x = eps(count, 1, 1, 1) * sigmas[0]
    unit = (last(SAMPLERS[name](data, x, sigmas, draws(x))).flatten() - mean) / math.sqrt(variance)
    assert abs(float(unit.mean())) < 4 / math.sqrt(count)
    assert abs(float(unit.var()) - 1) < 4 * math.sqrt(2 / count)
    assert ks_statistic(unit) < 1.95


@pytest.mark.parametrize("name", [*ODE, *SDE])
def test_samples_land_on_the_points_as_often_as_they_should(name: str) -> None:
    points = torch.tensor([[-1, -1], [1, -0.8], [0.1, 0.9], [0.9, 0.7], [0.9, 0.7]], dtype=torch.float64)
    count = 4000
    sigmas = karras(1000, 0.02, 80.0).steps({1: 200, 2: 50}[SAMPLERS[name].order])
    x = eps(count, 1, 1, 2) * sigmas[0]
    samples = last(SAMPLERS[name](FiniteData(points.reshape(5, 1, 1, 2)), x, sigmas, draws(x))).reshape(-1, 2)
    nearest = torch.cdist(samples, points[:4]).min(dim=1)
    assert float(nearest.values.max()) < 1e-3
    observed = nearest.indices.bincount(minlength=4).double()
    expected = torch.tensor([0.2, 0.2, 0.2, 0.4], dtype=torch.float64) * count
    chi_square = float(((observed - expected) ** 2 / expected).sum())
    assert chi_square < 16.3, observed  # 3 degrees of freedom, p = 0.001


# What samplers promise their callers.


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("n", [1, 5])
def test_a_sampler_yields_its_steps(name: str, n: int) -> None:
    sigmas = karras().steps(n)
    steps = ours(SAMPLERS[name], ToyNetwork(16), sigmas, draws(start(sigmas)))
    assert [step.i for step in steps] == list(range(n))
    assert [step.sigma for step in steps] == sigmas[1:].tolist()
    assert all(step.x.shape == step.x0.shape == SHAPE and step.x.dtype == torch.float64 for step in steps)
    torch.testing.assert_close(steps[-1].x, steps[-1].x0, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", SAMPLERS)
def test_network_calls(name: str) -> None:
    """As many as the record says for each step, but one for the step to σ = 0; and as many draws."""
    network, sampler = ToyNetwork(16), SAMPLERS[name]
    sigmas = karras().steps(8)
    noise, drawn = draws(start(sigmas)), set[int]()

    def draw(i: int) -> Tensor:
        drawn.add(i)
        return noise(i)

    ours(sampler, network, sigmas, draw)
    assert len(network.calls) == sampler.passes(8) == 7 * sampler.evaluations + 1
    assert drawn == set(range(7 * sampler.draws))
    first = sigmas[1] if name == "langevin" else sigmas[0]  # x is at the first level before any step
    assert float(network.calls[0][1][0]) == pytest.approx(float(first), rel=1e-12)


@pytest.mark.parametrize("name", SAMPLERS)
def test_only_stochastic_samplers_draw_and_never_twice(name: str) -> None:
    drawn: list[int] = []
    sigmas = karras().steps(8)
    draw = draws(start(sigmas))

    def recorded(i: int) -> Tensor:
        drawn.append(i)
        return draw(i)

    ours(SAMPLERS[name], ToyNetwork(16), sigmas, recorded)
    assert drawn == list(range(7 * SAMPLERS[name].draws))


@pytest.mark.parametrize("name", SAMPLERS)
def test_float32_stays_float32(name: str) -> None:
    sigmas = karras().steps(4)
    x = start(sigmas).float()
    denoise: Denoise = FiniteData(eps(3, *SHAPE[1:]).float())
    assert last(SAMPLERS[name](denoise, x, sigmas, draws(x))).dtype == torch.float32


def test_without_noise_the_stochastic_solvers_are_solvers_of_the_ode() -> None:
    """η = 0 draws nothing that counts: 2M SDE is then exactly 2M, and the midpoint method is of second order."""
    sigmas = karras().steps(20)
    draw = draws(start(sigmas))
    network = ToyNetwork(16)
    plain, sde = (
        ours(sampler, network, sigmas, draw)[-1].x for sampler in (SAMPLERS["dpmpp-2m"], partial(dpmpp_2m_sde, eta=0.0))
    )
    torch.testing.assert_close(plain, sde, rtol=1e-12, atol=1e-12)
    data = one_pixel(0.0, 1.0)
    x = eps(5, 1, 1, 1) * 10
    counts, errors = [16, 32, 64, 128], []
    for n in counts:
        picture = last(dpmpp_sde(data, x, levels(n, 0.1, 10.0), draws(x), eta=0.0))
        errors.append(float((picture - data.flow(x, 10.0, 0.1)).abs().max()))
    assert abs(order_of(counts, errors) - 2) < 0.1, errors
