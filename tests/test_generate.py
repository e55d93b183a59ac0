"""Pictures depend on their seed and prompt alone, and cost no gradients."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.diffusion.denoiser import Denoiser
from glyffctl.core.diffusion.samplers import SAMPLERS
from glyffctl.core.diffusion.schedule import Schedule, cosine, karras, linear
from glyffctl.core.errors import UsageError
from glyffctl.core.models.generate import generate
from glyffctl.core.models.recipe import Recipe
from glyffctl.core.theory.oracle import Gaussian
from tests.toys import OracleNetwork, Textless, ToyNetwork, captions, ks_statistic, last

SIZE = 8


def pictures(recipe: Recipe, count: int, batch: int) -> Tensor:
    """Pictures 0 to count−1, `batch` at a time."""
    denoiser, text, nothing = Denoiser(ToyNetwork(SIZE**2), "x0"), captions(count), Condition.none(count, 8)
    parts = torch.arange(count).split(batch)
    return torch.cat(
        [last(generate(denoiser, karras(), recipe, text.rows(k), nothing.rows(k), k, (1, SIZE, SIZE))) for k in parts]
    )


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_picture_is_the_same_in_any_batch(name: str) -> None:
    recipe = Recipe(sampler=name, steps=6, guidance=3.0)
    whole = pictures(recipe, 16, 16)
    assert whole.shape == (16, 1, SIZE, SIZE)
    assert whole.dtype == torch.float32
    assert float(whole.abs().max()) < 1 + 1e-5
    assert float((whole[0] - whole[1]).abs().max()) > 0.1
    for batch in (1, 3):
        torch.testing.assert_close(pictures(recipe, 16, batch), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("schedule", [linear(), cosine(), karras()], ids=["linear", "cosine", "karras"])
def test_the_start_has_unit_variance_in_the_ddpm_view(schedule: Schedule) -> None:
    network, count = ToyNetwork(32**2), 100
    text = captions(count)
    next(
        iter(
            generate(
                Denoiser(network, "x0"), schedule, Recipe(guidance=1.0), text, text, torch.arange(count), (1, 32, 32)
            )
        )
    )
    z, sigma = network.calls[0]
    assert abs(float(z.var()) - 1) < 4 * math.sqrt(2 / z.numel())
    assert float(sigma[0]) == float(schedule.sigmas[-1])


@pytest.mark.parametrize("name", [name for name, sampler in SAMPLERS.items() if sampler.order])
def test_pictures_of_a_perfect_network_have_the_law_of_its_data(name: str) -> None:
    """So the start and the draws of the steps are all independent of each other."""
    count, deviation = 4000, 0.2
    data = Gaussian(torch.zeros(1, 2, 2), torch.full((1, 2, 2), deviation**2))
    text = Condition.none(count, 8)
    recipe = Recipe(sampler=name, steps={1: 500, 2: 60}[SAMPLERS[name].order])
    unit = last(
        generate(Denoiser(OracleNetwork(data), "eps"), karras(), recipe, text, text, torch.arange(count), (1, 2, 2))
    )
    assert abs(float(unit.var()) / deviation**2 - 1) < 4 * math.sqrt(2 / unit.numel())
    assert ks_statistic(unit.flatten() / deviation) < 1.95
    assert float((unit.flatten(1).T.corrcoef() - torch.eye(4)).abs().max()) < 4 / math.sqrt(count)


class Trainable(Textless, nn.Module):
    """A network with a parameter, as in training."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, z: Tensor, sigma: Tensor, context: object) -> Tensor:
        assert sigma.shape == z.shape[:1]
        assert context is None
        return z * self.scale


@pytest.mark.parametrize("name", SAMPLERS)
def test_no_gradients_are_kept(name: str) -> None:
    """Not while the steps are drawn, which is after `generate` has been called; and the caller's mode stays."""
    text = Condition.none(2, 8)
    recipe = Recipe(sampler=name, steps=3)
    for step in generate(Denoiser(Trainable(), "x0"), linear(), recipe, text, text, torch.arange(2), (1, SIZE, SIZE)):
        assert not step.x.requires_grad
        assert not step.x0.requires_grad
        assert torch.is_grad_enabled()


def test_more_steps_than_levels_is_a_usage_error() -> None:
    text = Condition.none(1, 8)
    denoiser = Denoiser(ToyNetwork(SIZE**2), "x0")
    with pytest.raises(UsageError, match="between 1 and 10, not 11"):
        last(generate(denoiser, linear(10), Recipe(steps=11), text, text, torch.arange(1), (1, SIZE, SIZE)))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sampler": "euler"}, "there is no sampler 'euler'; there are ddpm"),
        ({"steps": 0}, "`steps` must be at least 1"),
        ({"guidance": math.nan}, "`guidance` must be a finite number"),
        ({"interval": (2.0, 1.0)}, "`interval` takes"),
        ({"interval": (-1.0, 1.0)}, "`interval` takes"),
        ({"interval": (0.0, math.nan)}, "`interval` takes"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_a_usage_error(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Recipe(**wrong)
