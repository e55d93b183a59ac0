"""Preconditioning, the one loss and guidance; and four worked examples that can be checked by hand."""

from __future__ import annotations

import math
from typing import Literal, get_args

import pytest
import torch
from torch import Tensor

from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.diffusion.denoiser import Denoiser, PredictionType, coefficients
from glyffctl.core.diffusion.guidance import clamp, guide
from glyffctl.core.diffusion.samplers import SAMPLERS
from glyffctl.core.diffusion.schedule import from_betas
from glyffctl.core.diffusion.weighting import Weighting, loss_weight
from tests.toys import Textless, ToyNetwork, captions, eps, last

PREDICTIONS: list[PredictionType] = ["eps", "v", "x0"]


class Answer(Textless):
    """A network that knows what to say, and keeps what it was asked."""

    def __init__(self, answer: Tensor) -> None:
        self.answer = answer

    def __call__(self, z: Tensor, sigma: Tensor, context: object) -> Tensor:
        assert context is None
        self.z, self.sigma = z, sigma
        self.autocast = torch.is_autocast_enabled(z.device.type)
        return self.answer


def column(values: Tensor) -> Tensor:
    return values.reshape(-1, 1, 1, 1)


def true_output(prediction: PredictionType, x0: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """What F should say of x0 + σ·noise, by the definitions: noise, v = √ᾱ·ε − √(1−ᾱ)·x0, or x0."""
    alpha_bar = column(1 / (1 + sigma**2))
    return {"eps": noise, "v": alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * x0, "x0": x0}[prediction]


# The worked examples. ᾱ is made by our schedule, x_t by our loss, x̂0 by our denoiser, μ by our sampler.


def noised(x0: list[float], alpha_bar: float, noise: list[float]) -> Tensor:
    """x_t as the network sees it in training."""
    schedule = from_betas(torch.tensor([1 - alpha_bar], dtype=torch.float64))
    clean, added = (torch.tensor(values, dtype=torch.float64).reshape(1, 1, 1, -1) for values in (x0, noise))
    network = Answer(torch.zeros_like(clean))
    Denoiser(network, "eps").loss(clean, added, schedule.sigmas, None)
    return network.z.flatten()


def test_worked_example_one_number_is_noised() -> None:
    # √0.81·2 − √0.19·0.5
    assert noised([2.0], 0.81, [-0.5]).tolist() == pytest.approx([1.582055], abs=5e-7)


def test_worked_example_two_numbers_are_noised() -> None:
    # 0.8·(3, 0) + 0.6·(−1, 2)
    assert noised([3.0, 0.0], 0.64, [-1.0, 2.0]).tolist() == pytest.approx([1.8, 1.2], abs=1e-12)


def test_worked_example_x0_is_guessed_from_the_noise() -> None:
    # ((1.2, −0.3) − 0.8·(0.5, −1))/0.6
    schedule = from_betas(torch.tensor([0.64], dtype=torch.float64))
    z = torch.tensor([[[[1.2, -0.3]]]], dtype=torch.float64)
    denoiser = Denoiser(Answer(torch.tensor([[[[0.5, -1.0]]]], dtype=torch.float64)), "eps")
    x0 = denoiser(z * (1 + schedule.sigmas**2).sqrt(), schedule.sigmas, None)
    assert x0.flatten().tolist() == pytest.approx([4 / 3, 5 / 6], abs=1e-12)


def test_worked_example_the_mean_of_a_ddpm_step() -> None:
    # (0.7 − (1 − 0.9)/√(1 − 0.5)·0.2)/√0.9; ᾱ falls from 0.5/0.9 to 0.5 with β = 0.1.
    schedule = from_betas(torch.tensor([1 - 0.5 / 0.9, 0.1], dtype=torch.float64))
    assert float(schedule.alpha_bar()[1]) == pytest.approx(0.5, abs=1e-12)
    before, now = schedule.sigmas
    denoiser = Denoiser(Answer(torch.full((1, 1, 1, 1), 0.2, dtype=torch.float64)), "eps")
    x = torch.full((1, 1, 1, 1), 0.7, dtype=torch.float64) * (1 + now**2).sqrt()
    steps = SAMPLERS["ddpm"](
        lambda x, sigma: denoiser(x, sigma, None), x, torch.stack([now, before]), lambda _: torch.zeros_like(x)
    )
    mu = float(last(steps) / (1 + before**2).sqrt())
    assert mu == pytest.approx(0.7081, abs=5e-5)
    assert mu == pytest.approx((0.7 - 0.1 / math.sqrt(0.5) * 0.2) / math.sqrt(0.9), abs=1e-12)


# Preconditioning.


def test_coefficients() -> None:
    sigma = torch.tensor([0.75, 1.0])
    table: dict[PredictionType, tuple[list[float], list[float]]] = {
        "eps": ([1, 1], [-0.75, -1]),
        "v": ([16 / 25, 1 / 2], [-3 / 5, -math.sqrt(1 / 2)]),
        "x0": ([0, 0], [1, 1]),
    }
    for prediction, expected in table.items():
        for values, wanted in zip(coefficients(prediction, sigma), expected, strict=True):
            assert values.dtype == torch.float64
            assert values.tolist() == pytest.approx(wanted, abs=1e-15)


SIGMA = torch.tensor([0.01, 0.3, 1.0, 12.0, 160.0], dtype=torch.float64)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_right_answer_gives_back_the_picture_and_no_loss(prediction: PredictionType) -> None:
    x0, noise = eps(5, 1, 4, 4, seed=1), eps(5, 1, 4, 4, seed=2)
    denoiser = Denoiser(Answer(true_output(prediction, x0, noise, SIGMA)), prediction)
    torch.testing.assert_close(denoiser(x0 + column(SIGMA) * noise, SIGMA, None), x0, rtol=1e-11, atol=1e-11)
    assert float(denoiser.loss(x0, noise, SIGMA, None).max()) < 1e-24


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_loss_is_the_squared_error_of_f_on_the_regrouped_target(prediction: PredictionType) -> None:
    """The target is (x0 − c_skip·x)/c_out, and each picture has the mean of its own squares."""
    x0, noise, answer = (eps(3, 1, 4, 4, seed=seed) for seed in (1, 2, 3))
    sigma = torch.tensor([0.3, 1.0, 3.0], dtype=torch.float64)
    c_skip, c_out = coefficients(prediction, sigma)
    target = (x0 - column(c_skip) * (x0 + column(sigma) * noise)) / column(c_out)
    losses = Denoiser(Answer(answer), prediction).loss(x0, noise, sigma, None)
    assert losses.shape == (3,)
    torch.testing.assert_close(losses, ((answer - target) ** 2).mean(dim=(1, 2, 3)), rtol=1e-12, atol=0)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("sigma", [1e-3, 0.01, 160.0, 2e4])
def test_the_loss_keeps_its_digits_in_float32_at_both_ends(prediction: PredictionType, sigma: float) -> None:
    x0, noise = eps(4, 1, 8, 8, seed=1), eps(4, 1, 8, 8, seed=2)
    sigmas = torch.full((4,), sigma, dtype=torch.float64)
    answer = true_output(prediction, x0, noise, sigmas).float()
    losses = Denoiser(Answer(answer), prediction).loss(x0.float(), noise.float(), sigmas, None)
    assert losses.dtype == torch.float32
    assert float(losses.max()) < 1e-12


def test_the_network_sees_unit_scale_and_sigma_in_float64() -> None:
    count = 2000
    sigma = torch.logspace(-3, 4, count, dtype=torch.float64)
    x0, noise = eps(count, 1, 1, 16, seed=1), eps(count, 1, 1, 16, seed=2)
    network = Answer(torch.zeros_like(x0))
    Denoiser(network, "v")(x0 + column(sigma) * noise, sigma, None)
    assert torch.allclose(network.z.reshape(10, -1).var(1), torch.ones(10).double(), atol=0.12)
    torch.testing.assert_close(network.sigma, sigma, rtol=0, atol=0)


def test_only_the_network_runs_in_the_lower_precision() -> None:
    x = eps(2, 1, 4, 4).float()
    network = Answer(x.bfloat16())
    assert Denoiser(network, "x0", autocast=torch.bfloat16)(x, torch.ones(2), None).dtype == torch.float32
    assert network.autocast
    assert network.z.dtype == torch.float32
    Denoiser(network, "x0")(x, torch.ones(2), None)
    assert not network.autocast


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_min_snr_weights_are_those_of_the_paper(prediction: PredictionType) -> None:
    # Hang et al. 2023, with their γ = 5.
    snr = SIGMA**-2
    least = snr.clamp(max=5)
    expected = {"eps": least / snr, "v": least / (snr + 1), "x0": least}[prediction]
    torch.testing.assert_close(loss_weight("min-snr", prediction, SIGMA), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("weighting", get_args(Weighting))
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_weights_are_float64_and_positive(weighting: Weighting, prediction: PredictionType) -> None:
    weight = loss_weight(weighting, prediction, SIGMA.float())
    assert weight.dtype == torch.float64
    assert bool((weight > 0).all())
    if weighting == "simple":
        assert weight.tolist() == [1.0] * 5


@pytest.mark.parametrize("weighting", ["x0", "eps"])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_weight_by_name_is_the_error_of_that_whatever_is_predicted(
    prediction: PredictionType, weighting: Literal["x0", "eps"]
) -> None:
    x0, noise, answer = (eps(5, 1, 4, 4, seed=seed) for seed in range(3))
    denoiser = Denoiser(Answer(answer), prediction)
    x = x0 + column(SIGMA) * noise
    guess = denoiser(x, SIGMA, None)
    error = guess - x0 if weighting == "x0" else (x - guess) / column(SIGMA) - noise
    weighted = denoiser.loss(x0, noise, SIGMA, None) * loss_weight(weighting, prediction, SIGMA)
    torch.testing.assert_close(weighted, error.square().mean((1, 2, 3)), rtol=1e-9, atol=0)


# Guidance.


@pytest.fixture
def network() -> ToyNetwork:
    return ToyNetwork(16)


SIGMA3 = torch.full((3,), 2.0, dtype=torch.float64)
TEXT = captions(3)
NOTHING = Condition.none(3, 8)


def both(denoiser: Denoiser, x: Tensor) -> tuple[Tensor, Tensor]:
    """(D with the text, D without)."""
    with_text, without = (denoiser(x, SIGMA3, denoiser.network.encode(text)) for text in (TEXT, NOTHING))
    assert float((with_text - without).abs().max()) > 0.1
    return with_text, without


def test_guidance_of_one_is_the_text_alone_at_half_the_price(network: ToyNetwork) -> None:
    denoiser, x = Denoiser(network, "eps"), eps(3, 1, 4, 4)
    with_text, _ = both(denoiser, x)
    network.calls.clear()
    torch.testing.assert_close(guide(denoiser, TEXT, NOTHING, 1.0)(x, SIGMA3), with_text, rtol=0, atol=0)
    assert [len(z) for z, _ in network.calls] == [3]


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("scale", [-1.0, 0.0, 0.5, 4.0])
def test_guidance_goes_from_the_negative_through_the_text(
    scale: float, prediction: PredictionType, network: ToyNetwork
) -> None:
    denoiser, x = Denoiser(network, prediction), eps(3, 1, 4, 4)
    with_text, without = both(denoiser, x)
    network.calls.clear()
    guided = guide(denoiser, TEXT, NOTHING, scale)(x, SIGMA3)
    torch.testing.assert_close(guided, without + scale * (with_text - without), rtol=1e-12, atol=1e-12)
    assert [len(z) for z, _ in network.calls] == [6]
    # Ho and Salimans' own convention, equation 6: (1 + w)·cond − w·uncond with w = γ − 1.
    torch.testing.assert_close(guided, scale * with_text - (scale - 1) * without, rtol=1e-12, atol=1e-12)


def test_guidance_is_that_of_diffusers(network: ToyNetwork) -> None:
    """There, noise_uncond + g·(noise_text − noise_uncond) is turned into x0 by the scheduler."""
    from diffusers import DDIMScheduler

    x, scale = eps(3, 1, 4, 4), 4.0
    scheduler = DDIMScheduler(trained_betas=[1 - 1 / (1 + 2.0**2)], clip_sample=False)
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.new_tensor([1 / (1 + 2.0**2)], dtype=torch.float64)
    scheduler.set_timesteps(1)
    z = x / math.sqrt(1 + 2.0**2)
    noise_text, noise_uncond = (network(z, SIGMA3, network.encode(text)) for text in (TEXT, NOTHING))
    theirs = scheduler.step(noise_uncond + scale * (noise_text - noise_uncond), 0, z).pred_original_sample
    torch.testing.assert_close(
        guide(Denoiser(network, "eps"), TEXT, NOTHING, scale)(x, SIGMA3), theirs, rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize(("interval", "acts"), [((0.0, 1.9), False), ((2.0, 2.0), True), ((2.1, math.inf), False)])
def test_outside_its_interval_guidance_is_off(interval: tuple[float, float], acts: bool, network: ToyNetwork) -> None:
    denoiser, x = Denoiser(network, "eps"), eps(3, 1, 4, 4)
    with_text, without = both(denoiser, x)
    expected = without + 4 * (with_text - without) if acts else with_text
    network.calls.clear()
    torch.testing.assert_close(guide(denoiser, TEXT, NOTHING, 4.0, interval)(x, SIGMA3), expected)
    assert [len(z) for z, _ in network.calls] == [6 if acts else 3]


def test_clamp_holds_the_guess_in_the_range_of_the_data() -> None:
    x = torch.tensor([-3.0, -1.0, 0.5, 2.0]).reshape(4, 1, 1, 1)
    denoise = clamp(lambda x, sigma: x * sigma.reshape(-1, 1, 1, 1), 1.0)
    assert denoise(x, torch.tensor([1.0, 1.0, 1.0, 0.4])).flatten().tolist() == pytest.approx([-1, -1, 0.5, 0.8])
