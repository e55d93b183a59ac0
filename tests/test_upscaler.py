"""The upscaler: its network, what it learns from, and how it draws."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from glyffctl.core.codecs.pixels import to_unit
from glyffctl.core.data.embeddings import no_embeddings
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.device import CPU
from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.diffusion.denoiser import Denoiser
from glyffctl.core.errors import GlyffError, ModelError, UsageError
from glyffctl.core.models import upscaler as upscalers
from glyffctl.core.models.checkpoint import Origin, TrainedModel
from glyffctl.core.models.config import fit_to_data, merge, read_preset
from glyffctl.core.models.files import EncoderInfo
from glyffctl.core.models.upscale_recipe import UpscaleRecipe
from glyffctl.core.models.upscaler import Upscaler, reduced, upscaling_schedule
from glyffctl.core.networks.network import Network, build_network
from glyffctl.core.networks.upscaler import UpscalerConfig
from glyffctl.core.noise import Stream, normal
from glyffctl.core.theory.oracle import FiniteData
from glyffctl.core.training.trainer import Trainer
from glyffctl.workflows.events import finish
from tests.conftest import Workshop
from tests.toys import captions, eps

SIZES = UpscalerConfig(size=32, scale=4, channels=(8, 16))
SIGMA = torch.tensor([0.3, 1.0], dtype=torch.float64)


def shaken(config: UpscalerConfig = SIZES, spread: float = 0.05) -> Network:
    """A network whose layers are shaken, since some start at zero."""
    torch.manual_seed(0)
    network = build_network(config).eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.add_(spread * torch.randn_like(parameter))
    return network


def small_pictures(count: int, side: int = 8) -> Condition:
    level = torch.linspace(0, 0.3, count, dtype=torch.float64)
    return Condition.of_picture(eps(count, 1, side, side).float().clamp(-1, 1), level)


# The condition -------------------------------------------------------------------------------------------------------


def test_pictures_are_a_condition_beside_captions() -> None:
    with_pictures = captions(3)._replace(picture=eps(3, 1, 4, 4), level=torch.arange(3.0))
    taken = with_pictures.rows(torch.tensor([2, 0]))
    assert taken.picture is not None and taken.level is not None and with_pictures.picture is not None
    assert torch.equal(taken.picture, with_pictures.picture[[2, 0]]) and taken.level.tolist() == [2, 0]
    both = Condition.cat([taken, with_pictures]).to(CPU)
    assert both.picture is not None and both.picture.shape == (5, 1, 4, 4)
    without = Condition.cat([captions(1), captions(2)])
    assert without.picture is None and without.rows(torch.tensor([0])).level is None
    with pytest.raises(ValueError, match="picture"):
        Condition.cat([captions(1), taken])


# The network ---------------------------------------------------------------------------------------------------------


def test_it_starts_as_interpolation() -> None:
    torch.manual_seed(0)
    network, condition = build_network(SIZES), small_pictures(2)
    assert condition.picture is not None
    guess = Denoiser(network, "x0")(eps(2, 1, 32, 32).float(), SIGMA, network.encode(condition))
    torch.testing.assert_close(guess, F.interpolate(condition.picture, scale_factor=4, mode="bicubic"))


def test_both_noise_levels_and_the_small_picture_count() -> None:
    network, condition, z = shaken(), small_pictures(2), eps(2, 1, 32, 32).float()
    assert condition.level is not None and condition.picture is not None
    context = network.encode(condition)
    answer = network(z, SIGMA, context)
    assert answer.shape == z.shape
    assert not torch.allclose(answer, network(z, 2 * SIGMA, context), atol=1e-5)
    noisier = network.encode(condition._replace(level=condition.level + 0.1))
    assert not torch.allclose(answer, network(z, SIGMA, noisier), atol=1e-5)
    for row in range(2):
        alone = network(z[row : row + 1], SIGMA[row : row + 1], network.encode(condition.rows(torch.tensor([row]))))
        torch.testing.assert_close(alone, answer[row : row + 1], rtol=1e-4, atol=1e-5)


def test_what_is_far_away_does_not_count() -> None:
    """So crops teach it whole pictures, and pictures may be of any size: here one is widened at its right."""
    network = shaken(spread=0.2)
    picture, z = eps(1, 1, 8, 48).float(), eps(1, 1, 32, 192).float()
    level = torch.tensor([0.1], dtype=torch.float64)
    answers = []
    for width in (24, 48):
        context = network.encode(Condition.of_picture(picture[..., :width], level))
        answers.append(network(z[..., : 4 * width], SIGMA[:1], context))
    torch.testing.assert_close(answers[0][..., :32], answers[1][..., :32], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(answers[0][..., 64:96], answers[1][..., 64:96], atol=1e-4)


def test_it_computes_in_bfloat16_and_gradients_reach_every_parameter() -> None:
    network, condition, z = shaken(), small_pictures(2), eps(2, 1, 32, 32).float()
    exact = network(z, SIGMA, network.encode(condition))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = network(z, SIGMA, network.encode(condition)).float()
    assert float((rounded - exact).norm() / exact.norm()) < 0.05
    network.requires_grad_(True)
    network(z, SIGMA, network.encode(condition)).square().mean().backward()
    assert not [name for name, parameter in network.named_parameters() if parameter.grad is None]


def test_without_a_picture_it_says_what_it_is() -> None:
    with pytest.raises(UsageError, match="--upscaler"):
        shaken().encode(captions(2))


@pytest.mark.parametrize(
    ("sizes", "word"),
    [({"scale": 1}, "scale"), ({"channels": (7,)}, "channels"), ({"channels": ()}, "channels"), ({"size": 36}, "36")],
)
def test_sizes_that_cannot_be_built(sizes: dict[str, Any], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        UpscalerConfig(**sizes)


# Drawing -------------------------------------------------------------------------------------------------------------


class ExactNetwork(Network):
    """E[large | noisy large, noisy small] for large pictures that are as likely as each other.

    The noise of a small picture is s where that of the large one is σ: times σ/s it is one of more pixels of it.
    """

    def __init__(self, points: Tensor) -> None:
        super().__init__()
        self.points = points

    def encode(self, condition: Condition) -> Condition:
        return condition

    def forward(self, z: Tensor, sigma: Tensor, context: Condition) -> Tensor:
        assert context.picture is not None and context.level is not None
        x = z.double() * (1 + sigma**2).sqrt()[:, None, None, None]
        guesses = []
        for row in range(len(z)):
            share = sigma[row] / context.level[row]
            points = torch.cat([self.points.flatten(1), share * reduced(self.points, 4).flatten(1)], dim=1)
            seen = torch.cat([x[row].flatten(), share * context.picture[row].double().flatten()])
            posterior = FiniteData(points).posterior(seen[None], sigma[row : row + 1])
            guesses.append((posterior @ self.points.flatten(1)).reshape(z[row].shape))
        return torch.stack(guesses).to(z.dtype)


def exact_upscaler(points: Tensor, recipe: UpscaleRecipe, batch: int = 64) -> Upscaler:
    config = UpscalerConfig(size=points.shape[-1], channels=(8,))
    return Upscaler(config, Denoiser(ExactNetwork(points), "x0"), recipe, CPU, batch)


@pytest.mark.thorough
def test_an_exact_network_draws_the_law_of_large_pictures_given_the_small_one() -> None:
    """Of four large pictures two have the same small one: each is drawn half the time, the others never."""
    black, white = torch.full((4, 4), -1.0), torch.full((4, 4), 1.0)
    left, top = white.clone(), white.clone()
    left[:, :2], top[:2] = -1, -1  # both are half black
    points = torch.stack([left, top, black, white])[:, None].double()
    upscaler = exact_upscaler(points, UpscaleRecipe(steps=24, start=3.0, noise=0.05), batch=100)
    count = 400
    small = torch.full((count, 1, 1), 128, dtype=torch.uint8)  # grey
    drawn = to_unit(finish(upscaler.enlarge(small, torch.arange(count), 4)))[:, None].double()
    distance = (drawn[:, None] - points).abs().flatten(2).amax(2)
    assert float(distance.amin(1).max()) < 0.05, "every picture is one of the data"
    shares = distance.argmin(1).bincount(minlength=4) / count
    assert abs(float(shares[0]) - 0.5) < 4 * 0.5 / count**0.5
    assert shares[2:].tolist() == [0, 0]


def test_a_picture_depends_on_its_seed_and_not_on_its_batch() -> None:
    network = shaken()
    pictures = (127.5 * (1 + eps(5, 8, 8).clamp(-1, 1))).to(torch.uint8)
    seeds = torch.tensor([3, 4, 5, 6, 3])
    recipe = UpscaleRecipe(steps=2, start=1.0, noise=0.1)

    def draw(batch: int, seeds: Tensor) -> Tensor:
        return finish(Upscaler(SIZES, Denoiser(network, "x0"), recipe, CPU, batch).enlarge(pictures, seeds, 32))

    together = draw(5, seeds)
    assert int((together.int() - draw(2, seeds).int()).abs().max()) <= 1
    assert not torch.equal(together, draw(5, seeds + 1))
    assert torch.equal(together, draw(5, seeds))


def test_half_the_size_is_the_mean_of_four_and_twice_the_size_is_drawn_of_it() -> None:
    network, seeds = shaken(), torch.arange(2)
    pictures = (127.5 * (1 + eps(2, 8, 8).clamp(-1, 1))).to(torch.uint8)
    upscaler = Upscaler(SIZES, Denoiser(network, "x0"), UpscaleRecipe(steps=1, start=1.0, noise=0.0), CPU, 2)
    half, whole, twice = (finish(upscaler.enlarge(pictures, seeds, size)) for size in (16, 32, 64))
    mean = F.avg_pool2d(whole[:, None].float(), 2)[:, 0]
    assert float((half.float() - mean).abs().max()) <= 1
    again = F.avg_pool2d(twice[:, None].float(), 4)[:, 0]
    assert twice.shape == (2, 64, 64) and float((again - half.float()).abs().mean()) < 40
    for size, given in ((8, pictures), (33, pictures), (32, whole)):
        with pytest.raises(UsageError):
            finish(upscaler.enlarge(given, seeds, size))


@pytest.mark.parametrize(("scale", "sizes"), [(2, [16]), (4, [16, 32, 64]), (8, [32, 64, 256])])
def test_every_size_that_is_offered_is_drawn(scale: int, sizes: list[int]) -> None:
    config = UpscalerConfig(size=8 * scale, scale=scale, channels=(4, 6))
    upscaler = Upscaler(
        config, Denoiser(build_network(config), "x0"), UpscaleRecipe(steps=1, start=1.0, noise=0.0), CPU, 2
    )
    assert upscaler.sizes == sizes
    for size in sizes:
        drawn = finish(upscaler.enlarge(torch.full((1, 8, 8), 200, dtype=torch.uint8), torch.tensor([1]), size))
        assert drawn.shape == (1, size, size)


def test_what_is_not_finite_is_no_picture() -> None:
    network = shaken()
    next(iter(network.parameters())).fill_(float("inf"))
    upscaler = Upscaler(SIZES, Denoiser(network, "x0"), UpscaleRecipe(steps=1, start=1.0, noise=0.0), CPU, 2)
    with pytest.raises(ModelError, match="finite"):
        finish(upscaler.enlarge(torch.zeros(1, 8, 8, dtype=torch.uint8), torch.arange(1), 32))


# Training ------------------------------------------------------------------------------------------------------------

SETTINGS: dict[str, dict[str, Any]] = {
    "network": {"channels": [8, 16]},
    "upscaling": {"crop": 16, "steps": 2},
    "training": {"batch": 8, "images": 96, "warmup": 0, "precision": "fp32", "holdout": 0.1},
}


def trainer_of(workshop: Workshop, **sections: dict[str, Any]) -> Trainer:
    glyphs = open_glyphs(workshop.data)
    config = fit_to_data(merge(read_preset("upscaler"), SETTINGS, sections), glyphs.size, 1)
    return Trainer(config, glyphs, no_embeddings(len(glyphs.captions), 1), CPU, dtype=torch.float64)


def test_pairs_are_crops_of_glyphs_and_their_small_pictures(workshop: Workshop) -> None:
    trainer = trainer_of(workshop)
    seen: list[tuple[Tensor, Tensor, Condition]] = []

    class Spy(Network):
        def forward(self, z: Tensor, sigma: Tensor, context: Condition) -> Tensor:
            seen.append((z, sigma, context))
            return torch.zeros_like(z)

    trainer.objective.network = Spy()
    number = torch.arange(8, 40)
    batch = trainer.objective.batch(number)
    losses = trainer.objective(*batch.values, length=0, autocast=None)
    ((z, sigma, context),) = seen
    large = z * (1 + sigma**2).sqrt()[:, None, None, None] - sigma[:, None, None, None] * normal(
        0, number, (1, 16, 16), Stream.EPS, torch.float64
    )
    glyph, top, left = batch.values[1:4]
    whole = to_unit(trainer.objective.data.glyphs.images(glyph))
    for row in range(len(number)):
        crop = whole[row, :, top[row] : top[row] + 16, left[row] : left[row] + 16].double()
        torch.testing.assert_close(large[row], crop, rtol=0, atol=1e-9)
    assert top.unique().tolist() == left.unique().tolist() == [0, 4, 8, 12, 16]
    assert context.picture is not None and context.level is not None
    assert 0 <= float(context.level.min()) < 0.03 and 0.27 < float(context.level.max()) <= 0.3
    noise = normal(0, number, (1, 4, 4), Stream.SMALL, torch.float64) * context.level[:, None, None, None]
    torch.testing.assert_close(context.picture - noise, reduced(large, 4), rtol=0, atol=1e-9)
    torch.testing.assert_close(losses, large.square().mean((1, 2, 3)) * batch.values[-1])


def test_it_learns_more_than_interpolation(workshop: Workshop) -> None:
    trainer = trainer_of(workshop, training={"learning_rate": 3e-3, "ema_decay": 0.8})
    before = finish(trainer.objective.validate(trainer.ema.network, None))
    for step in range(40):
        trainer.step(step / 40)
    after = finish(trainer.objective.validate(trainer.ema.network, None))
    assert list(before) == list(after) and len(after) == 4
    assert all(after[sigma] < 0.9 * before[sigma] for sigma in after)


def test_its_last_level_is_near_nothing() -> None:
    levels = upscaling_schedule(1.0).steps(3)
    assert float(levels[0]) == pytest.approx(1.0) and float(levels[-1]) == 0 and bool((levels.diff() < 0).all())


def test_the_batch_is_what_memory_has_room_for(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = trainer_of(workshop)
    origin = Origin(trainer.config, EncoderInfo("", "", 0), "")
    model = trainer.objective.model(trainer.ema.network.float(), origin, 1, 1.0)
    assert isinstance(model, TrainedModel)
    batches = []
    for free in (0, 2**22, 2**24, 2**34):
        monkeypatch.setattr(upscalers, "memory_free", lambda _, free=free: free)
        drawer = Upscaler.of(model, CPU, 64, "fp32")
        batches.append(drawer.batch)
    assert drawer.recipe == UpscaleRecipe(steps=2, start=4.0, noise=0.02)
    assert batches == sorted(batches) and batches[0] == 1 and batches[-1] == 64 and 1 < batches[2] < 64


@pytest.mark.parametrize(
    ("sections", "word"),
    [
        ({"upscaling": {"crop": 64}}, "--size 512"),
        ({"upscaling": {"crop": 12}}, "multiple of 8"),
        ({"diffusion": {"prediction": "v"}}, "x0"),
        ({"training": {"evaluate": True}}, "evaluate"),
        ({"network": {"kind": "unet", "patch": 4, "channels": [32, 64], "attention": [1]}}, "take one of upscaler"),
    ],
)
def test_settings_of_no_upscaler(workshop: Workshop, sections: dict[str, Any], word: str) -> None:
    with pytest.raises(GlyffError, match=word):
        trainer_of(workshop, **sections)


@pytest.mark.parametrize(
    "values", [{"drawn": 0.5}, {"noise": -1.0}, {"start": 0.01}, {"steps": 0}, {"crop": 0}, {"start": float("inf")}]
)
def test_levels_that_make_no_sense(workshop: Workshop, values: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="upscaling"):
        trainer_of(workshop, upscaling=values)
