"""Noise schedules against diffusers' tables, closed forms and their own promises."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from glyffctl.core.diffusion.schedule import Schedule, cosine, from_betas, karras, linear, make_schedule
from glyffctl.core.noise import normal
from tests.toys import in_double, ks_statistic

# diffusers hands tensors to np.array, which numpy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

NAMES = ["linear", "cosine", "karras"]
IN_DIFFUSERS = {"linear": "linear", "cosine": "squaredcos_cap_v2"}


def relative(a: Tensor, b: Tensor) -> float:
    return float((a / b - 1).abs().max())


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_alpha_bar_is_that_of_diffusers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from diffusers import DDPMScheduler

    ours = make_schedule(name).alpha_bar()
    shipped = DDPMScheduler(beta_schedule=IN_DIFFUSERS[name]).alphas_cumprod
    assert shipped.dtype == torch.float32
    assert float((ours - shipped).abs().max()) < 1e-6
    double = in_double(monkeypatch, "ddpm").DDPMScheduler(beta_schedule=IN_DIFFUSERS[name]).alphas_cumprod
    assert double.dtype == torch.float64
    assert relative(ours, double) < 1e-12


def test_linear_is_the_product_of_its_alphas() -> None:
    product, expected = Fraction(1), []
    for t in range(1000):
        # β_t = 10⁻⁴ + t/999·(0.02 − 10⁻⁴), exactly.
        product *= 1 - (Fraction(1, 10**4) + Fraction(t, 999) * Fraction(199, 10**4))
        product = product.limit_denominator(10**40)
        expected.append(float(product))
    schedule = linear()
    assert relative(schedule.alpha_bar(), torch.tensor(expected, dtype=torch.float64)) < 1e-12
    # σ keeps its digits at small t, where 1 − ᾱ would have lost them.
    assert math.isclose(float(schedule.sigmas[0]), math.sqrt(1e-4 / (1 - 1e-4)), rel_tol=1e-13)


def test_cosine_is_its_closed_form_up_to_the_cap() -> None:
    def f(t: int) -> float:
        return math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2

    alpha_bar = cosine().alpha_bar()
    expected = torch.tensor([f(t) / f(0) for t in range(1, 1000)], dtype=torch.float64)
    assert relative(alpha_bar[:-1], expected) < 1e-12
    # f(T) = 0: the last β is capped at 0.999.
    assert math.isclose(float(alpha_bar[-1]), float(alpha_bar[-2]) * 0.001, rel_tol=1e-12)


@pytest.mark.parametrize(("low", "high"), [(0.02, 160.0), (0.002, 80.0), (0.1, 0.2)])
def test_karras_is_that_of_diffusers(low: float, high: float, monkeypatch: pytest.MonkeyPatch) -> None:
    module = in_double(monkeypatch, "euler_discrete")
    scheduler = module.EulerDiscreteScheduler(use_karras_sigmas=True, sigma_min=low, sigma_max=high)
    for count in (2, 10, 1000):
        scheduler.set_timesteps(count)
        assert relative(karras(count, low, high).sigmas, scheduler.sigmas[:-1].flip(0)) < 1e-12


def test_karras_starts_and_ends_where_it_is_told() -> None:
    sigmas = karras(100, 0.01, 50.0).sigmas
    assert math.isclose(float(sigmas[0]), 0.01, rel_tol=1e-12)
    assert math.isclose(float(sigmas[-1]), 50.0, rel_tol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_table_is_positive_float64_and_ascends(name: str) -> None:
    schedule = make_schedule(name)
    assert schedule.sigmas.shape == (1000,)
    assert schedule.sigmas.dtype == torch.float64
    assert bool((schedule.sigmas > 0).all())
    assert bool((schedule.sigmas.diff() > 0).all())
    torch.testing.assert_close(schedule.alpha_bar() * (1 + schedule.sigmas**2), torch.ones(1000).double())


def test_from_betas_is_the_product() -> None:
    torch.testing.assert_close(
        from_betas(torch.tensor([0.1, 0.5, 0.9])).alpha_bar(),
        torch.tensor([0.9, 0.45, 0.045], dtype=torch.float64),
        rtol=1e-6,  # the betas were float32
        atol=0,
    )


@pytest.mark.parametrize("count", [1000, 37])
def test_trailing_spacing_is_exact_for_every_number_of_steps(count: int) -> None:
    """Level T·(n − i)/n, rounded to even at ties, in exact arithmetic."""
    table = Schedule(torch.arange(1, count + 1, dtype=torch.float64))
    for n in range(1, count + 1):
        expected = [round(Fraction(count * (n - i), n)) for i in range(n)]
        assert table.steps(n).tolist() == [*expected, 0]


def test_trailing_spacing_is_that_of_diffusers() -> None:
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(timestep_spacing="trailing")
    table = Schedule(torch.arange(1000, dtype=torch.float64) + 1)
    same = 0
    for n in range(1, 1001):
        scheduler.set_timesteps(n)
        # For some n diffusers' arange runs one too far, to level −1.
        theirs = scheduler.timesteps[:n] + 1
        different = (table.steps(n)[:-1] != theirs).nonzero().flatten().tolist()
        # At an exact half their rounding error decides between two neighbors.
        assert all(Fraction(1000 * i, n) % 1 == Fraction(1, 2) for i in different), n
        same += not different
    assert same > 900


@given(data=st.data(), count=st.integers(1, 400), name=st.sampled_from([linear, cosine, karras]))
def test_steps_descend_from_the_noisiest_level_to_zero(data: st.DataObject, count: int, name: type) -> None:
    schedule: Schedule = name(count)
    n = data.draw(st.integers(1, count))
    steps = schedule.steps(n)
    assert steps.shape == (n + 1,)
    assert steps.dtype == torch.float64
    assert steps[0] == schedule.sigmas[-1]
    assert steps[-1] == 0
    assert bool((steps.diff() < 0).all())
    assert set(steps[:-1].tolist()) <= set(schedule.sigmas.tolist())


@pytest.mark.parametrize("n", [0, -1, 1001])
def test_a_number_of_steps_outside_the_table_is_a_value_error(n: int) -> None:
    with pytest.raises(ValueError, match=f"`steps` must be between 1 and 1000, not {n}"):
        linear().steps(n)


@pytest.mark.parametrize(("name", "t"), [("linear", 40), ("linear", 300), ("cosine", 300)])
def test_one_step_has_the_same_law_as_t_steps(name: str, t: int) -> None:
    """q(x_t | x_0) in one step, against the chain q(x_s | x_{s−1}) = N(√(1−β_s)·x_{s−1}, β_s)."""
    schedule = make_schedule(name)
    alpha_bar = schedule.alpha_bar()
    betas = 1 - alpha_bar / torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar[:-1]])
    index = torch.arange(20_000)
    x0 = torch.where(index % 4 == 0, 1.0, -1.0).double()
    chain = x0
    for s in range(t):
        chain = (1 - betas[s]).sqrt() * chain + betas[s].sqrt() * normal(0, index, (), s, torch.float64)
    sigma = schedule.sigmas[t - 1]
    one = (x0 + sigma * normal(1, index, (), 0, torch.float64)) / (1 + sigma**2).sqrt()
    law_mean, law_variance = alpha_bar[t - 1].sqrt(), 1 - alpha_bar[t - 1]
    for z in (chain, one):
        # What is left of x0 is taken out with the mean of the law; the rest is N(0, 1 − ᾱ_t).
        rest = (z - law_mean * x0) / law_variance.sqrt()
        assert abs(float(rest.mean())) < 4 / math.sqrt(len(index))
        assert abs(float(rest.var()) - 1) < 4 * math.sqrt(2 / len(index))
        assert ks_statistic(rest) < 1.95


def test_brightness_that_is_left_at_the_noisiest_level() -> None:
    """Measured as a sampler would meet it: the mean of pure noise of level T, over many pictures."""
    schedule, size, mean = linear(), 16, 0.5
    noise = torch.randn(20_000, size * size, generator=torch.Generator().manual_seed(0)) * float(schedule.sigmas[-1])
    assert schedule.brightness_left(mean, size) == pytest.approx(mean / float(noise.mean(1).std()), rel=0.02)
    assert schedule.brightness_left(-mean, 2 * size) == pytest.approx(2 * schedule.brightness_left(mean, size))
