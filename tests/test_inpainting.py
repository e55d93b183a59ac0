"""A part that stays, and a picture that is varied, against exact denoisers and the laws that they have."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.diffusion.denoiser import Denoise, Denoiser
from glyffctl.core.diffusion.inpainting import inpaint, lead
from glyffctl.core.diffusion.samplers import SAMPLERS
from glyffctl.core.diffusion.schedule import karras
from glyffctl.core.models.generate import generate
from glyffctl.core.models.recipe import Recipe
from glyffctl.core.models.source import ANEW, Source
from glyffctl.core.theory.oracle import FiniteData
from tests.toys import OracleNetwork, ToyNetwork, captions, draws, eps, last

POINTS = torch.tensor([[1, -1], [1, -1], [1, 1], [-1, 1], [-1, 1], [-1, 1], [-1, 1]], dtype=torch.float64)
"""(known, rest): of those whose known part is 1, two thirds have −1 as their rest; of all, two sevenths."""
SIZE = 8
HALF = (torch.arange(SIZE) < SIZE // 2).expand(SIZE, SIZE)
PICTURE = eps(1, 1, SIZE, SIZE, seed=9)[0].clamp(-1, 1).float()


def rest_given_known(name: str, resample: int, count: int, *, led: bool = False) -> Tensor:
    """(count,) the second number of samples whose first is 1."""
    sigmas = karras(1000, 0.02, 20.0).steps(40)
    kept, known = torch.tensor([[True, False]]), torch.tensor([[[1.0, 0.0]]], dtype=torch.float64)
    x = known * kept + eps(count, 1, 1, 2) * sigmas[0]
    data: Denoise = FiniteData(POINTS.reshape(-1, 1, 1, 2))
    denoise = lead(data, known, kept) if led else data
    samples = last(inpaint(SAMPLERS[name], denoise, x, sigmas, draws(x), known=known, kept=kept, resample=resample))
    assert bool((samples[..., 0] == 1).all())
    rest = samples[:, 0, 0, 1]
    assert float((rest.abs() - 1).abs().max()) < 1e-3  # each is a point of the data
    return rest


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["ddpm", pytest.param("ddim", marks=pytest.mark.thorough)])
def test_the_rest_has_the_law_of_the_conditional_and_without_resampling_another(name: str) -> None:
    count = 1000
    interval = 3.3 * math.sqrt(2 / 9 / count)  # p = 0.001
    error = {r: abs(float((rest_given_known(name, r, count) < 0).double().mean()) - 2 / 3) for r in (1, 5, 40)}
    assert error[40] < interval, error
    assert error[1] > 3 * interval, error  # the control
    assert error[40] < error[5] < error[1], error


@pytest.mark.parametrize("name", ["ddpm", "heun"])
def test_a_lead_gets_nearer_to_the_conditional_law_than_four_times_as_many_steps(name: str) -> None:
    def error(resample: int, *, led: bool) -> float:
        return abs(float((rest_given_known(name, resample, 1000, led=led) < 0).double().mean()) - 2 / 3)

    assert error(1, led=True) < 0.5 * error(4, led=False)


def test_a_lead_is_the_gradient_of_what_is_known() -> None:
    """With a linear D its Jacobian is the matrix itself; and no gradient is left behind."""
    matrix = eps(SIZE**2, SIZE**2)

    def linear(x: Tensor, sigma: Tensor) -> Tensor:
        return (x.flatten(1) @ matrix.T).reshape(x.shape) / (1 + sigma.reshape(-1, 1, 1, 1))

    x, sigma, known = (
        eps(3, 1, SIZE, SIZE, seed=1),
        torch.tensor([0.1, 1.0, 9.0], dtype=torch.float64),
        PICTURE.double(),
    )
    guess = linear(x, sigma)
    missing = torch.where(HALF, known - guess, 0).flatten(1) @ matrix
    expected = guess + ((1 + sigma**2) / (1 + sigma)).reshape(-1, 1, 1, 1) * missing.reshape(x.shape)
    with torch.no_grad():
        led = lead(linear, known, HALF)(x, sigma)
    torch.testing.assert_close(led, expected)
    assert not led.requires_grad


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize(("resample", "led"), [(1, False), (3, False), (1, True)])
def test_every_sampler_keeps_the_part_to_the_last_bit_in_any_batch(name: str, resample: int, led: bool) -> None:
    source = Source(PICTURE, HALF, resample, led=led)
    whole = drawn(name, source, 4, 4)
    assert torch.equal(whole[..., HALF], PICTURE[..., HALF].expand(4, 1, -1))
    assert float((whole[0] - whole[1])[..., ~HALF].abs().max()) > 0.1
    torch.testing.assert_close(drawn(name, source, 4, 1), whole, rtol=0, atol=1e-5)
    other = Source(-PICTURE, HALF, resample, led=led)
    assert float((drawn(name, other, 4, 4) - whole)[..., ~HALF].abs().max()) > 0.01  # the rest sees what stays


def drawn(name: str, source: Source, count: int, batch: int) -> Tensor:
    """Pictures 0 to count−1, `batch` at a time."""
    denoiser, text, nothing = Denoiser(ToyNetwork(SIZE**2), "x0"), captions(count), Condition.none(count, 8)
    how = Recipe(sampler=name, steps=5, guidance=3.0)
    shape, parts = (1, SIZE, SIZE), torch.arange(count).split(batch)
    return torch.cat(
        [last(generate(denoiser, karras(), how, text.rows(k), nothing.rows(k), k, shape, source=source)) for k in parts]
    )


@pytest.mark.parametrize("name", ["heun", "dpmpp-2m", "pc"])
def test_a_step_is_told_once_and_random_numbers_are_never_used_twice(name: str) -> None:
    sampler, numbers, sigmas = SAMPLERS[name], list[int](), karras().steps(4)
    x = eps(2, 1, SIZE, SIZE) * sigmas[0]

    def draw(i: int) -> Tensor:
        numbers.append(i)
        return draws(x)(i)

    data = FiniteData(eps(3, 1, SIZE, SIZE))
    known = PICTURE.double()
    steps = list(inpaint(sampler, data, x, sigmas, draw, known=known, kept=HALF, resample=3))
    assert [step.i for step in steps] == [0, 1, 2, 3]
    assert [step.sigma for step in steps] == sigmas[1:].tolist()
    assert len(numbers) == len(set(numbers)) and len(numbers) >= 3 * (2 + 3 * sampler.draws)


def test_the_part_has_the_noise_of_every_level() -> None:
    """ODE or not, before and after a step is repeated."""
    for name in ("ddim", "ddpm", "heun"):
        sigmas = karras(1000, 0.02, 20.0).steps(6)
        x = eps(400, 1, SIZE, SIZE) * sigmas[0] + HALF * PICTURE
        data = FiniteData(eps(3, 1, SIZE, SIZE))
        known = PICTURE.double()
        for step in inpaint(SAMPLERS[name], data, x, sigmas, draws(x), known=known, kept=HALF, resample=2):
            if step.sigma > 0:
                spread = float((step.x - PICTURE)[..., HALF].std())
                assert spread == pytest.approx(step.sigma, rel=0.03), (name, step.i)


# Varied --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ddpm", "dpmpp-2m", "heun"])
def test_strength_0_is_the_picture_and_1_ignores_it(name: str) -> None:
    assert torch.equal(drawn(name, Source(PICTURE, strength=0), 2, 2), PICTURE.expand(2, -1, -1, -1))
    assert torch.equal(drawn(name, Source(PICTURE, strength=1), 2, 2), drawn(name, ANEW, 2, 2))


def test_more_strength_is_farther_from_the_picture() -> None:
    """With exact data: a weak variation falls back to the point it came from, a strong one to any."""
    points = eps(6, 1, SIZE, SIZE, seed=4).float()
    denoiser = Denoiser(OracleNetwork(FiniteData(points)), "eps")
    none, shape = Condition.none(200, 8), (1, SIZE, SIZE)
    stayed = []
    for strength in (0.2, 0.6, 0.8, 0.999):
        source = Source(points[2], strength=strength)
        seeds, recipe = torch.arange(200), Recipe(guidance=1.0, steps=12)
        x = last(generate(denoiser, karras(), recipe, none, none, seeds, shape, None, source=source))
        nearest = torch.cdist(x.flatten(1), points.flatten(1)).argmin(1)
        stayed.append(float((nearest == 2).double().mean()))
    assert stayed[0] == 1 and stayed == sorted(stayed, reverse=True)
    assert stayed[-1] == pytest.approx(1 / 6, abs=3.3 * math.sqrt(5 / 36 / 200))


def test_the_levels_of_a_strength() -> None:
    schedule = karras()
    for strength, steps, first in ((0.4, 12, 399), (0.004, 4, 3), (0.004, 12, 3), (1.0, 12, 999)):
        levels = Source(PICTURE, strength=strength).levels(Recipe(steps=steps), schedule)
        assert levels[0] == schedule.sigmas[first] and levels[-1] == 0
        assert len(levels) == min(steps, first + 1) + 1
    assert Source(PICTURE, strength=0.0001).levels(Recipe(), schedule).tolist() == [0]
    other = Source(PICTURE, strength=0.5).levels(Recipe(schedule="cosine"), schedule)
    assert 0 < float(other[0]) < 160


def test_a_part_stays_while_the_rest_is_varied() -> None:
    x = drawn("ddim", Source(PICTURE, HALF, 2, strength=0.2), 3, 3)
    assert torch.equal(x[..., HALF], PICTURE[..., HALF].expand(3, 1, -1))
    none = drawn("ddim", Source(PICTURE, HALF, 2, strength=0), 3, 3)
    assert torch.equal(none, PICTURE.expand(3, -1, -1, -1))
