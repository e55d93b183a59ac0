"""Flow maps against closed forms: jumps, the teacher's targets and the order of their error, and a student's limit."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from glyffctl.core.diffusion.denoiser import Denoiser
from glyffctl.core.diffusion.flow_map import FlowMap, guess_of_jump, jumped, jumps
from glyffctl.core.diffusion.schedule import make_schedule
from glyffctl.core.models.config import FewStepConfig
from glyffctl.core.models.few_step import finest_levels
from glyffctl.core.models.recipe import PASSES, PLACES
from glyffctl.core.theory.oracle import FiniteData, Gaussian
from glyffctl.core.training.distillation import (
    JUMPS,
    jump_shares,
    jump_weights,
    soft_error,
    teacher_levels,
    trajectory,
)
from tests.toys import LineFlow, OracleNetwork, Textless, captions, eps, last, order_of

LEVELS = finest_levels(make_schedule("karras"), 128)
SHAPE = (1, 2, 2)
MEAN = torch.linspace(-0.6, 0.8, 4, dtype=torch.float64).reshape(SHAPE)
VARIANCE = torch.tensor([0.04, 0.3, 0.7, 1.5], dtype=torch.float64).reshape(SHAPE)
GAUSSIAN = Gaussian(MEAN, VARIANCE)


class ExactNetwork(Textless):
    """The F of the flow map of a Gaussian, for prediction "x0"."""

    def __call__(self, z: Tensor, sigma: Tensor, context: object, target: Tensor, guidance: Tensor) -> Tensor:
        del context, guidance
        x = z * (1 + sigma**2).sqrt().reshape(-1, 1, 1, 1)
        ends = [GAUSSIAN.flow(x[i : i + 1], float(sigma[i]), float(target[i])) for i in range(len(x))]
        return guess_of_jump(x, torch.cat(ends), sigma, target)


level = st.floats(0.01, 160)


@given(level, st.floats(0, 0.99))
def test_the_guess_of_a_jump_is_what_leads_there(sigma: float, share: float) -> None:
    x, end = eps(3, *SHAPE), eps(3, *SHAPE, seed=1)
    start, target = torch.full((3,), sigma, dtype=torch.float64), torch.full((3,), sigma * share, dtype=torch.float64)
    guess = guess_of_jump(x, end, start, target)
    torch.testing.assert_close(jumped(x, guess, start, target), end, rtol=1e-9, atol=1e-9)


def test_a_jump_of_no_length_is_guessed_by_the_denoiser() -> None:
    x = eps(5, *SHAPE) * 3
    sigma = torch.full((5,), 3.0, dtype=torch.float64)
    denoised = GAUSSIAN(x, sigma)
    errors = []
    for gap in (1e-2, 1e-3, 1e-4):
        target = sigma * (1 - gap)
        end = GAUSSIAN.flow(x, 3.0, float(target[0]))
        errors.append(float((guess_of_jump(x, end, sigma, target) - denoised).abs().max()))
    assert errors[0] < 0.1
    assert order_of([100, 1000, 10_000], errors) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("passes", PASSES)
def test_an_exact_flow_map_draws_the_data_in_any_number_of_passes(passes: int) -> None:
    levels = LEVELS[list(PLACES[passes])]
    x = GAUSSIAN.mean + eps(6, *SHAPE) * (GAUSSIAN.variance + levels[0] ** 2).sqrt()
    flow = FlowMap(ExactNetwork(), "x0")
    drawn = last(jumps(flow, x, levels, 4.0, None, None))
    torch.testing.assert_close(drawn, GAUSSIAN.flow(x, float(levels[0]), 0.0), rtol=0, atol=1e-9)


def test_the_levels_of_all_passes_are_levels_of_the_most() -> None:
    assert len(JUMPS) == len(set(JUMPS)) == 13
    for passes, places in PLACES.items():
        assert len(places) == passes + 1 and (places[0], places[-1]) == (0, len(LEVELS) - 1)
        assert set(pairwise(places)) <= set(JUMPS)
    sigmas, kept = teacher_levels(LEVELS, 3)
    assert bool((sigmas.diff() < 0).all())
    torch.testing.assert_close(sigmas[[place + 1 for place in kept]], LEVELS[1:])


@pytest.mark.parametrize("passes", [0, *PASSES])
def test_half_of_the_jumps_are_those_of_the_passes_to_draw_with(passes: int) -> None:
    shares = jump_shares(passes)
    assert float(shares.sum()) == pytest.approx(1) and bool((shares > 0).all())
    if passes:
        own = [JUMPS.index(jump) for jump in pairwise(PLACES[passes])]
        assert float(shares[own].sum()) == pytest.approx(0.5)
    else:
        assert len(shares.unique()) == 1


@pytest.mark.parametrize("size", [32, 128])
def test_jumps_weigh_more_from_little_noise_and_less_the_longer_they_are(size: int) -> None:
    weights = jump_weights(finest_levels(make_schedule("karras"), size))
    by_jump = dict(zip(JUMPS, weights.tolist(), strict=True))
    single = [by_jump[place, place + 1] for place in range(8)]
    assert single == sorted(single) and 1 < single[0] < 1.1
    assert by_jump[0, 8] < by_jump[0, 3] < by_jump[0, 1]
    torch.testing.assert_close(weights, jump_weights(LEVELS), rtol=0.05, atol=0)


def teacher_error(oracle: Gaussian | FiniteData, exact: list[Tensor], substeps: int) -> list[float]:
    """The largest error of the teacher's trajectory at each level but the last two, where lines get sharp."""
    config = FewStepConfig(substeps=substeps)
    states = trajectory(
        Denoiser(OracleNetwork(oracle), "eps"),
        captions(8),
        torch.arange(8),
        torch.ones(8, dtype=torch.float64),
        LEVELS,
        config,
        tuple(exact[0].shape[1:]),
        None,
    )
    return [float((states[:, i] - exact[i]).abs().max()) for i in range(len(exact))]


def start(shape: tuple[int, ...]) -> Tensor:
    from glyffctl.core.noise import Stream, normal

    return normal(0, torch.arange(8), shape, Stream.EPS) * math.sqrt(1 + float(LEVELS[0]) ** 2)


COUNTS = [8, 16, 32, 64]


@pytest.mark.parametrize("data", ["gaussian", "points"])
def test_the_error_of_the_targets_falls_with_the_square_of_the_steps_between(data: str) -> None:
    """DPM-Solver++ (2M) is of second order, and so is every state that a student learns from."""
    if data == "gaussian":
        x = start(SHAPE).double()
        oracle: Gaussian | FiniteData = GAUSSIAN
        exact = [GAUSSIAN.flow(x, float(LEVELS[0]), float(sigma)) for sigma in LEVELS[:-1]]
    else:
        points = torch.tensor([-0.9, -0.2, 0.1, 0.8], dtype=torch.float64)
        x = start((1, 1, 1)).double()
        oracle = FiniteData(points.reshape(-1, 1, 1, 1))
        flow = LineFlow(points)
        exact = [flow(x, float(LEVELS[0]), float(sigma)) for sigma in LEVELS[:-1]]
    errors = [teacher_error(oracle, exact, count) for count in COUNTS]
    for place in range(2, len(exact)):
        at = [row[place] / float(LEVELS[place]) for row in errors]
        assert order_of(COUNTS, at) > 1.7, (float(LEVELS[place]), at)


class LinearStudent(nn.Module):
    """F = a·z + b with numbers of its own for every jump: enough to hold the flow map of a Gaussian exactly."""

    def __init__(self, jumps: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(jumps, *SHAPE, dtype=torch.float64))
        self.bias = nn.Parameter(torch.zeros(jumps, *SHAPE, dtype=torch.float64))

    def encode(self, condition: object) -> None:
        del condition

    def forward(self, z: Tensor, sigma: Tensor, context: object, target: Tensor, guidance: Tensor) -> Tensor:
        del context, guidance
        place = [
            JUMPS.index((int((LEVELS - s).abs().argmin()), int((LEVELS - t).abs().argmin())))
            for s, t in zip(sigma.tolist(), target.tolist(), strict=True)
        ]
        return self.gain[place] * z + self.bias[place]


@pytest.mark.parametrize("passes", PASSES)
def test_a_student_of_the_loss_tends_to_the_flow_map(passes: int) -> None:
    """Learned from the teacher's solution with the loss of the objective, it ends where the exact flow does."""
    config = FewStepConfig(substeps=16)
    condition, guidance = captions(64), torch.ones(64, dtype=torch.float64)
    states = trajectory(
        Denoiser(OracleNetwork(GAUSSIAN), "eps"), condition, torch.arange(64), guidance, LEVELS, config, SHAPE, None
    )
    student = LinearStudent(len(JUMPS))
    optimizer = torch.optim.LBFGS(student.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        total = torch.zeros((), dtype=torch.float64)
        for a, b in pairwise(PLACES[passes]):
            sigma, target = LEVELS[a].expand(64), LEVELS[b].expand(64)
            guess = FlowMap(student, "x0")(states[:, a], sigma, target, guidance, None)
            end = guess_of_jump(states[:, a], states[:, b], sigma, target)
            total = total + soft_error(guess, end, config.softness).mean()
        total.backward()
        return total

    before = float(loss().detach())
    optimizer.step(loss)
    assert float(loss().detach()) < before / 100
    with torch.no_grad():
        drawn = last(jumps(FlowMap(student, "x0"), states[:, 0], LEVELS[list(PLACES[passes])], 1.0, None, None))
    exact = GAUSSIAN.flow(states[:, 0], float(LEVELS[0]), 0.0)
    assert float((drawn - exact).abs().max()) < 0.02 * float(exact.std())
